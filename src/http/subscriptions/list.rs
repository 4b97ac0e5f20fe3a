//! `GET /subscriptions`: pages in the order of ids, stable while others write.

mod invalid;
mod stored;

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use bson::Bson;

use crate::{
    http::{
        AppState, answer, page,
        problem::Problem,
        query::{Query, bad},
    },
    router::Compiled,
    subscription::Status,
};

/// What is asked for.
#[derive(Clone, Debug)]
struct Listing {
    after: Option<Bson>,
    name: Option<String>,
    status: Option<Status>,
    limit: usize,
    count: bool,
}

/// One page.
#[derive(Debug, Default)]
struct Page {
    items: Vec<Compiled>,
    more: bool,
    total: Option<u64>,
}

/// One page of subscriptions.
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    let listing = Listing::read(&state, &uri)?;
    let page = match listing.status {
        Some(Status::Invalid) => invalid::page(&state, &listing).await?,
        _ => stored::page(&state, &listing).await?,
    };
    Ok(answer::json(StatusCode::OK, page.to_json()?))
}

impl Listing {
    fn read(state: &AppState, uri: &Uri) -> Result<Self, Problem> {
        let query = Query::read(uri, &["limit", "cursor", "status", "name", "count"])?;
        let limits = &state.host.config.limits;
        let status = query.get("status").map(|text| {
            Status::parse(text).ok_or_else(|| bad("status", "must be active, paused or invalid"))
        });
        Ok(Self {
            after: query.get("cursor").map(page::after).transpose()?,
            name: query.get("name").map(ToOwned::to_owned),
            status: status.transpose()?,
            limit: query.limit(limits.page_items_default, limits.page_items)?,
            count: query.flag("count")?,
        })
    }
}

impl Page {
    /// Cuts what was found to a page; one more than that shows that there is another.
    fn cut(mut items: Vec<Compiled>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self {
            items,
            more,
            total: None,
        }
    }

    fn to_json(&self) -> Result<String, Problem> {
        let items: Vec<_> = self.items.iter().map(Compiled::to_json).collect();
        let cursor = match self.items.last().filter(|_| self.more) {
            Some(last) => serde_json::Value::from(page::cursor(&id(last)?)?),
            None => serde_json::Value::Null,
        };
        let total = self
            .total
            .map(|total| format!(r#","total":{total}"#))
            .unwrap_or_default();
        let items = items.join(",");
        Ok(format!(
            r#"{{"items":[{items}],"nextCursor":{cursor}{total}}}"#
        ))
    }
}

fn id(compiled: &Compiled) -> Result<Bson, bson::error::Error> {
    let id = compiled.subscription.document.get("_id")?;
    id.map_or(Ok(Bson::Null), Bson::try_from)
}
