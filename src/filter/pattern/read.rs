//! A reader of patterns by PCRE's rules.

use super::ast::{Assertion, Ast, Flags};
use super::bracket;
use super::class;
use super::escape;
use super::group::{self, Opening};
use super::scanner::Scanner;

/// Most levels of groups: PCRE's own limit.
const MAX_NESTING: usize = 249;
/// The largest count in braces: PCRE's own limit.
const MAX_COUNT: u32 = 65_535;

/// Reads a whole pattern.
pub(super) fn read(pattern: &str, flags: Flags) -> Result<Ast, String> {
    let mut reader = PatternReader {
        scanner: Scanner::new(pattern),
        names: Vec::new(),
        nesting: 0,
    };
    let ast = reader.group(flags)?;
    match reader.scanner.next() {
        None => Ok(ast),
        Some(_) => Err("A closing parenthesis has no opening one.".to_owned()),
    }
}

struct PatternReader<'p> {
    scanner: Scanner<'p>,
    names: Vec<&'p str>,
    nesting: usize,
}

/// One branch of a group while it is read.
#[derive(Default)]
struct Branch {
    items: Vec<Ast>,
    /// True if a quantifier may follow the last item.
    repeatable: bool,
}

impl Branch {
    fn push(&mut self, item: Ast) {
        self.repeatable = !matches!(item, Ast::Assert(_));
        self.items.push(item);
    }
}

impl PatternReader<'_> {
    /// Reads alternatives up to the end or a closing parenthesis, which is left. Options that are set on the way
    /// hold to the end of the group, across alternatives.
    fn group(&mut self, mut flags: Flags) -> Result<Ast, String> {
        let mut branches = Vec::new();
        let mut branch = Branch::default();
        while let Some(next) = self.scanner.peek().filter(|next| *next != ')') {
            if next == '|' {
                self.scanner.next();
                branches.push(Ast::Concat(std::mem::take(&mut branch).items));
            } else {
                self.item(&mut flags, &mut branch)?;
            }
        }
        branches.push(Ast::Concat(branch.items));
        Ok(match branches.pop() {
            Some(only) if branches.is_empty() => only,
            last => {
                branches.extend(last);
                Ast::Alternation(branches)
            }
        })
    }

    fn item(&mut self, flags: &mut Flags, branch: &mut Branch) -> Result<(), String> {
        if self.skip(*flags)? {
            return Ok(());
        }
        if let Some((min, max)) = self.quantifier(*flags)? {
            return repeat(branch, min, max);
        }
        if bracket::posix_syntax(self.scanner.rest()).is_some() {
            return Err("A POSIX class can stand in brackets only.".to_owned());
        }
        let Some(next) = self.scanner.next() else {
            return Ok(());
        };
        match next {
            '\\' => return self.backslash(*flags, branch),
            '(' => return self.parenthesis(flags, branch),
            '[' => branch.push(Ast::Class(bracket::bracketed(&mut self.scanner, *flags)?)),
            '.' => branch.push(Ast::Class(class::dot(*flags))),
            '^' if flags.multi_line => branch.push(Ast::Assert(Assertion::LineStart)),
            '^' => branch.push(Ast::Assert(Assertion::Start)),
            '$' if flags.multi_line => branch.push(Ast::Assert(Assertion::LineEnd)),
            '$' => branch.push(Ast::Assert(Assertion::EndOrLastNewline)),
            other => branch.push(Ast::Class(class::character(other, *flags))),
        }
        Ok(())
    }

    /// Skips a comment, or characters that extended mode ignores. Returns whether there were any.
    fn skip(&mut self, flags: Flags) -> Result<bool, String> {
        if self.scanner.take("(?#") {
            return match self.scanner.take_until(")") {
                Some(_) => Ok(true),
                None => Err("A comment is not closed.".to_owned()),
            };
        }
        if !flags.extended {
            return Ok(false);
        }
        if self.scanner.take("#") {
            // The server compiles a pattern a second time with parentheses around it. A comment that runs to the
            // end would swallow the closing one.
            return match self.scanner.take_until("\n") {
                Some(_) => Ok(true),
                None => Err("A comment in extended mode must end with a newline.".to_owned()),
            };
        }
        let space = |next| matches!(next, '\t'..='\r' | ' ');
        Ok(!self.scanner.take_while(usize::MAX, space).is_empty())
    }

    /// Reads a quantifier, if one comes next. A filter need not know whether it is lazy.
    fn quantifier(&mut self, flags: Flags) -> Result<Option<(u32, Option<u32>)>, String> {
        let counts = match self.scanner.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => match self.counts()? {
                Some(counts) => counts,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.scanner.next();
        while !self.scanner.rest().starts_with("(?#") && self.skip(flags)? {}
        self.skip(Flags {
            extended: false,
            ..flags
        })?;
        if !self.scanner.take("?") && self.scanner.take("+") {
            return Err("A possessive quantifier is not supported.".to_owned());
        }
        Ok(Some(counts))
    }

    /// Reads `{n}`, `{n,}` or `{n,m}` up to its closing brace. Any other brace is a character.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, String> {
        let mut ahead = self.scanner.clone();
        ahead.next();
        let digits = |next: char| next.is_ascii_digit();
        let min = ahead.take_while(usize::MAX, digits);
        let max = if ahead.take(",") {
            ahead.take_while(usize::MAX, digits)
        } else {
            min
        };
        if min.is_empty() || ahead.peek() != Some('}') {
            return Ok(None);
        }
        self.scanner = ahead;
        let min = count(min)?;
        let max = if max.is_empty() {
            None
        } else {
            Some(count(max)?)
        };
        match max {
            Some(max) if max < min => {
                Err("The counts in a quantifier are out of order.".to_owned())
            }
            _ => Ok(Some((min, max))),
        }
    }

    fn backslash(&mut self, flags: Flags, branch: &mut Branch) -> Result<(), String> {
        if self.scanner.take("E") {
            return Ok(());
        }
        if self.scanner.take("Q") {
            let quoted = self.scanner.take_until("\\E").ok_or("\\Q has no \\E.")?;
            for character in quoted.chars() {
                branch.push(Ast::Class(class::character(character, flags)));
            }
            return Ok(());
        }
        branch.push(escape::outside_class(&mut self.scanner, flags)?);
        Ok(())
    }

    fn parenthesis(&mut self, flags: &mut Flags, branch: &mut Branch) -> Result<(), String> {
        let inside = match group::opening(&mut self.scanner, *flags, &mut self.names)? {
            Opening::Options(set) => {
                *flags = set;
                branch.repeatable = false;
                return Ok(());
            }
            Opening::Group(inside) => inside,
        };
        if self.nesting == MAX_NESTING {
            return Err(format!("Groups nest deeper than {MAX_NESTING} levels."));
        }
        self.nesting += 1;
        let group = self.group(inside)?;
        self.nesting -= 1;
        if !self.scanner.take(")") {
            return Err("A group is not closed.".to_owned());
        }
        branch.items.push(group);
        branch.repeatable = true;
        Ok(())
    }
}

fn repeat(branch: &mut Branch, min: u32, max: Option<u32>) -> Result<(), String> {
    if !branch.repeatable {
        return Err("A quantifier has nothing to repeat.".to_owned());
    }
    branch.repeatable = false;
    if let Some(body) = branch.items.pop() {
        branch.items.push(Ast::Repeat {
            min,
            max,
            body: Box::new(body),
        });
    }
    Ok(())
}

fn count(digits: &str) -> Result<u32, String> {
    let count = digits.parse().ok().filter(|count| *count <= MAX_COUNT);
    count.ok_or_else(|| format!("A count in a quantifier is above {MAX_COUNT}."))
}
