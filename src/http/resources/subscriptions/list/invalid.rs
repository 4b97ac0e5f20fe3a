//! Pages of invalid subscriptions. No document says that it is invalid: the router knows.

use std::collections::HashMap;

use bson::RawBsonRef;

use super::page::{PageRequest, PageWriter};
use crate::{
    access::Sight,
    http::{
        edge::{AppState, page_cursor::bad_cursor, problem::Problem},
        resources::subscriptions::judge::judge,
    },
    store::StoredStatus,
    subscription::{CompiledSubscription, DocumentKey},
    turns::Turn,
};

/// Documents that are read at once. Other programs may have made each as large as the collection allows (4 MiB).
const CHUNK_DOCUMENTS: usize = 64;

/// Reads a page of invalid subscriptions.
pub(super) async fn page(state: &AppState, request: &PageRequest) -> Result<PageWriter, Problem> {
    let after = request
        .after
        .clone()
        .map(|id| DocumentKey::from_bson(id).ok_or_else(|| bad_cursor("cursor")));
    let after = after.transpose()?;
    let mut page = PageWriter::new(state, request);
    let mut walk = InvalidSubscriptions::after(request.sight.clone(), after);
    while let Some((mut read, permit)) = walk.next(state).await? {
        read.retain(|one| has_requested_name(one, request));
        let full = page.add(read)?;
        drop(permit);
        if full {
            break;
        }
    }
    if request.count {
        page.total = Some(count(state, request, |one| has_requested_name(one, request)).await?);
    }
    Ok(page)
}

/// Counts the invalid subscriptions for which `counts` holds.
pub(super) async fn count(
    state: &AppState,
    request: &PageRequest,
    counts: impl Fn(&CompiledSubscription) -> bool,
) -> Result<u64, Problem> {
    let mut total = 0;
    let mut walk = InvalidSubscriptions::after(request.sight.clone(), None);
    while let Some((read, _permit)) = walk.next(state).await? {
        total += read.iter().filter(|one| counts(one)).count() as u64;
    }
    Ok(total)
}

/// Whether a subscription has the requested name. Any will do if the request names none.
pub(super) fn has_requested_name(one: &CompiledSubscription, request: &PageRequest) -> bool {
    let name = one.subscription.document.get("name");
    request
        .name
        .as_deref()
        .is_none_or(|wanted| matches!(name, Ok(Some(RawBsonRef::String(name))) if name == wanted))
}

/// Returns the status in the document, as the store selects by it.
pub(super) fn stored_status(one: &CompiledSubscription) -> Option<StoredStatus> {
    match one.subscription.document.get("status").ok()? {
        None | Some(RawBsonRef::Null | RawBsonRef::String("active")) => Some(StoredStatus::Active),
        Some(RawBsonRef::String("paused")) => Some(StoredStatus::Paused),
        Some(_) => None,
    }
}

/// Subscriptions, and the permit under which they are held.
type WithPermit = (Vec<CompiledSubscription>, Turn);

/// The invalid subscriptions in the order of their keys, a chunk at a time.
struct InvalidSubscriptions {
    sight: Sight,
    after: Option<DocumentKey>,
    done: bool,
}

impl InvalidSubscriptions {
    fn after(sight: Sight, after: Option<DocumentKey>) -> Self {
        Self {
            sight,
            after,
            done: false,
        }
    }

    /// Returns the next chunk of subscriptions that are still invalid.
    async fn next(&mut self, state: &AppState) -> Result<Option<WithPermit>, Problem> {
        if self.done {
            return Ok(None);
        }
        let tenant = self.sight.tenant();
        let permit = state.bounds.paging.for_tenant(tenant).acquire().await?;
        let keys = state
            .router()
            .invalid(&self.sight, self.after.clone(), CHUNK_DOCUMENTS)
            .await?;
        self.done = keys.len() < CHUNK_DOCUMENTS;
        self.after = keys.last().cloned();
        let documents = state.store.subscriptions_by_key(&keys, &self.sight);
        let documents = documents.await?;
        let mut by_key: HashMap<_, _> = judge(state, tenant, documents)
            .await?
            .into_iter()
            .filter(|one| one.error().is_some())
            .map(|one| (one.subscription.key(), one))
            .collect();
        let in_order = keys.iter().filter_map(|key| by_key.remove(key));
        Ok(Some((in_order.collect(), permit)))
    }
}
