//! The request for a page of subscriptions, and the page as it is written.

use axum::{
    http::{StatusCode, Uri},
    response::Response,
};
use bson::Bson;

use crate::{
    access::{Caller, Sight},
    http::edge::{
        AppState, answer,
        budget::Share,
        page_cursor,
        problem::Problem,
        query::{Query, bad},
    },
    subscription::{CompiledSubscription, Status},
};

#[derive(Clone, Debug)]
pub(super) struct PageRequest {
    /// The part of the subscriptions that the caller sees and asks for.
    pub(super) sight: Sight,
    /// The `_id` behind which the page begins.
    pub(super) after: Option<Bson>,
    pub(super) name: Option<String>,
    pub(super) status: Option<Status>,
    pub(super) max_items: usize,
    pub(super) max_bytes: usize,
    /// True if the page is to say how many subscriptions there are on all pages.
    pub(super) count: bool,
}

impl PageRequest {
    pub(super) fn read(state: &AppState, caller: &Caller, uri: &Uri) -> Result<Self, Problem> {
        let query = Query::read(
            uri,
            &[
                "limit", "cursor", "status", "name", "tenant", "owner", "count",
            ],
        )?;
        let limits = state.limits();
        let status = query.get("status").map(|text| {
            Status::parse(text).ok_or_else(|| bad("status", "must be active, paused or invalid"))
        });
        Ok(Self {
            sight: caller
                .sight()
                .narrowed(query.get("tenant"), query.get("owner")),
            after: query.get("cursor").map(page_cursor::decode).transpose()?,
            name: query.get("name").map(ToOwned::to_owned),
            status: status.transpose()?,
            max_items: query.limit(limits.page_items_default, limits.page_items)?,
            max_bytes: limits.page_bytes,
            count: query.flag("count")?,
        })
    }
}

/// A page as it is written.
#[derive(Debug)]
pub(super) struct PageWriter {
    text: String,
    share: Share,
    max_items: usize,
    max_bytes: usize,
    items: usize,
    /// The `_id` of the last item.
    last: Option<Bson>,
    /// True if another page follows.
    more: bool,
    pub(super) total: Option<u64>,
}

impl PageWriter {
    pub(super) fn new(state: &AppState, request: &PageRequest) -> Self {
        Self {
            text: String::from(r#"{"items":["#),
            share: state.bounds.answers.share(request.sight.tenant()),
            max_items: request.max_items,
            max_bytes: request.max_bytes,
            items: 0,
            last: None,
            more: false,
            total: None,
        }
    }

    /// Adds subscriptions as long as there is room, and returns true once the page is full. One more than fits shows
    /// that another page follows. The first item may be larger than a page.
    pub(super) fn add(&mut self, found: Vec<CompiledSubscription>) -> Result<bool, Problem> {
        for one in found {
            let text = one.subscription.to_json();
            let too_large = self.text.len() + text.len() > self.max_bytes && self.items > 0;
            if too_large || self.items == self.max_items {
                self.more = true;
                return Ok(true);
            }
            match self.share.grow(text.len() + 1) {
                // The client continues from here when there is room.
                Err(_) if self.items > 0 => {
                    self.more = true;
                    return Ok(true);
                }
                grown => grown?,
            }
            if self.items > 0 {
                self.text.push(',');
            }
            self.text.push_str(&text);
            self.last = Some(id(&one)?);
            self.items += 1;
        }
        Ok(false)
    }

    /// Returns the answer.
    pub(super) fn finish(mut self) -> Result<Response, Problem> {
        let cursor = match self.last.as_ref().filter(|_| self.more) {
            Some(last) => serde_json::Value::from(page_cursor::encode(last)?),
            None => serde_json::Value::Null,
        };
        self.text.push_str(r#"],"nextCursor":"#);
        self.text.push_str(&cursor.to_string());
        if let Some(total) = self.total {
            self.text.push_str(r#","total":"#);
            self.text.push_str(&total.to_string());
        }
        self.text.push('}');
        Ok(answer::json_with_share(
            StatusCode::OK,
            self.text,
            self.share,
        ))
    }
}

/// Returns the `_id` of a subscription, whatever its type.
pub(super) fn id(compiled: &CompiledSubscription) -> Result<Bson, bson::error::Error> {
    let id = compiled.subscription.document.get("_id")?;
    id.map_or(Ok(Bson::Null), Bson::try_from)
}
