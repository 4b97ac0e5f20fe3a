//! A page of stored events.

use bson::{RawDocument, RawDocumentBuf};
use serde_json::Value;

use super::show;
use crate::{
    event::default_source,
    http::{AppState, failure::internal, problem::Problem},
    store::{EventQuery, event_page_key},
};

/// Finds a page and words it: `{items, nextCursor}`. What is found is shown if it is `wanted`; the
/// next page begins behind what was found.
pub(in crate::http) async fn page(
    state: &AppState,
    mut query: EventQuery,
    wanted: impl Fn(&RawDocument) -> bool,
) -> Result<String, Problem> {
    let limit = query.limit;
    query.limit += 1;
    let mut events = state.store.list_events(&query).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let cursor = match events.last().filter(|_| more) {
        Some(last) => Value::from(cursor(last)?),
        None => Value::Null,
    };
    let source = default_source(state.store.database_name());
    let mut text = String::from(r#"{"items":["#);
    for event in events.iter().filter(|event| wanted(event)) {
        if !text.ends_with('[') {
            text.push(',');
        }
        show::write(event, &source, &mut text)?;
    }
    text.push_str(r#"],"nextCursor":"#);
    text.push_str(&cursor.to_string());
    text.push('}');
    Ok(text)
}

fn cursor(event: &RawDocumentBuf) -> Result<String, Problem> {
    let key = event_page_key(event).map_err(|error| internal(&error))?;
    key.encode().map_err(|error| internal(&error))
}
