//! `Idempotency-Key`: a request that is sent again takes effect once and gets the same answer.
//!
//! The work runs as a task of its own, so a client that leaves half way still finds an answer at its next attempt. Ids
//! that the service assigns are derived from the key's seed: an attempt that takes over from one that died finds what
//! that one stored.

use std::{fmt::Write as _, panic::AssertUnwindSafe, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    body::BufferedRequest,
    failure::internal,
    problem::{Kind, Problem},
    proof::Proof,
    state::AppState,
};
use crate::{
    access::Caller,
    store::{
        KeyState, RESERVATION_LEASE, Reservation, Seed, Store, StoreError, StoredAnswer, jittered,
    },
};

const NAME: &str = "Idempotency-Key";
const KEY_BYTES: usize = 255;
/// The headers that are stored with an answer.
const STORED_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
/// The average pause between two attempts to store an answer while the database is in trouble.
const PAUSE: Duration = Duration::from_millis(200);

/// The source of the ids that the service assigns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids {
    /// Every attempt gets new ids.
    Fresh,
    /// Every attempt with one key gets the same ids.
    Seeded(Seed),
}

impl Ids {
    /// Returns the id of the request's item at `index`: a UUID of version 7.
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

/// Does `work` once for each key of a caller. Without a key, simply does it. What the caller may do is judged before.
pub(crate) async fn once<F, W>(
    state: AppState,
    caller: &Caller,
    request: BufferedRequest,
    work: F,
) -> Result<Response, Problem>
where
    F: FnOnce(AppState, BufferedRequest, Ids) -> W + Send + 'static,
    W: Future<Output = Result<Response, Problem>> + Send,
{
    let Some(key) = key(&request.headers)? else {
        return work(state, request, Ids::Fresh).await;
    };
    let key = match &state.proof {
        Proof::None(_) => key,
        Proof::Required => key_of(caller, &key),
    };
    // The task makes the reservation, too: a client that leaves now leaves no reserved key without work.
    let tasks = state.tasks.clone();
    let working = async move {
        let print = fingerprint(&request);
        match state.store.reserve(&key, print).await? {
            KeyState::Answered(answer) => replay(answer),
            KeyState::OtherBody => Err(Problem::header(
                Kind::IdempotencyKeyReused,
                NAME,
                "was used with another request; use a new one",
            )),
            KeyState::Running => Err(Problem::header(
                Kind::IdempotencyKeyInUse,
                NAME,
                "belongs to a request that is still running",
            )),
            KeyState::Reserved(reservation) => {
                work_reserved(state, request, reservation, work).await
            }
        }
    };
    // There is no answer if the work panicked, or was aborted at the end of a stop.
    match tasks.spawn("request", working.in_current_span()).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(Problem::new(
            Kind::InternalError,
            "this request ended without an answer",
        )),
        Err(error) => Err(internal(&error)),
    }
}

/// Does the work under a reserved key. If it panics, the key is free again.
async fn work_reserved<F, W>(
    state: AppState,
    request: BufferedRequest,
    reservation: Reservation,
    work: F,
) -> Result<Response, Problem>
where
    F: FnOnce(AppState, BufferedRequest, Ids) -> W,
    W: Future<Output = Result<Response, Problem>>,
{
    let ids = Ids::Seeded(reservation.seed);
    let working = async { work(state.clone(), request, ids).await };
    match AssertUnwindSafe(working).catch_unwind().await {
        Ok(answer) => store_and_return(&state, reservation, answer.into_response()).await,
        Err(panic) => {
            store_answer(&state, reservation, None).await;
            std::panic::resume_unwind(panic)
        }
    }
}

/// Stores the answer and returns it. A failure that another attempt may not meet is not stored.
async fn store_and_return(
    state: &AppState,
    reservation: Reservation,
    response: Response,
) -> Result<Response, Problem> {
    let passes = is_passing(&response);
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| internal(&error))?;
    let answer = (!passes).then(|| {
        let headers = STORED_HEADERS.iter().filter_map(|name| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        StoredAnswer {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: body.to_vec(),
        }
    });
    store_answer(state, reservation, answer).await;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Whether an answer is a failure that another attempt may not meet: there is room again, or less haste.
fn is_passing(response: &Response) -> bool {
    let problem = response.extensions().get::<Problem>();
    let by_quota = problem.is_some_and(|problem| {
        matches!(problem.kind(), Kind::TooManyRequests | Kind::QuotaExceeded)
    });
    by_quota || response.status().is_server_error()
}

/// Stores the answer, or gives up the reservation if there is none: another attempt may be made then. If the database is
/// unavailable, a task does it later.
async fn store_answer(state: &AppState, reservation: Reservation, answer: Option<StoredAnswer>) {
    let pending = PendingAnswer {
        store: state.store.clone(),
        reservation,
        answer,
    };
    if let Some(retrying) = pending.store().await {
        let retrying = retrying.in_current_span();
        state.tasks.spawn("keeping", retrying);
    }
}

/// An answer that is not stored yet.
struct PendingAnswer {
    store: Store,
    reservation: Reservation,
    /// `None` gives the reservation up.
    answer: Option<StoredAnswer>,
}

impl PendingAnswer {
    /// Stores the answer. If the database is unavailable, returns the retries, which need not hold up the client.
    async fn store(self) -> Option<impl Future<Output = ()>> {
        match self.attempt().await {
            Err(error) if error.is_unavailable() => Some(self.retry()),
            outcome => {
                log_failure(outcome);
                None
            }
        }
    }

    async fn attempt(&self) -> Result<(), StoreError> {
        let reservation = self.reservation.clone();
        match &self.answer {
            Some(answer) => self.store.finish(reservation, answer).await,
            None => self.store.abandon(reservation).await,
        }
    }

    /// Tries until the reservation would expire by itself. A client that repeats its request when the database is back
    /// then need not wait for that.
    async fn retry(self) {
        let trying = async {
            loop {
                self.store.availability().wait_primary().await;
                sleep(jittered(PAUSE)).await;
                match self.attempt().await {
                    Err(error) if error.is_unavailable() => {}
                    outcome => return outcome,
                }
            }
        };
        if let Ok(outcome) = timeout(RESERVATION_LEASE, trying).await {
            log_failure(outcome);
        } else {
            tracing::warn!("an answer could not be stored while the database was unavailable");
        }
    }
}

/// Logs that an answer could not be stored. The work is done and the answer stands: a repeated request finds the work by
/// the key's seed.
fn log_failure(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "an answer could not be stored for a repeated request");
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

/// Returns the key as it is stored: two callers who choose the same one do not meet.
fn key_of(caller: &Caller, key: &str) -> String {
    let mut hash = Sha256::new();
    for part in [caller.tenant.as_deref(), caller.owner.as_deref(), Some(key)] {
        match part {
            None => hash.update([0]),
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        _ = write!(text, "{byte:02x}");
    }
    text
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
            "must be given once: 1 to 255 visible ASCII characters, with or without quotes",
        )
    })
}

/// Reads the key, as it stands or as a string of structured fields (RFC 9651, section 3.3.3), which is the form in the
/// header's draft.
fn read_key(text: &str) -> Option<String> {
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest)?,
        None => text.to_owned(),
    };
    let valid =
        (1..=KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then_some(key)
}

/// Returns the text before the closing quote, behind which nothing may follow.
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

/// Returns a hash of what makes two requests the same: method, path, content type, the attributes of an event in headers,
/// and the body.
fn fingerprint(request: &BufferedRequest) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(request.target.as_bytes());
    let counts =
        |name: &HeaderName| *name == header::CONTENT_TYPE || name.as_str().starts_with("ce-");
    let mut headers: Vec<_> = request
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
    part(&request.body.bytes);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::{body::ReceivedBody, budget::Budget};
    use bson::DateTime;
    use bytes::Bytes;

    fn request(
        target: &str,
        headers: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> BufferedRequest {
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        BufferedRequest {
            target: target.to_owned(),
            headers: headers.iter().map(header).collect(),
            body: ReceivedBody {
                bytes: Bytes::from_static(body.as_bytes()),
                share: Budget::new(0, "tests", &std::sync::Arc::default()).share(None),
            },
        }
    }

    #[test]
    fn the_same_request_has_the_same_fingerprint_and_no_other() {
        let one = fingerprint(&request(
            "POST /a",
            &[("content-type", "x"), ("date", "1")],
            "b",
        ));
        let again = request("POST /a", &[("date", "2"), ("content-type", "x")], "b");
        assert_eq!(one, fingerprint(&again));
        for other in [
            request("POST /b", &[("content-type", "x")], "b"),
            request("POST /a", &[("content-type", "y")], "b"),
            request("POST /a", &[("content-type", "x"), ("ce-id", "1")], "b"),
            request("POST /a", &[("content-type", "x")], "c"),
            request("POST /a", &[], "b"),
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
            let request = request("", &[("idempotency-key", value)], "");
            let read = key(&request.headers).ok().flatten();
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
    fn callers_who_choose_the_same_key_do_not_meet() {
        let caller = |tenant: Option<&str>, owner: &str| Caller {
            tenant: tenant.map(Into::into),
            owner: Some(owner.into()),
            ..Caller::anybody()
        };
        let one = key_of(&caller(Some("a"), "bc"), "k");
        assert_eq!(one, key_of(&caller(Some("a"), "bc"), "k"));
        assert_eq!(one.len(), 64);
        for other in [
            key_of(&caller(Some("ab"), "c"), "k"),
            key_of(&caller(Some("a"), "b"), "ck"),
            key_of(&caller(None, "abc"), "k"),
            key_of(&caller(Some(""), "abc"), "k"),
            key_of(&caller(Some("a"), "bc"), "l"),
        ] {
            assert_ne!(one, other);
        }
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
