//! Media types, in every spelling that RFC 9110, section 8.3.1, allows.

use std::borrow::Cow;

use mediatype::{MediaTypeBuf, ReadParams as _, names};

/// A media type with its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Media(MediaTypeBuf);

impl Media {
    /// Reads a media type or a media range.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = without_empty_parameters(text.trim_matches(is_space));
        let parsed = MediaTypeBuf::from_string(text.into_owned());
        parsed.ok().map(Self)
    }

    /// Reads the media ranges of a list, as in `Accept`. Malformed ones are skipped.
    pub(crate) fn list(text: &str) -> impl Iterator<Item = Self> {
        split(text, ',').filter_map(Self::parse)
    }

    /// Returns type and subtype in lower case.
    pub(crate) fn essence(&self) -> String {
        self.0.essence().to_string().to_ascii_lowercase()
    }

    /// Whether the content is JSON.
    pub(crate) fn is_json(&self) -> bool {
        match self.0.suffix() {
            Some(suffix) => suffix == names::JSON,
            None => self.0.subty() == names::JSON,
        }
    }

    /// Whether it is `text/*` with the charset UTF-8 or none.
    pub(crate) fn is_utf8_text(&self) -> bool {
        let utf8 = |charset: &str| {
            ["utf-8", "us-ascii"]
                .iter()
                .any(|known| charset.eq_ignore_ascii_case(known))
        };
        self.0.ty() == names::TEXT && self.charset().is_none_or(|charset| utf8(&charset))
    }

    /// Returns the charset parameter.
    pub(crate) fn charset(&self) -> Option<String> {
        let charset = self.0.get_param(names::CHARSET)?;
        Some(charset.unquoted_str().into_owned())
    }

    /// Whether a client that lists this range wants it at all: with `q=0` it does not.
    pub(crate) fn is_wanted(&self) -> bool {
        let quality = mediatype::Name::new("q").and_then(|name| self.0.get_param(name));
        let zero = |text: &str| text.parse().is_ok_and(|quality: f32| quality <= 0.0);
        !quality.is_some_and(|quality| zero(quality.as_str()))
    }
}

/// Strips parameters that consist of a semicolon alone.
fn without_empty_parameters(text: &str) -> Cow<'_, str> {
    let mut parts = split(text, ';').map(|part| part.trim_matches(is_space));
    let Some(first) = parts.next() else {
        return text.into();
    };
    let mut all = first.to_owned();
    for part in parts.filter(|part| !part.is_empty()) {
        all.push(';');
        all.push_str(part);
    }
    all.into()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Splits a text at separators outside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let parts = c == separator && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        parts
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_the_same_however_it_is_written() {
        for text in [
            "application/json",
            "application/json;charset=utf-8",
            "application/json ; charset=utf-8",
            "application/json\t;\tcharset=utf-8",
            "application/json;;charset=utf-8",
            "application/json; ;charset=\"utf-8\";",
            "application/json;charset=\"u\\tf-8\"",
            " Application/JSON; CHARSET=UTF-8 ",
            "application/json; a=\"; charset=latin1;;\"",
        ] {
            let media = Media::parse(text).expect(text);
            assert_eq!(media.essence(), "application/json", "{text}");
            assert!(media.is_json(), "{text}");
            let charset = media.charset().unwrap_or("utf-8".to_owned());
            assert!(charset.eq_ignore_ascii_case("utf-8"), "{text}");
        }
        for text in [
            "",
            "json",
            "application/",
            "application/json charset=utf-8",
            "application/json;charset",
            "application/json, text/plain",
        ] {
            assert_eq!(Media::parse(text), None, "{text}");
        }
    }

    #[test]
    fn json_and_text_are_known() {
        for (text, json, plain) in [
            ("application/cloudevents+json; charset=utf-8", true, false),
            ("application/vnd.a+JSON", true, false),
            ("application/xml", false, false),
            ("text/plain", false, true),
            ("text/csv ; charset=\"US-ASCII\"", false, true),
            ("text/plain;charset=latin1", false, false),
        ] {
            let media = Media::parse(text).expect(text);
            assert_eq!(
                (media.is_json(), media.is_utf8_text()),
                (json, plain),
                "{text}"
            );
        }
    }

    #[test]
    fn a_list_is_read_in_order() {
        let read = |text| -> Vec<_> {
            Media::list(text)
                .map(|media| (media.essence(), media.is_wanted()))
                .collect()
        };
        let expected = [("a/b", true), ("c/*", true), ("d/e", false), ("*/*", true)];
        let expected: Vec<_> = expected.map(|(name, is)| (name.to_owned(), is)).into();
        assert_eq!(
            read("a/b ,nonsense,, c/*;x=\"a,b\";q=0.1,d/e ; Q=0.000, */*"),
            expected
        );
    }
}
