//! The translation of patterns for the automaton.
//!
//! Two of PCRE's positions have no counterpart: `$` before a newline that ends the text, and `^` in multi-line mode,
//! which does not hold after such a newline. Both can be expressed by consuming that newline, if either nothing follows
//! in the pattern or at least one character must.

use regex_syntax::hir::{Class, Hir, Look, Repetition};

use super::ast::Assertion::{self, LineEnd, LineStart};
use super::ast::Ast;
use super::set;

/// A statement about the rest of the pattern after a part, whichever way the match goes on.
#[derive(Clone, Copy)]
struct After {
    /// True if nothing follows.
    nothing: bool,
    /// True if at least one character follows.
    something: bool,
}

/// Translates a whole pattern.
pub(super) fn translate(ast: &Ast) -> Result<Hir, String> {
    part(
        ast,
        After {
            nothing: true,
            something: false,
        },
    )
}

fn part(ast: &Ast, after: After) -> Result<Hir, String> {
    match ast {
        Ast::Class(class) => Ok(Hir::class(Class::Unicode(class.clone()))),
        Ast::Assert(assertion) => assert(*assertion, after),
        Ast::Concat(parts) => concat(parts, after),
        Ast::Alternation(branches) => {
            let branches: Result<_, _> =
                branches.iter().map(|branch| part(branch, after)).collect();
            Ok(Hir::alternation(branches?))
        }
        Ast::Repeat { min, max, body } => {
            let once = *max == Some(1);
            let after = if once {
                after
            } else {
                After {
                    nothing: false,
                    something: false,
                }
            };
            let sub = Box::new(part(body, after)?);
            Ok(Hir::repetition(Repetition {
                min: *min,
                max: *max,
                greedy: true,
                sub,
            }))
        }
    }
}

fn concat(parts: &[Ast], mut after: After) -> Result<Hir, String> {
    let mut translated = Vec::with_capacity(parts.len());
    let mut parts = parts;
    if let ([before @ .., Ast::Assert(LineStart), Ast::Assert(LineEnd)], true) =
        (parts, after.nothing)
    {
        translated.push(empty_line());
        after = After {
            nothing: false,
            something: false,
        };
        parts = before;
    }
    for each in parts.iter().rev() {
        translated.push(part(each, after)?);
        after = before(each, after);
    }
    translated.reverse();
    Ok(Hir::concat(translated))
}

/// Translates `^$` in multi-line mode at the end of the pattern.
fn empty_line() -> Hir {
    let first = Hir::concat(vec![Hir::look(Look::Start), Hir::look(Look::EndLF)]);
    let later = Hir::concat(vec![Hir::look(Look::StartLF), Hir::literal(*b"\n")]);
    Hir::alternation(vec![first, later])
}

/// Returns the statement about the rest after a part that precedes `each`.
fn before(each: &Ast, after: After) -> After {
    let transparent = matches!(each, Ast::Assert(Assertion::EndOrLastNewline))
        || matches!(each, Ast::Concat(parts) if parts.is_empty());
    After {
        nothing: after.nothing && transparent,
        something: after.something || min_length(each) > 0,
    }
}

fn assert(assertion: Assertion, after: After) -> Result<Hir, String> {
    match assertion {
        Assertion::Start => Ok(Hir::look(Look::Start)),
        Assertion::End => Ok(Hir::look(Look::End)),
        LineEnd => Ok(Hir::look(Look::EndLF)),
        Assertion::WordBoundary => Ok(Hir::look(Look::WordAscii)),
        Assertion::NotWordBoundary => Ok(Hir::look(Look::WordAsciiNegate)),
        Assertion::EndOrLastNewline if after.nothing => {
            let newline = Box::new(Hir::literal(*b"\n"));
            let newline = Repetition {
                min: 0,
                max: Some(1),
                greedy: true,
                sub: newline,
            };
            Ok(Hir::concat(vec![
                Hir::repetition(newline),
                Hir::look(Look::End),
            ]))
        }
        Assertion::EndOrLastNewline => {
            Err("$ and \\Z are supported at the end of a regular expression only.".to_owned())
        }
        LineStart if after.something => Ok(Hir::look(Look::StartLF)),
        LineStart if after.nothing => {
            let any = Hir::class(Class::Unicode(set::any()));
            let inside = Hir::concat(vec![Hir::look(Look::StartLF), any]);
            Ok(Hir::alternation(vec![Hir::look(Look::Start), inside]))
        }
        LineStart => {
            Err("^ in multi-line mode must be followed by at least one character.".to_owned())
        }
    }
}

/// Returns 0 if a part can match nothing, else a number above 0.
fn min_length(ast: &Ast) -> usize {
    match ast {
        Ast::Class(_) => 1,
        Ast::Concat(parts) => parts.iter().map(min_length).max().unwrap_or(0),
        Ast::Alternation(branches) => branches.iter().map(min_length).min().unwrap_or(0),
        Ast::Assert(_) | Ast::Repeat { min: 0, .. } => 0,
        Ast::Repeat { body, .. } => min_length(body),
    }
}
