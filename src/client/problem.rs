//! A refusal as the service words it (RFC 9457), for reading in a terminal.

use std::{fmt, time::Duration};

use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;

use crate::telemetry::Printable;

/// The most that is shown of an answer that is no problem document.
const EXCERPT_CHARS: usize = 300;

/// A problem document. Its texts were written by others: each is on one line, and steers no terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status; 0 where an item of a batch has none.
    pub status: u16,
    /// The kind of problem, in a few words.
    pub(crate) title: String,
    /// The particulars of this occurrence.
    pub(crate) detail: Option<String>,
    /// The faults of the request: a JSON pointer or a parameter's name, and a text.
    pub(crate) errors: Vec<(String, String)>,
    /// The time to wait before the next attempt.
    pub(crate) retry_after: Option<Duration>,
}

impl Problem {
    /// Reads a refusal, whatever its body is.
    pub(super) async fn read(response: Response) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // A body that breaks off leaves the status, which says enough.
        let body = response.bytes().await.unwrap_or_default();
        let problem = match serde_json::from_slice::<Value>(&body) {
            Ok(value) if value["title"].is_string() => Self::from_json(&value),
            _ => Self::from_other(status, &body),
        };
        Self {
            status: status.as_u16(),
            retry_after,
            ..problem
        }
    }

    /// Reads a problem document. The answer to a batch has one for each item that was refused.
    pub(crate) fn from_json(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(printable);
        let error = |error: &Value| {
            let location = text(&error["pointer"]).or_else(|| text(&error["parameter"]));
            (
                location.unwrap_or_default(),
                text(&error["detail"]).unwrap_or_default(),
            )
        };
        let errors = value["errors"].as_array();
        let errors: Vec<_> = errors.into_iter().flatten().map(error).collect();
        // With one fault, the detail often says the same once more.
        let repeats_an_error = |detail: &String| {
            let mut lines = errors.iter().map(|(at, text)| format!("{at}: {text}"));
            lines.any(|line| line == *detail)
        };
        let status = value["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        Self {
            status: status.unwrap_or(0),
            title: text(&value["title"]).unwrap_or_else(|| "Refused".to_owned()),
            detail: text(&value["detail"]).filter(|detail| !repeats_an_error(detail)),
            errors,
            retry_after: None,
        }
    }

    /// Makes a problem of an answer that is not the service's: a proxy's page, or nothing at all.
    fn from_other(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let excerpt: String = text.trim().chars().take(EXCERPT_CHARS).collect();
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Refused").to_owned(),
            detail: (!excerpt.is_empty()).then(|| printable(&excerpt)),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// Makes pointers into an array relative to one of its items: `#/3/type` becomes `#/type`.
    pub(crate) fn of_item(mut self, index: usize) -> Self {
        let within = format!("#/{index}");
        for (location, _) in &mut self.errors {
            if let Some(rest) = location.strip_prefix(&within)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *location = format!("#{rest}");
            }
        }
        self
    }

    /// Returns the whole on one line.
    pub(crate) fn one_line(&self) -> String {
        self.to_string()
            .lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, detail) = match &self.detail {
            Some(detail) if says_more(detail, &self.title) => (detail, None),
            detail => (&self.title, detail.as_ref()),
        };
        write!(f, "{title}")?;
        if self.status != 0 {
            write!(f, " ({})", self.status)?;
        }
        if let Some(detail) = detail {
            write!(f, "\n  {detail}")?;
        }
        for (location, detail) in &self.errors {
            match location.as_str() {
                "" => write!(f, "\n  {detail}")?,
                location => write!(f, "\n  {location}: {detail}")?,
            }
        }
        Ok(())
    }
}

fn printable(text: &str) -> String {
    Printable(text).to_string()
}

/// Reads `Retry-After`, where it is given in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// Whether a detail says all that the title says, and names the thing: `there is no event "a"` says
/// `There is no such event`.
fn says_more(detail: &str, title: &str) -> bool {
    let title = title.to_lowercase().replace(" such ", " ");
    detail
        .to_lowercase()
        .strip_prefix(&title)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_is_shown_once() {
        let problem = Problem::from_json(&json!({
            "type": "/problems/invalid-filter", "title": "The filter is not valid", "status": 422,
            "detail": "2 faults", "errors": [
                {"pointer": "#/filter/a/$foo", "detail": "unknown operator"},
                {"parameter": "limit", "detail": "must be a number"}]}));
        assert_eq!(
            problem.to_string(),
            "The filter is not valid (422)\n  2 faults\n  #/filter/a/$foo: unknown operator\
             \n  limit: must be a number"
        );
        assert_eq!(problem.one_line().lines().count(), 1);
    }

    #[test]
    fn an_item_stands_alone_and_nothing_is_said_twice() {
        let problem = Problem::from_json(&json!({
            "title": "Refused", "status": 422, "detail": "#/2/type: is required",
            "errors": [{"pointer": "#/2/type", "detail": "is required"}]}));
        let text = problem.of_item(2).one_line();
        assert_eq!(text, "Refused (422); #/type: is required");
    }

    #[test]
    fn a_detail_that_repeats_the_title_stands_alone() {
        for (title, detail, expected) in [
            (
                "There is no such event",
                "there is no event \"a\"",
                "there is no event \"a\" (404)",
            ),
            (
                "The body is not JSON",
                "the body is not JSON",
                "the body is not JSON (404)",
            ),
            (
                "There is no such event",
                "it was deleted",
                "There is no such event (404)\n  it was deleted",
            ),
            (
                "This is not",
                "this is nothing",
                "This is not (404)\n  this is nothing",
            ),
        ] {
            let problem = json!({"title": title, "status": 404, "detail": detail});
            assert_eq!(Problem::from_json(&problem).to_string(), expected);
        }
    }

    #[test]
    fn texts_of_others_add_no_lines() {
        const FOREIGN: &str = "a\nerror: forged\u{1b}[2J";
        let problem = Problem::from_json(
            &json!({"title": FOREIGN, "status": 422, "detail": format!("b{FOREIGN}"),
            "errors": [{"pointer": FOREIGN, "detail": FOREIGN}]}),
        );
        let page = Problem::from_other(StatusCode::BAD_GATEWAY, FOREIGN.as_bytes());
        assert_eq!(problem.to_string().lines().count(), 3, "{problem}");
        assert_eq!(page.to_string().lines().count(), 2, "{page}");
        assert!(!format!("{problem}{page}").contains('\u{1b}'));
    }

    #[test]
    fn a_page_that_is_not_the_services_is_quoted() {
        let problem = Problem::from_other(StatusCode::BAD_GATEWAY, b"<html>\n");
        assert_eq!(problem.to_string(), "Bad Gateway (502)\n  <html>");
    }
}
