//! Preconditions by entity tag (RFC 9110, section 13): `If-Match` and `If-None-Match`.

use axum::http::{HeaderMap, HeaderName, header};

use super::problem::{Kind, Problem};

/// The detail where a weak tag names the current state. `If-Match` compares strongly (RFC 9110, section 13.1.1).
const WEAKENED: &str = "a weak entity tag (W/\"…\") matches nothing, although this one names the current state: \
     something on the way, like a proxy that compresses, made it weak. Leave W/ out";

/// The condition in one header.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Condition {
    /// `*`: there is a current state.
    Any,
    /// One of these tags names the current state.
    Tags(Vec<Tag>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Tag {
    weak: bool,
    /// The tag with its quotes, as in `ETag`.
    opaque: String,
}

/// The conditions of a request on the current state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Preconditions {
    if_match: Option<Condition>,
    if_none_match: Option<Condition>,
}

impl Preconditions {
    /// Reads both headers.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: condition(headers, &header::IF_MATCH)?,
            if_none_match: condition(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Whether there is no condition.
    pub(crate) fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Checks a write against the current entity tag; `None` if nothing exists.
    pub(crate) fn check(&self, current: Option<&str>) -> Result<(), Problem> {
        match current {
            None if self.if_match.is_some() => {
                return Err(failed("If-Match", "there is no such resource"));
            }
            None => {}
            Some(etag) => self.check_match(etag)?,
        }
        if self.none_match_fails(current) {
            return Err(failed("If-None-Match", "the resource exists in that state"));
        }
        Ok(())
    }

    /// Checks `If-Match` alone, as a read does.
    pub(crate) fn check_match(&self, etag: &str) -> Result<(), Problem> {
        match &self.if_match {
            Some(Condition::Tags(tags)) if !tags.iter().any(|tag| tag.equals(etag)) => {
                let weakened = tags.iter().any(|tag| tag.weak && tag.opaque == etag);
                Err(failed(
                    "If-Match",
                    if weakened {
                        WEAKENED
                    } else {
                        "the resource has changed"
                    },
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether a reader already has the current state (304).
    pub(crate) fn not_modified(&self, current: &str) -> bool {
        self.none_match_fails(Some(current))
    }

    fn none_match_fails(&self, current: Option<&str>) -> bool {
        match (&self.if_none_match, current) {
            (Some(Condition::Any), Some(_)) => true,
            (Some(Condition::Tags(tags)), Some(etag)) => tags.iter().any(|tag| tag.opaque == etag),
            _ => false,
        }
    }
}

fn failed(name: &str, detail: &str) -> Problem {
    Problem::header(Kind::PreconditionFailed, name, detail)
}

impl Tag {
    /// Whether the tags are equal in strong comparison. A weak tag equals nothing.
    fn equals(&self, etag: &str) -> bool {
        !self.weak && self.opaque == etag
    }
}

fn condition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, Problem> {
    let mut tags = Vec::new();
    let mut any = false;
    let mut present = false;
    for value in headers.get_all(name) {
        present = true;
        let text = value.to_str().map_err(|_| unreadable(name))?;
        if text.trim() == "*" {
            any = true;
        } else {
            tags.extend(list(text).ok_or_else(|| unreadable(name))?);
        }
    }
    match (present, any, tags.is_empty()) {
        (false, ..) => Ok(None),
        (_, true, true) => Ok(Some(Condition::Any)),
        (_, false, false) => Ok(Some(Condition::Tags(tags))),
        _ => Err(unreadable(name)),
    }
}

fn unreadable(name: &HeaderName) -> Problem {
    let name = match name.as_str() {
        "if-match" => "If-Match",
        _ => "If-None-Match",
    };
    Problem::header(
        Kind::BadHeader,
        name,
        "must be * or a list of entity tags like \"abc\", \"def\"",
    )
}

/// Reads a comma-separated list of entity tags. Quoted tags may contain commas.
fn list(text: &str) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    let mut rest = text.trim_matches(is_separator);
    while !rest.is_empty() {
        let (weak, tagged) = match rest.strip_prefix("W/") {
            Some(tagged) => (true, tagged),
            None => (false, rest),
        };
        let length = tagged.strip_prefix('"')?.find('"')? + 2;
        let (opaque, after) = tagged.split_at(length);
        if opaque.contains(char::is_whitespace) {
            return None;
        }
        tags.push(Tag {
            weak,
            opaque: opaque.to_owned(),
        });
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
        rest = rest.trim_start_matches(is_separator);
    }
    Some(tags)
}

fn is_separator(c: char) -> bool {
    matches!(c, ',' | ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(name: &'static str, values: &[&str]) -> Result<Preconditions, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Preconditions::read(&headers)
    }

    #[test]
    fn if_match_holds_for_the_state_that_was_seen() {
        for (values, current, holds) in [
            (&[r#""a""#][..], Some(r#""a""#), true),
            (&[r#""a""#], Some(r#""b""#), false),
            (&[r#""x", "a,b" ,W/"c""#], Some(r#""a,b""#), true),
            (&[r#"W/"a""#], Some(r#""a""#), false),
            (&[r#""x""#, r#""a""#], Some(r#""a""#), true),
            (&["*"], Some(r#""a""#), true),
            (&["*"], None, false),
            (&[r#""a""#], None, false),
            (&[], None, true),
        ] {
            let conditions = read("if-match", values).unwrap();
            assert_eq!(conditions.check(current).is_ok(), holds, "{values:?}");
        }
    }

    #[test]
    fn a_tag_that_was_weakened_on_the_way_is_told_from_a_change() {
        let detail = |current| {
            let weak = read("if-match", &[r#"W/"a", "b""#]).unwrap();
            weak.check(Some(current)).unwrap_err().detail().to_owned()
        };
        assert!(detail(r#""a""#).contains("weak"));
        assert!(detail(r#""c""#).contains("has changed"));
    }

    #[test]
    fn if_none_match_refuses_a_write_and_spares_a_read() {
        let star = read("if-none-match", &["*"]).unwrap();
        assert!(star.check(None).is_ok());
        assert!(star.check(Some(r#""a""#)).is_err());
        let tags = read("if-none-match", &[r#"W/"a", "b""#]).unwrap();
        assert!(tags.not_modified(r#""a""#));
        assert!(tags.not_modified(r#""b""#));
        assert!(!tags.not_modified(r#""c""#));
    }

    #[test]
    fn what_is_no_list_of_tags_is_a_bad_header() {
        for bad in ["", "a", r#""a"#, r#""a" "b""#, r#""a b""#, r#"w/"a""#, ","] {
            let problem = read("if-match", &[bad]).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadHeader, "{bad}");
        }
        assert!(read("if-match", &["*", r#""a""#]).is_err());
    }
}
