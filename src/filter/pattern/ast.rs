//! A regular expression as read, before translation.

use regex_syntax::hir::ClassUnicode;

/// A part of a pattern. Captures and greed are left out: they do not decide whether it matches.
#[derive(Clone, Debug)]
pub(super) enum Ast {
    /// One character of a set.
    Class(ClassUnicode),
    /// A position.
    Assert(Assertion),
    /// Parts one after the other. Without any it is the empty pattern.
    Concat(Vec<Ast>),
    /// Alternatives.
    Alternation(Vec<Ast>),
    /// A part that is repeated `min` to `max` times.
    Repeat {
        min: u32,
        max: Option<u32>,
        body: Box<Ast>,
    },
}

/// The positions that a pattern can require.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assertion {
    /// `\A`, `\G`, and `^` outside multi-line mode.
    Start,
    /// `\z`.
    End,
    /// `\Z`, and `$` outside multi-line mode: the end, or before a newline that ends the text.
    EndOrLastNewline,
    /// `^` in multi-line mode: the start, or after a newline that does not end the text.
    LineStart,
    /// `$` in multi-line mode: the end, or before a newline.
    LineEnd,
    /// `\b`.
    WordBoundary,
    /// `\B`.
    NotWordBoundary,
}

/// The options in force at one point of the pattern.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent options of PCRE"
)]
pub(super) struct Flags {
    /// `i`
    pub(super) ignore_case: bool,
    /// `m`
    pub(super) multi_line: bool,
    /// `s`
    pub(super) dot_all: bool,
    /// `x`
    pub(super) extended: bool,
}

impl Flags {
    /// Reads the flags of MongoDB's `$options`.
    pub(super) fn from_options(options: &str) -> Result<Self, String> {
        let mut flags = Self::default();
        for option in options.chars() {
            // `u` asks for UTF mode, which is always on.
            if option != 'u' && !flags.set(option, true) {
                return Err(format!(
                    "{option:?} is not an option of a regular expression."
                ));
            }
        }
        Ok(flags)
    }

    /// Sets one flag by its letter. Returns whether there is such a flag.
    pub(super) fn set(&mut self, letter: char, on: bool) -> bool {
        match letter {
            'i' => self.ignore_case = on,
            'm' => self.multi_line = on,
            's' => self.dot_all = on,
            'x' => self.extended = on,
            _ => return false,
        }
        true
    }
}
