//! One filter in the form in which an index stores it, so that its steps are the same alone and in every index.

use super::super::ast::Node;
use super::super::cost::{Steps, TooExpensive};
use super::opaque::Opaques;
use super::paths::Paths;
use super::program::ProgramWriter;
use super::run::{Plain, Run};

/// A program with everything that it refers to.
#[derive(Clone, Debug)]
pub(crate) struct Alone {
    paths: Paths,
    opaques: Opaques,
    program: Box<[u8]>,
}

impl Alone {
    /// Compiles a filter.
    pub(crate) fn new(root: &Node) -> Self {
        let (mut paths, mut opaques) = (Paths::new(), Opaques::new());
        let writer = ProgramWriter {
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

    /// Matches a document within a budget.
    pub(crate) fn matches(&self, document: &[u8], steps: &mut Steps) -> Result<bool, TooExpensive> {
        let run = Run {
            event: Plain(document),
            paths: &self.paths,
            opaques: &self.opaques,
        };
        run.counted(&self.program, steps)
    }
}
