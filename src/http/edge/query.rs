//! Query parameters: each is known by name, given once, and readable. Anything else is a 400 that names it.

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};
use crate::{event::input::has_broken_escape, extjson::Faults};

/// A request's query parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads the parameters in `known`. All faults of the query are reported together.
    pub(crate) fn read(uri: &Uri, known: &[&'static str]) -> Result<Self, Problem> {
        Self::read_with(uri, known, "")
    }

    /// The same; one of the parameters may be given several times.
    pub(crate) fn read_with(
        uri: &Uri,
        known: &[&'static str],
        repeated: &str,
    ) -> Result<Self, Problem> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        let mut faults = Vec::new();
        let query = uri.query().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if faults.len() > Faults::MOST {
                break;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).unwrap_or_else(|| name.to_owned());
            let Some(known_name) = known.iter().find(|known| **known == name) else {
                faults.push((name, unknown(known)));
                continue;
            };
            match decode(value) {
                _ if name != repeated && found.iter().any(|(other, _)| other == known_name) => {
                    faults.push((name, "is given twice".to_owned()));
                }
                None => faults.push((name, "is not percent-encoded UTF-8".to_owned())),
                Some(value) => found.push((known_name, value)),
            }
        }
        refuse(faults).map_or(Ok(Self(found)), Err)
    }

    /// Returns the text of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(value)
    }

    /// Returns every text of a parameter that may be given several times.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the size of a page: `default` if the client names none.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else {
            return Ok(default.min(most));
        };
        match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(bad(
                "limit",
                format!("must be a whole number from 1 to {most}"),
            )),
        }
    }

    /// Whether a switch is on. It is off if it is not given.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad(name, "must be true or false")),
        }
    }
}

/// Returns the refusal of one parameter.
pub(crate) fn bad(name: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::parameter(Kind::BadParameter, name, detail)
}

fn unknown(known: &[&str]) -> String {
    match known {
        [] => "is unknown; there are no parameters here".to_owned(),
        known => format!("is unknown; the parameters are {}", known.join(", ")),
    }
}

fn refuse(faults: Vec<(String, String)>) -> Option<Problem> {
    let mut faults = faults.into_iter();
    let (name, detail) = faults.next()?;
    let mut problem = bad(&name, detail);
    for (name, detail) in faults {
        problem.blame_parameter(&name, detail);
    }
    Some(problem)
}

/// Decodes `application/x-www-form-urlencoded` text; `None` if it is not UTF-8.
fn decode(text: &str) -> Option<String> {
    if has_broken_escape(text) {
        return None;
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(query: &str) -> Result<Query, Value> {
        let uri = Uri::builder().path_and_query(format!("/x?{query}"));
        Query::read(&uri.build().unwrap(), &["limit", "name", "count"])
            .map_err(|problem| problem.to_json()["errors"].clone())
    }

    #[test]
    fn values_are_decoded() {
        let query = read("name=a%20b+c%2B%C3%A4&&limit=7&count=true").unwrap();
        assert_eq!(query.get("name"), Some("a b c+ä"));
        assert_eq!(query.limit(5, 10).unwrap(), 7);
        assert!(query.flag("count").unwrap());
        assert_eq!(read("").unwrap().limit(5, 10).unwrap(), 5);
        assert_eq!(read("name").unwrap().get("name"), Some(""));
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let errors = read("nmae=x&limit=1&limit=2&name=%FF&name=%2").unwrap_err();
        let named: Vec<_> = errors.as_array().unwrap().iter().collect();
        let named: Vec<_> = named.iter().map(|error| &error["parameter"]).collect();
        assert_eq!(
            named,
            [
                &json!("nmae"),
                &json!("limit"),
                &json!("name"),
                &json!("name")
            ]
        );
    }

    #[test]
    fn sizes_and_switches_are_bounded() {
        for bad in ["0", "11", "-1", "x", "", "1.5"] {
            assert!(
                read(&format!("limit={bad}")).unwrap().limit(5, 10).is_err(),
                "{bad}"
            );
        }
        assert!(read("count=yes").unwrap().flag("count").is_err());
    }
}
