//! The position from which a client of server-sent events resumes.
//!
//! A browser's `EventSource` sends it in the header `Last-Event-ID`. Clients that set no header, to avoid a preflight
//! (CORS), send it in the query. The header wins, because an address may be as old as its page. Either wins over `after`
//! and `since`.

use std::fmt::Display;

use axum::http::{HeaderMap, Uri};

use crate::{
    http::edge::{
        problem::{Kind, Problem},
        query::{self, Query},
        ticket::TICKET,
    },
    position::Cursor,
};

const HEADER: &str = "Last-Event-ID";
const PARAMETERS: [&str; 2] = ["lastEventId", HEADER];
/// A parameter that makes an address unique, so that no cache answers.
const CACHE_BUSTER: &str = "_";

/// The parameters that name what a stream for many subscriptions is for.
pub(super) const SUBSCRIPTION: &str = "subscription";
pub(super) const FILTER: &str = "filter";
/// The parameters of such a stream.
pub(super) const OF_MANY: [&str; 7] = [
    SUBSCRIPTION,
    FILTER,
    "source",
    "after",
    "since",
    "onGap",
    TICKET,
];

/// The part of a request that names the start of its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StartField {
    After,
    Since,
    Header,
    Parameter(&'static str),
}

impl StartField {
    /// Returns the refusal of this part.
    pub(super) fn refuse(self, detail: impl Display) -> Problem {
        match self {
            Self::After => Problem::parameter(Kind::BadCursor, "after", detail),
            Self::Since => query::bad("since", detail),
            Self::Header => Problem::header(Kind::BadCursor, HEADER, detail),
            Self::Parameter(name) => Problem::parameter(Kind::BadCursor, name, detail),
        }
    }
}

/// The id of the last event that the client has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LastEventId {
    text: String,
    pub(super) field: StartField,
}

impl LastEventId {
    /// Reads the id, which is a cursor.
    pub(super) fn cursor(&self) -> Result<Cursor, Problem> {
        Cursor::parse(&self.text).map_err(|error| self.field.refuse(error))
    }

    /// Returns the id as it was sent, if it is a cursor.
    pub(super) fn into_valid_text(self) -> Option<String> {
        self.cursor().ok().map(|_| self.text)
    }
}

/// Reads a query with these parameters and those that clients of server-sent events add.
pub(super) fn query(uri: &Uri, known: &[&'static str]) -> Result<Query, Problem> {
    query_with(uri, known, "")
}

/// The same; one of the parameters may be given several times.
pub(super) fn query_with(
    uri: &Uri,
    known: &[&'static str],
    repeated: &str,
) -> Result<Query, Problem> {
    let added = [PARAMETERS[0], PARAMETERS[1], CACHE_BUSTER];
    Query::read_with(uri, &[known, &added].concat(), repeated)
}

/// Reads the id of the last event. An empty one counts as none.
pub(super) fn last_event_id(
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<LastEventId>, Problem> {
    let mut found: Option<LastEventId> = None;
    for line in headers.get_all(HEADER) {
        let text = line
            .to_str()
            .map_err(|error| StartField::Header.refuse(error))?;
        merge(&mut found, StartField::Header, text)?;
    }
    if found.is_some() {
        return Ok(found);
    }
    for name in PARAMETERS {
        merge(
            &mut found,
            StartField::Parameter(name),
            query.get(name).unwrap_or_default(),
        )?;
    }
    Ok(found)
}

/// Keeps the id, or refuses a second one that differs: nobody could tell which is meant.
fn merge(found: &mut Option<LastEventId>, field: StartField, text: &str) -> Result<(), Problem> {
    match found {
        _ if text.is_empty() => {}
        None => {
            *found = Some(LastEventId {
                text: text.to_owned(),
                field,
            });
        }
        Some(other) if other.text == text => {}
        Some(_) => return Err(field.refuse("is given twice, and differs")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn found(lines: &[&'static str], asked: &str) -> Result<Option<(String, StartField)>, Problem> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, HeaderValue::from_static(line));
        }
        let uri = Uri::builder().path_and_query(format!("/x?{asked}"));
        let query = query(&uri.build().unwrap(), &["after"])?;
        let last = last_event_id(&headers, &query)?;
        Ok(last.map(|last| (last.text, last.field)))
    }

    #[test]
    fn the_header_wins_and_the_two_parameters_are_one() {
        let parameter = |name| StartField::Parameter(name);
        for (lines, asked, expected) in [
            (&[][..], "", None),
            (&[], "after=x&_=1700000000000", None),
            (&["a"], "", Some(("a", StartField::Header))),
            (&["a", "a"], "", Some(("a", StartField::Header))),
            (&[], "lastEventId=b", Some(("b", parameter("lastEventId")))),
            (
                &[],
                "&lastEventId=b&_=1",
                Some(("b", parameter("lastEventId"))),
            ),
            (&[], "Last-Event-ID=b", Some(("b", parameter(HEADER)))),
            (
                &[],
                "Last-Event-ID=b&lastEventId=b",
                Some(("b", parameter("lastEventId"))),
            ),
            (&["a"], "lastEventId=b", Some(("a", StartField::Header))),
            (
                &["a"],
                "lastEventId=b&Last-Event-ID=c",
                Some(("a", StartField::Header)),
            ),
            (
                &[""],
                "lastEventId=b",
                Some(("b", parameter("lastEventId"))),
            ),
            (&[""], "lastEventId=&Last-Event-ID=", None),
        ] {
            let expected = expected.map(|(text, field)| (text.to_owned(), field));
            assert_eq!(found(lines, asked).unwrap(), expected, "{lines:?} {asked}");
        }
    }

    #[test]
    fn two_ids_that_differ_and_other_parameters_are_refused() {
        for (lines, asked, kind) in [
            (&["a", "b"][..], "", Kind::BadCursor),
            (&[], "lastEventId=b&Last-Event-ID=c", Kind::BadCursor),
            (&[], "lastEventId=b&lastEventId=b", Kind::BadParameter),
            (&[], "last-event-id=b", Kind::BadParameter),
            (&[], "lasteventid=b", Kind::BadParameter),
            (&[], "r=0.123", Kind::BadParameter),
        ] {
            let refused = found(lines, asked).unwrap_err();
            assert_eq!(refused.kind(), kind, "{lines:?} {asked}");
        }
    }
}
