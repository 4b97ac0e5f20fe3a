//! Regular expressions as the server's PCRE understands them, matched in linear time.
//!
//! A pattern is read by PCRE's rules, translated exactly into an automaton, and refused by name
//! where that cannot be done (look-around, back-references, atomic groups and the like). The
//! server runs PCRE 8 in UTF mode without Unicode properties for `\w`, `\d`, `\s` and `\b`: those
//! are ASCII, while ignoring case is not.

mod ast;
mod category;
mod class;
mod escape;
mod fold;
mod group;
mod program;
mod read;
mod scanner;
mod translate;

use std::hash::{Hash, Hasher};

use bson::spec::ElementType;

use self::ast::Flags;
use self::program::Program;
use super::cost::Meter;
use super::limits::Limits;
use super::value::Value;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    source: Box<str>,
    options: Box<str>,
    program: Program,
}

impl Pattern {
    /// Compiles `source` under `options`, or says in a sentence why not.
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
        let flags = Flags::from_options(options)?;
        let ast = read::read(source, flags)?;
        let hir = translate::translate(&ast)?;
        let program = Program::compile(&hir, limits.compiled_pattern_bytes)?;
        Ok(Self {
            source: source.into(),
            options: options.into(),
            program,
        })
    }

    /// The pattern and its options, as written.
    pub(crate) fn source(&self) -> (&str, &str) {
        (&self.source, &self.options)
    }

    /// Whether a value matches: a string or symbol by its text, a regular expression by being
    /// the same one.
    pub(crate) fn matches<M: Meter>(
        &self,
        value: Value<'_>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        match value.kind() {
            ElementType::String | ElementType::Symbol => {
                let text = value.text().unwrap_or_default();
                meter.charge(
                    self.program.fixed_cost() + text.len() * self.program.cost_per_byte(),
                )?;
                let text = std::str::from_utf8(text);
                Ok(text.is_ok_and(|text| self.program.is_match(text)))
            }
            ElementType::RegularExpression => {
                meter.charge(value.bytes().len())?;
                let own = (self.source.as_bytes(), self.options.as_bytes());
                Ok(value.regex() == Some(own))
            }
            _ => Ok(false),
        }
    }

    /// How many steps a match may take: so many, and so many for each byte of the text.
    pub(crate) fn cost(&self) -> (usize, usize) {
        (self.program.fixed_cost(), self.program.cost_per_byte())
    }
}

/// Patterns are the same if they were written the same.
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
