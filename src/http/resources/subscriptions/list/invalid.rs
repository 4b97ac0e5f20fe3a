//! Pages of subscriptions that cannot be used. No document says so of itself: the router knows.

use std::collections::HashMap;

use bson::RawBsonRef;
use tokio::sync::OwnedSemaphorePermit;

use super::{Listing, Page};
use crate::{
    http::{
        edge::{AppState, page_cursor::bad_cursor, problem::Problem},
        resources::subscriptions::judged,
    },
    store::StoredStatus,
    subscription::{CompiledSubscription, Key},
};

/// Documents read at a time: other programs may have made them as large as the collection allows (4 MiB).
const CHUNK: usize = 64;

/// One page of invalid subscriptions.
pub(super) async fn page(state: &AppState, listing: &Listing) -> Result<Page, Problem> {
    let after = listing
        .after
        .clone()
        .map(|id| Key::from_bson(id).ok_or_else(|| bad_cursor("cursor")));
    let after = after.transpose()?;
    let mut page = Page::new(state, listing);
    let mut walk = Walk::after(after);
    while let Some((mut read, turn)) = walk.next(state).await? {
        read.retain(|one| named(one, listing));
        let full = page.add(read)?;
        drop(turn);
        if full {
            break;
        }
    }
    if listing.count {
        page.total = Some(count(state, |one| named(one, listing)).await?);
    }
    Ok(page)
}

/// How many invalid subscriptions there are of which `counts` holds.
pub(super) async fn count(
    state: &AppState,
    counts: impl Fn(&CompiledSubscription) -> bool,
) -> Result<u64, Problem> {
    let mut total = 0;
    let mut walk = Walk::after(None);
    while let Some((read, _turn)) = walk.next(state).await? {
        total += read.iter().filter(|one| counts(one)).count() as u64;
    }
    Ok(total)
}

/// Whether it has the name that is asked for, if one is.
pub(super) fn named(one: &CompiledSubscription, listing: &Listing) -> bool {
    let name = one.subscription.document.get("name");
    listing
        .name
        .as_deref()
        .is_none_or(|wanted| matches!(name, Ok(Some(RawBsonRef::String(name))) if name == wanted))
}

/// What the document says of its status, as the store selects by it.
pub(super) fn stored_status(one: &CompiledSubscription) -> Option<StoredStatus> {
    match one.subscription.document.get("status").ok()? {
        None | Some(RawBsonRef::Null | RawBsonRef::String("active")) => Some(StoredStatus::Active),
        Some(RawBsonRef::String("paused")) => Some(StoredStatus::Paused),
        Some(_) => None,
    }
}

/// Documents that were read, and the turn that is theirs.
type InTurn = (Vec<CompiledSubscription>, OwnedSemaphorePermit);

/// A walk over the invalid subscriptions in the order of their keys, some at a time.
struct Walk {
    after: Option<Key>,
    done: bool,
}

impl Walk {
    fn after(after: Option<Key>) -> Self {
        Self { after, done: false }
    }

    /// The next ones that are invalid still, and the turn in which they are held.
    async fn next(&mut self, state: &AppState) -> Result<Option<InTurn>, Problem> {
        if self.done {
            return Ok(None);
        }
        let turn = state.bounds.paging.take().await?;
        let keys = state.router().invalid(self.after.clone(), CHUNK).await?;
        self.done = keys.len() < CHUNK;
        self.after = keys.last().cloned();
        let documents = state.store.subscriptions_by_key(&keys).await?;
        let mut by_key: HashMap<_, _> = judged(state, documents)
            .await?
            .into_iter()
            .filter(|one| one.error().is_some())
            .map(|one| (one.subscription.key(), one))
            .collect();
        let in_order = keys.iter().filter_map(|key| by_key.remove(key));
        Ok(Some((in_order.collect(), turn)))
    }
}
