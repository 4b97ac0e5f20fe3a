//! One filter as every index keeps it, to be counted alike everywhere.

use super::super::ast::Node;
use super::super::cost::{Steps, TooExpensive};
use super::opaque::Opaques;
use super::paths::Paths;
use super::program::Writer;
use super::run::{Plain, Run};

/// A program with all that it refers to.
#[derive(Clone, Debug)]
pub(crate) struct Alone {
    paths: Paths,
    opaques: Opaques,
    program: Box<[u8]>,
}

impl Alone {
    /// The program of a filter.
    pub(crate) fn new(root: &Node) -> Self {
        let (mut paths, mut opaques) = (Paths::new(), Opaques::new());
        let writer = Writer {
            paths: &mut paths,
            opaques: &mut opaques,
            out: &mut Vec::new(),
        };
        let program = writer.program(root);
        Self {
            paths,
            opaques,
            program,
        }
    }

    /// Whether a document meets the program, as far as `steps` go.
    pub(crate) fn matches(&self, document: &[u8], steps: &mut Steps) -> Result<bool, TooExpensive> {
        let run = Run {
            event: Plain(document),
            paths: &self.paths,
            opaques: &self.opaques,
        };
        run.counted(&self.program, steps)
    }
}
