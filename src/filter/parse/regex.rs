//! Regular expressions as values, and as `$regex` with `$options`.

use bson::spec::ElementType;

use super::super::ast::Test;
use super::super::pattern::Pattern;
use super::super::value::Value;
use super::at::{At, refuse};
use super::{Parsed, Parser, within};

impl Parser<'_> {
    /// Parses a regular expression in place of a value.
    pub(super) fn regex_value(&mut self, value: Value<'_>, at: &At<'_>) -> Parsed<Test> {
        self.pattern(value, at).map(Test::Regex)
    }

    /// Compiles a regular expression value.
    pub(super) fn pattern(&mut self, value: Value<'_>, at: &At<'_>) -> Parsed<Pattern> {
        let (source, options) = value.regex().unwrap_or_default();
        self.compile(source, options, at)
    }

    /// Parses `$regex` with its `$options` from the document around them.
    pub(super) fn regex(&mut self, context: Value<'_>, at: &At<'_>) -> Parsed<Test> {
        let (source, options) =
            source_and_options(context).map_err(|reason| refuse(Some("$regex"), at, reason))?;
        self.compile(source, options, at).map(Test::Regex)
    }

    fn compile(&mut self, source: &[u8], options: &[u8], at: &At<'_>) -> Parsed<Pattern> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "It is not UTF-8.".to_owned());
        let refused = |reason| refuse(Some("$regex"), at, reason);
        let pattern = text(source)
            .and_then(|source| Pattern::compile(source, text(options)?, self.limits))
            .map_err(refused)?;
        self.extent.compiled_bytes += pattern.bytes();
        within(self.extent.check_compiled_bytes(self.limits), at)?;
        Ok(pattern)
    }
}

const TWICE: &str = "Options are set both in $regex and in $options.";

/// Returns the source and the options to compile. As on a server, the order counts: empty options are fine before a
/// regular expression with options of its own, but not after it.
fn source_and_options(context: Value<'_>) -> Result<(&[u8], &[u8]), &'static str> {
    let (mut source, mut options): (&[u8], &[u8]) = (b"", b"");
    for (name, value) in context.elements() {
        match (name, value.kind()) {
            (b"$regex", ElementType::String) => source = value.text().unwrap_or_default(),
            (b"$regex", ElementType::RegularExpression) => {
                let (pattern, own) = value.regex().unwrap_or_default();
                source = pattern;
                if !own.is_empty() {
                    options = if options.is_empty() {
                        own
                    } else {
                        return Err(TWICE);
                    };
                }
            }
            (b"$regex", _) => return Err("$regex needs a string or a regular expression."),
            (b"$options", ElementType::String) if !options.is_empty() => return Err(TWICE),
            (b"$options", ElementType::String) => options = value.text().unwrap_or_default(),
            (b"$options", _) => return Err("$options needs a string."),
            _ => {}
        }
    }
    Ok((source, options))
}
