//! Where a client of server-sent events says that it was.
//!
//! A browser's `EventSource` says it in the header `Last-Event-ID`. Clients that set no header, so that the
//! browser does not ask before (CORS), say the same in the query. The header wins, since an address may be
//! as old as its page; either wins over `after` and `since`.

use std::fmt::Display;

use axum::http::{HeaderMap, Uri};

use crate::{
    http::edge::{
        problem::{Kind, Problem},
        query::{self, Query},
    },
    position::Cursor,
};

const HEADER: &str = "Last-Event-ID";
const PARAMETERS: [&str; 2] = ["lastEventId", HEADER];
/// A parameter that only makes an address new, so that no cache answers.
const CACHE_BUSTER: &str = "_";

/// The part of a request that says from where its client goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    After,
    Since,
    Header,
    Parameter(&'static str),
}

impl Said {
    /// A refusal of what stands there.
    pub(crate) fn refuse(self, detail: impl Display) -> Problem {
        match self {
            Self::After => Problem::parameter(Kind::BadCursor, "after", detail),
            Self::Since => query::bad("since", detail),
            Self::Header => Problem::header(Kind::BadCursor, HEADER, detail),
            Self::Parameter(name) => Problem::parameter(Kind::BadCursor, name, detail),
        }
    }
}

/// The id of the last event that a client has seen, as it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Last {
    text: String,
    pub(crate) said: Said,
}

impl Last {
    /// The id, which is a cursor.
    pub(crate) fn cursor(&self) -> Result<Cursor, Problem> {
        Cursor::parse(&self.text).map_err(|error| self.said.refuse(error))
    }

    /// The id as it was given, if it is a cursor.
    pub(crate) fn readable(self) -> Option<String> {
        self.cursor().ok().map(|_| self.text)
    }
}

/// Reads a query with these parameters, and those that clients of server-sent events add.
pub(crate) fn query(uri: &Uri, known: &[&'static str]) -> Result<Query, Problem> {
    let added = [PARAMETERS[0], PARAMETERS[1], CACHE_BUSTER];
    Query::read(uri, &[known, &added].concat())
}

/// The last event's id; an empty one counts as none.
pub(crate) fn last(headers: &HeaderMap, query: &Query) -> Result<Option<Last>, Problem> {
    let mut found: Option<Last> = None;
    for line in headers.get_all(HEADER) {
        let text = line.to_str().map_err(|error| Said::Header.refuse(error))?;
        agree(&mut found, Said::Header, text)?;
    }
    if found.is_some() {
        return Ok(found);
    }
    for name in PARAMETERS {
        agree(
            &mut found,
            Said::Parameter(name),
            query.get(name).unwrap_or_default(),
        )?;
    }
    Ok(found)
}

/// Two ids are one, or nobody can say which is meant.
fn agree(found: &mut Option<Last>, said: Said, text: &str) -> Result<(), Problem> {
    match found {
        _ if text.is_empty() => {}
        None => {
            *found = Some(Last {
                text: text.to_owned(),
                said,
            });
        }
        Some(other) if other.text == text => {}
        Some(_) => return Err(said.refuse("is given twice, and differs")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn found(lines: &[&'static str], asked: &str) -> Result<Option<(String, Said)>, Problem> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, HeaderValue::from_static(line));
        }
        let uri = Uri::builder().path_and_query(format!("/x?{asked}"));
        let query = query(&uri.build().unwrap(), &["after"])?;
        let last = last(&headers, &query)?;
        Ok(last.map(|last| (last.text, last.said)))
    }

    #[test]
    fn the_header_wins_and_the_two_parameters_are_one() {
        let parameter = |name| Said::Parameter(name);
        for (lines, asked, expected) in [
            (&[][..], "", None),
            (&[], "after=x&_=1700000000000", None),
            (&["a"], "", Some(("a", Said::Header))),
            (&["a", "a"], "", Some(("a", Said::Header))),
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
            (&["a"], "lastEventId=b", Some(("a", Said::Header))),
            (
                &["a"],
                "lastEventId=b&Last-Event-ID=c",
                Some(("a", Said::Header)),
            ),
            (
                &[""],
                "lastEventId=b",
                Some(("b", parameter("lastEventId"))),
            ),
            (&[""], "lastEventId=&Last-Event-ID=", None),
        ] {
            let expected = expected.map(|(text, said)| (text.to_owned(), said));
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
