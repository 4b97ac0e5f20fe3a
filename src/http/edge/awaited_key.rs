//! Keys that are stored and that this node has not seen yet.

use super::{
    problem::{Kind, Problem},
    read_your_writes::ensure_applied,
    state::AppState,
    unauthenticated::not_valid,
    unknown_keys::Answer,
};
use crate::{store::KEYS, subscription::DocumentKey};

/// Waits for a key that the router does not know, if it is stored: it may have been made a moment ago, on another node.
pub(super) async fn wait_for_key(state: &AppState, id: &str) -> Result<(), Problem> {
    match state.bounds.unknown_keys.ask(id) {
        Answer::Ask => {}
        Answer::Absent => return Err(not_valid()),
        Answer::TooMany => {
            let detail = "too many keys that this node does not know are presented now";
            return Err(Problem::new(Kind::Overloaded, detail));
        }
    }
    let key = DocumentKey::Text(id.into());
    let read = state.store.find_stored(KEYS, &key).await?;
    if read.document.is_none() {
        state.bounds.unknown_keys.note_absent(id);
        return Err(not_valid());
    }
    let late = "this node has not seen the key yet";
    ensure_applied(state, read.operation_time, late).await
}
