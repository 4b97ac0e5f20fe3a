//! Regular expressions as the server's PCRE understands them, matched in linear time.
//!
//! A pattern is read by PCRE's rules and translated exactly into an automaton. Constructs for which there is no
//! exact translation (look-around, back-references, atomic groups and the like) are refused by name. The server
//! runs PCRE 8 in UTF mode without Unicode properties for `\w`, `\d`, `\s` and `\b`: those are ASCII, while
//! ignoring case is not.

mod ast;
mod bracket;
mod category;
mod class;
mod escape;
mod fold;
mod group;
mod program;
mod read;
mod scanner;
mod set;
mod shared;
mod translate;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bson::spec::ElementType;

use self::ast::Flags;
use self::program::Program;
use super::cost::Meter;
use super::limits::Limits;
use super::value::Value;

/// A compiled regular expression. Equal ones share their memory.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Arc<CompiledPattern>);

#[derive(Debug)]
struct CompiledPattern {
    source: Box<str>,
    options: Box<str>,
    program: Program,
}

impl Pattern {
    /// Compiles `source` under `options`. The error is one sentence.
    pub(crate) fn compile(source: &str, options: &str, limits: &Limits) -> Result<Self, String> {
        if source.contains('\0') {
            return Err("A regular expression cannot contain a NUL.".to_owned());
        }
        if source.len() > limits.pattern_bytes {
            let most = limits.pattern_bytes;
            return Err(format!(
                "The regular expression is longer than {most} bytes."
            ));
        }
        let most = limits.compiled_pattern_bytes;
        let compiled = shared::compiled(source, options, most, || {
            let flags = Flags::from_options(options)?;
            let ast = read::read(source, flags)?;
            let hir = translate::translate(&ast)?;
            Ok(CompiledPattern {
                source: source.into(),
                options: options.into(),
                program: Program::compile(&hir, most)?,
            })
        });
        compiled.map(Self)
    }

    /// Returns the pattern and its options, as written.
    pub(crate) fn source(&self) -> (&str, &str) {
        (&self.0.source, &self.0.options)
    }

    /// Whether a value matches: a string or symbol by its text, a regular expression by being equal.
    pub(crate) fn matches<M: Meter>(
        &self,
        value: Value<'_>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        match value.kind() {
            ElementType::String | ElementType::Symbol => {
                let text = value.text().unwrap_or_default();
                meter.charge(text.len())?;
                match std::str::from_utf8(text) {
                    Ok(text) => self.0.program.is_match(text, meter),
                    Err(_) => Ok(false),
                }
            }
            ElementType::RegularExpression => {
                meter.charge(value.bytes().len())?;
                let (source, options) = self.source();
                Ok(value.regex() == Some((source.as_bytes(), options.as_bytes())))
            }
            _ => Ok(false),
        }
    }

    /// Returns the most steps of a match: a fixed number, and a number for each byte of the text.
    pub(crate) fn most_steps(&self) -> (usize, usize) {
        let (fixed, per_byte) = self.0.program.most_steps();
        (fixed, per_byte + 1)
    }

    /// Returns the bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    #[cfg(test)]
    fn program(&self) -> &Program {
        &self.0.program
    }
}

impl CompiledPattern {
    fn bytes(&self) -> usize {
        let written = self.source.len() + self.options.len();
        size_of::<Self>() + written + self.program.bytes()
    }
}

/// Patterns are equal if they are written the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source().hash(state);
    }
}
