//! Pages by the status in the documents.

use super::{
    invalid,
    page::{PageRequest, PageWriter, id},
};
use crate::{
    http::{
        edge::{AppState, problem::Problem},
        resources::subscriptions::judge::judge,
    },
    store::{ListQuery, Listed, StoredStatus},
    subscription::Status,
};

/// Reads a page of all subscriptions, or of the active or paused ones. A document may say that it is active and be
/// invalid: such documents are left out, and reading goes on until the page is full.
pub(super) async fn page(state: &AppState, request: &PageRequest) -> Result<PageWriter, Problem> {
    let mut query = ListQuery {
        sight: request.sight.clone(),
        after: request.after.clone(),
        name: request.name.clone(),
        stored_status: stored_status(request),
        limit: request.max_items + 1,
        bytes: request.max_bytes,
    };
    let mut page = PageWriter::new(state, request);
    let tenant = request.sight.tenant();
    let paging = state.bounds.paging.for_tenant(tenant);
    loop {
        // Held until what was read is on the page: documents take much more than their text.
        let permit = paging.acquire().await?;
        let Listed {
            documents,
            exhausted,
        } = state.store.list_subscriptions(&query).await?;
        let mut read = judge(state, tenant, documents).await?;
        query.after = read.last().map(id).transpose()?;
        read.retain(|one| request.status.is_none_or(|status| one.status() == status));
        let full = page.add(read)?;
        drop(permit);
        if full || exhausted {
            break;
        }
    }
    if request.count {
        page.total = Some(total(state, request, &query).await?);
    }
    Ok(page)
}

/// Counts the subscriptions on all pages: those whose documents have the status, less those that are invalid.
async fn total(state: &AppState, request: &PageRequest, query: &ListQuery) -> Result<u64, Problem> {
    let stored = state.store.count_subscriptions(query).await?;
    let Some(status) = query.stored_status else {
        return Ok(stored);
    };
    let invalid = invalid::count(state, request, |one| {
        invalid::has_requested_name(one, request) && invalid::stored_status(one) == Some(status)
    });
    Ok(stored.saturating_sub(invalid.await?))
}

fn stored_status(request: &PageRequest) -> Option<StoredStatus> {
    match request.status? {
        Status::Active => Some(StoredStatus::Active),
        Status::Paused => Some(StoredStatus::Paused),
        Status::Invalid => None,
    }
}
