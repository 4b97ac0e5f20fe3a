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
    http::edge::{
        AppState, answer,
        budget::Share,
        page_cursor,
        problem::Problem,
        query::{Query, bad},
    },
    subscription::{CompiledSubscription, Status},
};

/// What is asked for.
#[derive(Clone, Debug)]
struct Listing {
    after: Option<Bson>,
    name: Option<String>,
    status: Option<Status>,
    limit: usize,
    bytes: usize,
    count: bool,
}

/// One page, as it is written.
#[derive(Debug)]
struct Page {
    text: String,
    /// Of what all answers may take.
    share: Share,
    /// How many there may be, and of how many bytes.
    limit: usize,
    bytes: usize,
    count: usize,
    last: Option<Bson>,
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
    page.finish()
}

impl Listing {
    fn read(state: &AppState, uri: &Uri) -> Result<Self, Problem> {
        let query = Query::read(uri, &["limit", "cursor", "status", "name", "count"])?;
        let limits = state.limits();
        let status = query.get("status").map(|text| {
            Status::parse(text).ok_or_else(|| bad("status", "must be active, paused or invalid"))
        });
        Ok(Self {
            after: query.get("cursor").map(page_cursor::after).transpose()?,
            name: query.get("name").map(ToOwned::to_owned),
            status: status.transpose()?,
            limit: query.limit(limits.page_items_default, limits.page_items)?,
            bytes: limits.page_bytes,
            count: query.flag("count")?,
        })
    }
}

impl Page {
    fn new(state: &AppState, listing: &Listing) -> Self {
        Self {
            text: String::from(r#"{"items":["#),
            share: state.bounds.answers.share(),
            limit: listing.limit,
            bytes: listing.bytes,
            count: 0,
            last: None,
            more: false,
            total: None,
        }
    }

    /// Adds what there is room for, and says whether the page is full. One more than it holds shows that there
    /// is another; its first item may be larger than a page.
    fn add(&mut self, found: Vec<CompiledSubscription>) -> Result<bool, Problem> {
        for one in found {
            let text = one.subscription.to_json();
            let large = self.text.len() + text.len() > self.bytes && self.count > 0;
            if large || self.count == self.limit {
                self.more = true;
                return Ok(true);
            }
            match self.share.grow(text.len() + 1) {
                // Its client goes on from there when there is room.
                Err(_) if self.count > 0 => {
                    self.more = true;
                    return Ok(true);
                }
                grown => grown?,
            }
            if self.count > 0 {
                self.text.push(',');
            }
            self.text.push_str(&text);
            self.last = Some(id(&one)?);
            self.count += 1;
        }
        Ok(false)
    }

    fn finish(mut self) -> Result<Response, Problem> {
        let cursor = match self.last.as_ref().filter(|_| self.more) {
            Some(last) => serde_json::Value::from(page_cursor::cursor(last)?),
            None => serde_json::Value::Null,
        };
        self.text.push_str(r#"],"nextCursor":"#);
        self.text.push_str(&cursor.to_string());
        if let Some(total) = self.total {
            self.text.push_str(r#","total":"#);
            self.text.push_str(&total.to_string());
        }
        self.text.push('}');
        Ok(answer::held(StatusCode::OK, self.text, self.share))
    }
}

fn id(compiled: &CompiledSubscription) -> Result<Bson, bson::error::Error> {
    let id = compiled.subscription.document.get("_id")?;
    id.map_or(Ok(Bson::Null), Bson::try_from)
}
