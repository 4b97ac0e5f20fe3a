//! The caller of a request: what it presents, and who that proves it to be.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderValue, header, request::Parts},
    response::Response,
};

use bson::{RawDocument, Timestamp};

pub(crate) use super::unauthenticated::{refused, unsatisfied};
use super::{
    awaited_key::wait_for_key,
    certificate,
    client_address::ClientAddress,
    origin,
    paths::is_probe,
    presented::{Presented, hide, presented, two_credentials},
    problem::{Kind, Problem},
    proof::Proof,
    state::AppState,
    ticket, token,
    unauthenticated::not_valid,
};
use crate::{
    access::{
        BoundPolicy, Caller, ClientCertificate, Credential, CredentialKind, KeyLimits, KeyText,
        Proven,
    },
    config::Origin,
    router::AttachError,
};

/// The longest credential.
const MOST_BYTES: usize = 8 << 10;

/// The outcome of a look at a request's credential. Where credentials are asked for it is with every request, so a call
/// that asks for a caller and finds none refuses.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// It presents no credential.
    Unproved,
    /// It presents one that does not stand, or several.
    Refused(Problem),
    /// It is this caller's.
    Proved(Arc<Caller>),
    /// It is genuine, and does not say of which tenant its holder is: the claim that would.
    Tenantless(Arc<Caller>, Box<str>),
}

/// The caller of a request that was let through.
#[derive(Clone, Debug)]
pub(crate) struct By(pub(crate) Arc<Caller>);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a call asks for a caller and does not say what it needs");
            Problem::new(Kind::InternalError, "the call cannot tell who asks")
        })
    }
}

/// Identifies the caller of a request, for whatever call it is. Nothing behind this sees the credential. Also returns the
/// caller, if it proved itself. Where nothing is asked for, all are one caller, and each call knows it.
pub(crate) async fn identify(
    state: &AppState,
    mut request: Request,
) -> (Request, Option<Arc<Caller>>) {
    if let Proof::None(_) = &state.proof {
        hide(request.headers_mut());
        return (request, None);
    }
    let (mut head, body) = request.into_parts();
    // Nothing may hold up a probe.
    let identity = if is_probe(head.uri.path()) {
        Identity::Unproved
    } else {
        let (kind, outcome, identity) = judge(state, &head).await;
        state.metrics().access.judged(kind, outcome);
        note_use(state, &identity);
        identity
    };
    hide(&mut head.headers);
    let proved = match &identity {
        Identity::Proved(caller) | Identity::Tenantless(caller, _) => Some(Arc::clone(caller)),
        Identity::Unproved | Identity::Refused(_) => None,
    };
    head.extensions.insert(identity);
    (Request::from_parts(head, body), proved)
}

/// Says that an answer depends on who asks, and counts those that a policy refused.
pub(crate) fn complete(state: &AppState, proved: bool, response: &mut Response) {
    if let Proof::None(_) = &state.proof {
        return;
    }
    let problem = response.extensions().get::<Problem>();
    if problem.is_some_and(|problem| problem.kind() == Kind::PolicyUnsatisfied) {
        state.metrics().access.unsatisfied.inc();
    }
    let headers = response.headers_mut();
    let varies = HeaderValue::from_static("Authorization, Origin");
    headers.append(header::VARY, varies);
    if state.browser.cookie().is_some() {
        headers.append(header::VARY, HeaderValue::from_static("Cookie"));
    }
    if proved {
        // Nobody may keep it, not even to ask whether it has changed: the next caller may be another one.
        let no_store = HeaderValue::from_static("no-store");
        headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    }
}

/// Notes that a key is used.
fn note_use(state: &AppState, identity: &Identity) {
    if let Identity::Proved(caller) = identity
        && let Credential::Key { id, .. } = &caller.credential
        && !state.uses.note(id)
    {
        state.metrics().access.used("dropped", 1);
    }
}

/// A judgement on the credential of a request: its kind and the outcome, as metrics name them, and the identity.
type Judgement = (&'static str, &'static str, Identity);

/// Judges the credential of a request.
async fn judge(state: &AppState, head: &Parts) -> Judgement {
    let certificate = head.extensions.get::<ClientCertificate>();
    let presented = match (presented(head, state.browser.cookie()), certificate) {
        (Ok(None), None) => return ("none", "missing", Identity::Unproved),
        (Ok(None), Some(certificate)) => return judge_certificate(state, head, certificate).await,
        // One that is no key's proves nothing, and so is no second one.
        (Ok(Some(_)), Some(certificate))
            if state.router().credentials().has_key_for(certificate) =>
        {
            Err(("certificate", two_credentials()))
        }
        (Ok(Some(presented)), _) => Ok(presented),
        (Err(refusal), _) => Err(refusal),
    };
    judge_presented(state, head, presented).await
}

/// Judges what a request presents, unless too much from its address did not stand.
async fn judge_presented(
    state: &AppState,
    head: &Parts,
    presented: Result<Presented, (&'static str, Problem)>,
) -> Judgement {
    let client = ClientAddress::of(&head.extensions);
    if let Some(left) = state.bounds.failures.blocked(client) {
        state.metrics().access.limited("failures_per_minute");
        return (
            "none",
            "limited",
            Identity::Refused(too_many_failures(left)),
        );
    }
    let (kind, outcome, identity) = match presented {
        Ok(Presented::Ticket(text)) => {
            // Boxed, like all that asks the database: every request would have room for it.
            let proved = Box::pin(ticket::take(state, &text, client)).await;
            let (outcome, identity) = place(proved, head);
            ("ticket", outcome, identity)
        }
        Ok(Presented::Text(text)) => judge_text(state, head, &text).await,
        Ok(Presented::Cookie(value)) => {
            let (outcome, identity) = judge_cookie(state, head, &value).await;
            ("cookie", outcome, identity)
        }
        Err((kind, problem)) => (kind, "malformed", Identity::Refused(problem)),
    };
    // A genuine one at the wrong place, and one that nobody can judge now, is no attempt to guess.
    if !matches!(outcome, "ok" | "elsewhere" | "limited" | "undecided") {
        state.bounds.failures.note(client);
    }
    (kind, outcome, identity)
}

/// Judges a client's certificate. Nobody can guess one, so it does not matter what else came from the address.
async fn judge_certificate(
    state: &AppState,
    head: &Parts,
    certificate: &ClientCertificate,
) -> Judgement {
    let proved = certificate::prove(state, head, certificate).await;
    let (outcome, identity) = match proved.transpose() {
        None => ("unknown", Identity::Unproved),
        Some(proved) => place(proved, head),
    };
    ("certificate", outcome, identity)
}

/// Judges the token in a cookie, once it is clear whose page has the browser ask. A key does not belong into a browser.
async fn judge_cookie(state: &AppState, head: &Parts, value: &str) -> (&'static str, Identity) {
    if let Err(problem) = origin::check_cookie(head) {
        return ("elsewhere", Identity::Refused(problem));
    }
    if !is_token(value) {
        return ("malformed", Identity::Refused(not_valid()));
    }
    judge_token(state, value).await
}

async fn judge_text(
    state: &AppState,
    head: &Parts,
    text: &str,
) -> (&'static str, &'static str, Identity) {
    if is_token(text) {
        let (outcome, identity) = judge_token(state, text).await;
        return ("jwt", outcome, identity);
    }
    let (outcome, identity) = place(authenticate_key(state, text).await, head);
    ("key", outcome, identity)
}

async fn judge_token(state: &AppState, text: &str) -> (&'static str, Identity) {
    match token::prove(state, text).await {
        Ok(Proven::Caller(caller)) => ("ok", Identity::Proved(Arc::new(caller))),
        Ok(Proven::Tenantless { caller, claim }) => {
            ("ok", Identity::Tenantless(Arc::new(caller), claim))
        }
        Err((outcome, problem)) => (outcome, Identity::Refused(problem)),
    }
}

/// Returns the outcome and the identity of a request whose caller may have proved itself: if so, at the right place.
fn place(
    proved: Result<Caller, (&'static str, Problem)>,
    head: &Parts,
) -> (&'static str, Identity) {
    let caller = match proved {
        Ok(caller) => caller,
        Err((outcome, problem)) => return (outcome, Identity::Refused(problem)),
    };
    match check_place(&caller.limits, head) {
        Ok(()) => ("ok", Identity::Proved(Arc::new(caller))),
        Err(problem) => ("elsewhere", Identity::Refused(problem)),
    }
}

/// Returns the caller that the text of a credential proves; else the outcome, as metrics name it, and the refusal.
pub(crate) async fn authenticate(
    state: &AppState,
    text: &str,
) -> Result<Caller, (&'static str, Problem)> {
    if !is_token(text) {
        return authenticate_key(state, text).await;
    }
    match token::prove(state, text).await? {
        Proven::Caller(caller) => Ok(caller),
        // It is nobody's, and was not let in before.
        Proven::Tenantless { .. } => Err(("scope", not_valid())),
    }
}

/// Whether a credential is a token, or is to be one.
fn is_token(text: &str) -> bool {
    !KeyText::is_meant(text) && text.contains('.')
}

async fn authenticate_key(state: &AppState, text: &str) -> Result<Caller, (&'static str, Problem)> {
    let malformed = || ("malformed", not_valid());
    if text.len() > MOST_BYTES {
        return Err(malformed());
    }
    let key = KeyText::parse(text).ok_or_else(malformed)?;
    if !state.router().progress().loaded {
        let detail = "this node has not loaded its keys yet";
        return Err(("undecided", Problem::new(Kind::NotReady, detail)));
    }
    let credentials = state.router().credentials();
    let id = key.id();
    if !credentials.has_key(&id) {
        let waiting = Box::pin(wait_for_key(state, &id)).await;
        waiting.map_err(|problem| {
            let undecided = problem.status().is_server_error();
            (if undecided { "undecided" } else { "unknown" }, problem)
        })?;
        let withheld = credentials.read(|all| all.room(CredentialKind::Key).withheld());
        if withheld > 0 && !credentials.has_key(&id) {
            let detail = "this node has no room for all keys (limits.credentials_bytes), and does not hold this one";
            return Err(("undecided", Problem::new(Kind::Overloaded, detail)));
        }
    }
    let proved = credentials.authenticate(&key);
    proved.map_err(|refusal| (refusal.outcome(), refused(refusal)))
}

/// Refuses a credential that is used from an address, or by a page, that it is not for.
fn check_place(limits: &KeyLimits, head: &Parts) -> Result<(), Problem> {
    if let Some(networks) = &limits.networks {
        let client = ClientAddress::of(&head.extensions);
        if !client.is_some_and(|client| client.is_in(networks)) {
            let detail = "the credential may not be used from this address";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
    }
    if let Some(origins) = &limits.origins {
        let asks = head.headers.get(header::ORIGIN);
        let asks = asks.and_then(|origin| Origin::parse(origin.to_str().ok()?).ok());
        let listed = |asks: Origin| {
            let mut known = origins.iter().filter_map(|text| Origin::parse(text).ok());
            known.any(|known| known == asks)
        };
        if !asks.is_some_and(listed) {
            let detail = "the credential is for pages of other origins";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
    }
    Ok(())
}

/// Refuses a read of stored events by a caller who may see only some subscriptions, or while this node does not know what
/// was revoked last. Such a read does not come through the feed, whose order decides all else.
pub(crate) fn may_read_events(state: &AppState, caller: &Caller) -> Result<(), Problem> {
    if caller.limits.subscriptions.is_some() {
        let detail = "the credential is for the events of its subscriptions only";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    is_current(state)
}

/// Returns the point in time that a read shows where rights count: the router's position. The caller still stands there,
/// and a policy that is looked up afterwards is at least as new. `None`: nobody has to prove itself.
pub(crate) fn as_of(state: &AppState, caller: &Caller) -> Result<Option<Timestamp>, Problem> {
    if matches!(state.proof, Proof::None(_)) {
        return Ok(None);
    }
    let position = state.router().progress().position;
    let judged = state.router().credentials().judge(caller);
    judged.map_err(refused)?;
    Ok(Some(position.cluster_time()))
}

/// Returns the policy that narrows what a caller sees, as it is applied now.
pub(crate) fn policy_of(state: &AppState, caller: &Caller) -> Result<Option<BoundPolicy>, Problem> {
    let policies = state.router().credentials().policies();
    let bound = policies.of_caller(caller);
    bound.map_err(|unbound| unsatisfied(&unbound))
}

/// Returns the policy that narrows a stored subscription, as it is applied now.
pub(crate) fn policy_of_document(
    state: &AppState,
    document: &RawDocument,
) -> Result<Option<BoundPolicy>, Problem> {
    let policies = state.router().credentials().policies();
    let bound = policies.of_document(document);
    bound.map_err(|unbound| Problem::new(Kind::SubscriptionInvalid, unbound.fault()))
}

/// Refuses a caller who has another policy than a subscription, or other values of the claims that it is bound to.
pub(crate) fn may_receive(
    state: &AppState,
    caller: &Caller,
    document: &RawDocument,
) -> Result<(), Problem> {
    let policies = state.router().credentials().policies();
    if policies.admit(caller, document) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Forbidden,
        AttachError::BoundOtherwise.to_string(),
    ))
}

/// Refuses a read that does not come through the feed while the feed is behind: a right may be gone that this node still
/// knows. The reason is `/health`'s, for those who may know it.
pub(crate) fn is_current(state: &AppState) -> Result<(), Problem> {
    let asks_for_proof = matches!(state.proof, Proof::Required);
    if asks_for_proof && state.health.ready().is_err() {
        let detail = "this node is behind, and does not know what was revoked last";
        return Err(Problem::new(Kind::NotReady, detail));
    }
    Ok(())
}

/// Returns the refusal of a credential that is not looked at, because too many from its address did not stand.
fn too_many_failures(left: Duration) -> Problem {
    let detail = "too many credentials from this address do not stand (quotas.failures_per_minute)";
    Problem::new(Kind::TooManyRequests, detail).retry_after(left)
}
