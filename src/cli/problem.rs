//! A refusal as the service words it (RFC 9457), for reading in a terminal.

use std::{fmt, time::Duration};

use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::{client::retry_after, style::printable};

/// How much of an answer that is no problem document is shown.
const EXCERPT_CHARS: usize = 300;

/// What was wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Which problem it is, in a few words.
    pub(crate) title: String,
    /// What exactly happened this time.
    pub(crate) detail: Option<String>,
    /// Each wrong place: a JSON pointer or a parameter's name, and what is wrong there.
    pub(crate) errors: Vec<(String, String)>,
    /// How long to wait before the next attempt.
    pub(crate) retry_after: Option<Duration>,
}

impl Problem {
    /// Reads the body of a refusal, whatever it is.
    pub(crate) async fn read(response: Response) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // A body that breaks off leaves the status, which says enough.
        let body = response.bytes().await.unwrap_or_default();
        let problem = match serde_json::from_slice::<Value>(&body) {
            Ok(value) if value["title"].is_string() => Self::from_json(&value),
            _ => Self::unworded(status, &body),
        };
        Self {
            status: status.as_u16(),
            retry_after,
            ..problem
        }
    }

    /// Reads a problem document, such as those within the answer to a batch. Each part stays on its line.
    pub(crate) fn from_json(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(printable);
        let error = |error: &Value| {
            let place = text(&error["pointer"]).or_else(|| text(&error["parameter"]));
            (
                place.unwrap_or_default(),
                text(&error["detail"]).unwrap_or_default(),
            )
        };
        let errors = value["errors"].as_array();
        let errors: Vec<_> = errors.into_iter().flatten().map(error).collect();
        // With one fault, the detail often says the same once more.
        let repeats = |detail: &String| {
            let told = |(place, text): &(String, String)| *detail == format!("{place}: {text}");
            errors.iter().any(told)
        };
        let status = value["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        Self {
            status: status.unwrap_or(0),
            title: text(&value["title"]).unwrap_or_else(|| "Refused".to_owned()),
            detail: text(&value["detail"]).filter(|detail| !repeats(detail)),
            errors,
            retry_after: None,
        }
    }

    /// An answer of something that is not this service: a proxy's page, or none at all.
    fn unworded(status: StatusCode, body: &[u8]) -> Self {
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

    /// The problem of one item of an array, told of the item alone: `#/3/type` is its `#/type`.
    pub(crate) fn of_item(mut self, index: usize) -> Self {
        let within = format!("#/{index}");
        for (place, _) in &mut self.errors {
            if let Some(rest) = place.strip_prefix(&within)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *place = format!("#{rest}");
            }
        }
        self
    }

    /// The whole on one line.
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
        for (place, detail) in &self.errors {
            match place.as_str() {
                "" => write!(f, "\n  {detail}")?,
                place => write!(f, "\n  {place}: {detail}")?,
            }
        }
        Ok(())
    }
}

/// Whether a detail says all that the title says, and names the thing: `There is no such event`, `there is no
/// event "a"`.
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
    fn an_item_is_told_of_alone_and_nothing_twice() {
        let problem = Problem::from_json(&json!({
            "title": "Refused", "status": 422, "detail": "#/2/type: is required",
            "errors": [{"pointer": "#/2/type", "detail": "is required"}]}));
        let text = problem.of_item(2).one_line();
        assert_eq!(text, "Refused (422); #/type: is required");
    }

    #[test]
    fn a_detail_that_says_all_that_the_title_says_stands_alone() {
        for (title, detail, told) in [
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
            assert_eq!(Problem::from_json(&problem).to_string(), told);
        }
    }

    #[test]
    fn what_others_word_makes_no_lines_of_its_own() {
        const FOREIGN: &str = "a\nerror: forged\u{1b}[2J";
        let problem = Problem::from_json(
            &json!({"title": FOREIGN, "status": 422, "detail": format!("b{FOREIGN}"),
            "errors": [{"pointer": FOREIGN, "detail": FOREIGN}]}),
        );
        let page = Problem::unworded(StatusCode::BAD_GATEWAY, FOREIGN.as_bytes());
        assert_eq!(problem.to_string().lines().count(), 3, "{problem}");
        assert_eq!(page.to_string().lines().count(), 2, "{page}");
        assert!(!format!("{problem}{page}").contains('\u{1b}'));
    }

    #[test]
    fn a_page_of_something_else_is_quoted() {
        let problem = Problem::unworded(StatusCode::BAD_GATEWAY, b"<html>\n");
        assert_eq!(problem.to_string(), "Bad Gateway (502)\n  <html>");
    }
}
