//! `Idempotency-Key`: a request that is sent again has its effect once and gets the same answer.
//!
//! The work runs as a task of its own, so that a client that goes away half way leaves an answer
//! behind for its next attempt. Ids that the service gives are derived from the key's seed: an attempt
//! that takes over from one that died finds what that one stored.

mod store_answer;

use std::panic::AssertUnwindSafe;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::store_answer::Keeping;
use super::{
    body::{Reader, Received},
    budget::Share,
    failure::internal,
    problem::{Kind, Problem},
    state::AppState,
};
use crate::store::{Begun, Reservation, Seed, StoredAnswer};

const NAME: &str = "Idempotency-Key";
const KEY_BYTES: usize = 255;
/// The headers that belong to an answer, wherever and whenever it is given.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// A request whose body was read.
#[derive(Debug)]
pub(crate) struct Call {
    /// Method and path: part of what makes two requests the same.
    pub(crate) target: String,
    /// All headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// Its share of what all bodies may take.
    pub(crate) share: Share,
}

impl Call {
    /// Reads the body.
    pub(crate) async fn read(reader: Reader<'_>, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let Received { bytes, share } = reader.read(&parts.headers, body).await?;
        Ok(Self {
            target: format!("{} {}", parts.method, parts.uri.path()),
            headers: parts.headers,
            body: bytes,
            share,
        })
    }
}

/// Where ids come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids {
    /// New ones.
    Fresh,
    /// The same at every attempt with one key.
    Seeded(Seed),
}

impl Ids {
    /// The id of the request's item number `index`: a UUID of version 7.
    pub(crate) fn uuid(self, index: usize) -> Uuid {
        let Self::Seeded(seed) = self else {
            return Uuid::now_v7();
        };
        let mut hash = Sha256::new();
        hash.update(seed.bytes);
        hash.update((index as u64).to_be_bytes());
        let hash = hash.finalize();
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        let millis = u64::try_from(seed.created.timestamp_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// Whether an earlier attempt may have stored something under the same ids.
    pub(crate) fn may_exist(self) -> bool {
        matches!(self, Self::Seeded(_))
    }
}

/// Does `work` once for each key; without a key, simply does it.
pub(crate) async fn once<F, W>(state: AppState, call: Call, work: F) -> Result<Response, Problem>
where
    F: FnOnce(AppState, Call, Ids) -> W + Send + 'static,
    W: Future<Output = Result<Response, Problem>> + Send,
{
    let Some(key) = key(&call.headers)? else {
        return work(state, call, Ids::Fresh).await;
    };
    // The reservation is the task's too: whoever leaves now leaves no key behind that nobody works on.
    let tasks = state.tasks.clone();
    let task = tasks.spawn("request", async move {
        let print = fingerprint(&call);
        match state.store.begin(&key, print).await? {
            Begun::Replay(answer) => replay(answer),
            Begun::OtherBody => Err(Problem::header(
                Kind::IdempotencyKeyReused,
                NAME,
                "was used with another request; use a new one",
            )),
            Begun::Running => Err(Problem::header(
                Kind::IdempotencyKeyInUse,
                NAME,
                "belongs to a request that is still running",
            )),
            Begun::Fresh(reservation) => begun(state, call, reservation, work).await,
        }
    });
    // Nothing comes of it where it panicked, or was cut at the end of a stop.
    match task.await {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(Problem::new(
            Kind::InternalError,
            "the work on this request ended without an answer",
        )),
        Err(error) => Err(internal(&error)),
    }
}

/// Does the work behind a key that is reserved; where it panics, the key is free again.
async fn begun<F, W>(
    state: AppState,
    call: Call,
    reservation: Reservation,
    work: F,
) -> Result<Response, Problem>
where
    F: FnOnce(AppState, Call, Ids) -> W,
    W: Future<Output = Result<Response, Problem>>,
{
    let ids = Ids::Seeded(reservation.seed);
    let working = async { work(state.clone(), call, ids).await };
    match AssertUnwindSafe(working).catch_unwind().await {
        Ok(answer) => settle(&state, reservation, answer.into_response()).await,
        Err(panic) => {
            keep(&state, reservation, None).await;
            std::panic::resume_unwind(panic)
        }
    }
}

/// Keeps the answer, unless it is a failure that another attempt may not meet.
async fn settle(
    state: &AppState,
    reservation: Reservation,
    response: Response,
) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| internal(&error))?;
    let answer = (!parts.status.is_server_error()).then(|| {
        let headers = KEPT.iter().filter_map(|name| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        StoredAnswer {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: body.to_vec(),
        }
    });
    keep(state, reservation, answer).await;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Writes what became of a reservation, now or, where the database is away, when it is back.
async fn keep(state: &AppState, reservation: Reservation, answer: Option<StoredAnswer>) {
    let keeping = Keeping {
        store: state.store.clone(),
        reservation,
        answer,
    };
    if let Some(later) = keeping.now().await {
        state.tasks.spawn("keeping", later);
    }
}

fn replay(answer: StoredAnswer) -> Result<Response, Problem> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).map_err(|error| internal(&error))?;
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(|error| internal(&error))?;
        let value = HeaderValue::try_from(value).map_err(|error| internal(&error))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.and_then(read_key).map(Some).ok_or_else(|| {
        Problem::header(
            Kind::BadHeader,
            NAME,
            "must be given once, as 1 to 255 visible ASCII characters, or as such a string in quotes",
        )
    })
}

/// The key as it stands, or as a string of structured fields (RFC 9651, section 3.3.3), as the header's draft has it.
fn read_key(text: &str) -> Option<String> {
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest)?,
        None => text.to_owned(),
    };
    let sound =
        (1..=KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then_some(key)
}

/// What stands before the closing quote, which is the end.
fn unquote(text: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => key.push(c),
        }
    }
}

/// What makes two requests the same: method, path, content type, an event's attributes in headers,
/// and the body.
fn fingerprint(call: &Call) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(call.target.as_bytes());
    let counts =
        |name: &HeaderName| *name == header::CONTENT_TYPE || name.as_str().starts_with("ce-");
    let mut headers: Vec<_> = call
        .headers
        .iter()
        .filter(|(name, _)| counts(name))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    headers.sort_unstable();
    for (name, value) in headers {
        part(name.as_bytes());
        part(value);
    }
    part(&call.body);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::budget::Budget;
    use bson::DateTime;

    fn call(target: &str, headers: &[(&'static str, &'static str)], body: &'static str) -> Call {
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        Call {
            target: target.to_owned(),
            headers: headers.iter().map(header).collect(),
            body: Bytes::from_static(body.as_bytes()),
            share: Budget::new(0, "tests", &std::sync::Arc::default()).share(),
        }
    }

    #[test]
    fn the_same_request_has_the_same_fingerprint_and_no_other() {
        let one = fingerprint(&call(
            "POST /a",
            &[("content-type", "x"), ("date", "1")],
            "b",
        ));
        let again = call("POST /a", &[("date", "2"), ("content-type", "x")], "b");
        assert_eq!(one, fingerprint(&again));
        for other in [
            call("POST /b", &[("content-type", "x")], "b"),
            call("POST /a", &[("content-type", "y")], "b"),
            call("POST /a", &[("content-type", "x"), ("ce-id", "1")], "b"),
            call("POST /a", &[("content-type", "x")], "c"),
            call("POST /a", &[], "b"),
        ] {
            assert_ne!(one, fingerprint(&other), "{other:?}");
        }
    }

    #[test]
    fn keys_are_visible_ascii() {
        for (value, expected) in [
            ("k", Some("k")),
            ("a-1_~!", Some("a-1_~!")),
            ("\"k\"", Some("k")),
            (r#""a\"\\b""#, Some(r#"a"\b"#)),
            ("k\"", Some("k\"")),
            ("a b", None),
            ("", None),
            ("\"\"", None),
            ("\"", None),
            ("\"k", None),
            ("\"a b\"", None),
            ("\"k\"x", None),
            (r#""a\b""#, None),
        ] {
            let call = call("", &[("idempotency-key", value)], "");
            let read = key(&call.headers).ok().flatten();
            assert_eq!(read.as_deref(), expected, "{value}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(key(&headers).unwrap(), None);
        let long = |len: usize| HeaderValue::from_str(&"k".repeat(len)).unwrap();
        headers.insert(NAME, long(255));
        assert!(key(&headers).is_ok());
        headers.insert(NAME, long(256));
        assert!(key(&headers).is_err());
    }

    #[test]
    fn seeded_ids_are_the_same_at_every_attempt() {
        let seed = Seed {
            bytes: [7; 16],
            created: DateTime::from_millis(1_700_000_000_000),
        };
        let ids = Ids::Seeded(seed);
        assert_eq!(ids.uuid(3), ids.uuid(3));
        assert_ne!(ids.uuid(3), ids.uuid(4));
        assert_eq!(ids.uuid(3).get_version_num(), 7);
        assert_ne!(Ids::Fresh.uuid(3), Ids::Fresh.uuid(3));
    }
}
