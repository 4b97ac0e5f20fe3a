//! Keys that are stored and that this node has not seen yet.

use super::{
    problem::{Kind, Problem},
    read_your_writes::ensure_applied,
    state::AppState,
    unauthenticated::not_valid,
    unknown_keys::Answer,
};
use crate::{
    access::{ClientCertificate, shown_fingerprint},
    store::{KEYS, Read, StoreError},
    subscription::DocumentKey,
};

/// Waits for a key that the router does not know, if it is stored: it may have been made a moment ago, on another node.
pub(super) async fn wait_for_key(state: &AppState, id: &str) -> Result<(), Problem> {
    let key = DocumentKey::Text(id.into());
    if wait_for(state, id, state.store.find_stored(KEYS, &key)).await? {
        Ok(())
    } else {
        Err(not_valid())
    }
}

/// Waits likewise for the key that a certificate is for. False if none is stored.
pub(super) async fn wait_for_key_for(
    state: &AppState,
    certificate: &ClientCertificate,
) -> Result<bool, Problem> {
    let fingerprint = &certificate.fingerprint;
    let reading = state.store.find_key_for(fingerprint);
    wait_for(state, &shown_fingerprint(fingerprint), reading).await
}

/// Asks the database for a key under a name, at most so often, and waits until it is applied. False if it is not stored.
async fn wait_for(
    state: &AppState,
    name: &str,
    reading: impl Future<Output = Result<Read, StoreError>>,
) -> Result<bool, Problem> {
    match state.bounds.unknown_keys.ask(name) {
        Answer::Ask => {}
        Answer::Absent => return Ok(false),
        Answer::TooMany => {
            let detail = "too many keys that this node does not know are presented now";
            return Err(Problem::new(Kind::Overloaded, detail));
        }
    }
    let read = reading.await?;
    if read.document.is_none() {
        state.bounds.unknown_keys.note_absent(name);
        return Ok(false);
    }
    let late = "this node has not seen the key yet";
    ensure_applied(state, read.operation_time, late).await?;
    Ok(true)
}
