//! `GET /events/{id}`

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};

use super::{page::without_patterns, show};
use bson::RawDocumentBuf;

use crate::{
    event::{default_source, identity},
    extjson::{Faults, truncated},
    http::edge::{
        AppState, answer,
        caller::{By, as_of, may_read_events, policy_of},
        path_id::Id,
        problem::{Kind, Problem},
        query::Query,
    },
    store::EventLookup,
};

/// Shows one event. Ids are unique within a source: if several sources have this one, the caller must name the source.
pub(crate) async fn get(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    may_read_events(&state, &caller)?;
    let query = Query::read(&uri, &["source"])?;
    // The server's reply may be large, so few are read at once.
    let paging = state.bounds.paging.for_tenant(caller.tenant.as_deref());
    let permit = paging.acquire().await?;
    let as_of = as_of(&state, &caller)?;
    let source = query.get("source");
    // Those of others would use up the bounds of the search.
    let within = policy_of(&state, &caller)?.map(|policy| policy.query());
    let within = within.and_then(|query| RawDocumentBuf::try_from(&query).ok());
    let asked = EventLookup {
        source,
        within: within.map(|query| without_patterns(&query).0),
        as_of,
    };
    let mut found = state.store.find_events(&id, asked).await?;
    drop(permit);
    let policy = policy_of(&state, &caller)?;
    let permits = |event: &RawDocumentBuf| policy.as_ref().is_none_or(|one| one.permits(event));
    found.retain(permits);
    let default_source = default_source(state.store.database_name());
    match found.as_slice() {
        [] => Err(Problem::new(
            Kind::EventNotFound,
            format!("there is no event {id:?}"),
        )),
        [event] => {
            let mut text = String::new();
            show::write(event, &default_source, &mut text)?;
            Ok(answer::json(StatusCode::OK, text))
        }
        several => {
            let mut sources = Vec::with_capacity(several.len());
            for event in several {
                sources.push(identity(event, &default_source)?.1);
            }
            sources.sort_unstable();
            sources.dedup();
            sources.truncate(Faults::MOST);
            let sources: Vec<_> = sources.into_iter().map(truncated).collect();
            Err(Problem::new(
                Kind::AmbiguousEvent,
                "name one of the sources with ?source=",
            )
            .with("sources", sources.into()))
        }
    }
}
