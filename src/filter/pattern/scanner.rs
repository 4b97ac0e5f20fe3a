//! A cursor over the characters of a pattern.

/// The rest of a pattern.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'p> {
    rest: &'p str,
}

impl<'p> Scanner<'p> {
    /// Starts at the beginning of `pattern`.
    pub(super) fn new(pattern: &'p str) -> Self {
        Self { rest: pattern }
    }

    pub(super) fn rest(&self) -> &'p str {
        self.rest
    }

    /// Returns the next character without taking it.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// Takes `text` if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes everything up to `end` and `end` itself, and returns what came before `end`; `None` if there is no `end`.
    pub(super) fn take_until(&mut self, end: &str) -> Option<&'p str> {
        let (before, after) = self.rest.split_once(end)?;
        self.rest = after;
        Some(before)
    }

    /// Takes characters while they pass, at most `most`.
    pub(super) fn take_while(&mut self, most: usize, pass: impl Fn(char) -> bool) -> &'p str {
        let passing = self
            .rest
            .char_indices()
            .take(most)
            .find(|(_, next)| !pass(*next));
        let all = || {
            self.rest
                .char_indices()
                .nth(most)
                .map_or(self.rest.len(), |(end, _)| end)
        };
        let (taken, rest) = self.rest.split_at(passing.map_or_else(all, |(end, _)| end));
        self.rest = rest;
        taken
    }
}
