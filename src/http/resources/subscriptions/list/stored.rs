//! Pages by what the documents say of themselves.

use super::{Listing, Page, id, invalid};
use crate::{
    http::{
        edge::{AppState, problem::Problem},
        resources::subscriptions::judged,
    },
    store::{ListQuery, Listed, StoredStatus},
    subscription::Status,
};

/// One page of all subscriptions, or of the active or paused ones. A document may say that it is
/// active and be invalid: those are left out, and reading goes on until the page is full.
pub(super) async fn page(state: &AppState, listing: &Listing) -> Result<Page, Problem> {
    let mut query = ListQuery {
        after: listing.after.clone(),
        name: listing.name.clone(),
        stored_status: stored_status(listing),
        limit: listing.limit + 1,
        bytes: listing.bytes,
    };
    let mut page = Page::new(state, listing);
    loop {
        // Held until what was read stands on the page: documents take much more than their text.
        let turn = state.bounds.paging.take().await?;
        let Listed {
            documents,
            exhausted,
        } = state.store.list_subscriptions(&query).await?;
        let mut read = judged(state, documents).await?;
        query.after = read.last().map(id).transpose()?;
        read.retain(|one| listing.status.is_none_or(|status| one.status() == status));
        let full = page.add(read)?;
        drop(turn);
        if full || exhausted {
            break;
        }
    }
    if listing.count {
        page.total = Some(total(state, listing, &query).await?);
    }
    Ok(page)
}

/// How many there are on all pages: those whose documents say so, less those that are invalid.
async fn total(state: &AppState, listing: &Listing, query: &ListQuery) -> Result<u64, Problem> {
    let stored = state.store.count_subscriptions(query).await?;
    let Some(status) = query.stored_status else {
        return Ok(stored);
    };
    let invalid = invalid::count(state, |one| {
        invalid::named(one, listing) && invalid::stored_status(one) == Some(status)
    });
    Ok(stored.saturating_sub(invalid.await?))
}

fn stored_status(listing: &Listing) -> Option<StoredStatus> {
    match listing.status? {
        Status::Active => Some(StoredStatus::Active),
        Status::Paused => Some(StoredStatus::Paused),
        Status::Invalid => None,
    }
}
