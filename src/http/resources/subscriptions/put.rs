//! `PUT /subscriptions/{id}`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, RawDocumentBuf};

use super::{
    attempts::Attempts,
    input::{CheckedInput, Expected, check_body, fixed_for, read_request},
    write::{answer_unchanged, answer_written, check_room, check_within},
};
use crate::{
    access::{Binding, Caller, Sight},
    http::edge::{
        AppState,
        acting::Acting,
        body,
        granting::grant_one,
        path_id::Id,
        problem::{Kind, Problem},
    },
    store::{Read, StoreError},
    subscription::{etag, input::check_id},
};

/// Creates a subscription under an id that the caller chose, or replaces the one with that id.
pub(crate) async fn put(
    State(state): State<AppState>,
    acting: Acting,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let caller = &*acting.caller;
    let (conditions, body) = read_request(&state, caller, request, body::PUT_JSON).await?;
    let mut attempts = Attempts::new(&state, &id, caller);
    let mut found = attempts.read().await?;
    if found.document.is_none() {
        check_new_id(caller, &id)?;
    }
    let expected = Expected {
        id: Some(id.clone()),
        partial: false,
        fixed: fixed_for(caller),
    };
    let checked = check_body(&state, caller, body, expected).await?;
    loop {
        let document = found.document.take();
        if let Err(problem) = conditions.check(document.as_deref().map(etag).as_deref()) {
            return Err(attempts.refuse(&found, problem).await);
        }
        if let Some(current) = &document
            && let Err(problem) = checked.check_kept(current)
        {
            return Err(attempts.refuse(&found, problem).await);
        }
        let is_new = document.is_none();
        let answered = match document {
            None => create(&state, &id, &acting, &checked).await?,
            Some(document) => {
                let reach = attempts.reach();
                replace(&state, found, document, &acting, &checked, reach).await?
            }
        };
        if let Some(response) = answered {
            return Ok(response);
        }
        found = attempts.read().await?;
        if is_new && found.document.is_none() && !caller.sight().is_everything() {
            // Somebody else has it, out of sight.
            return Err(bad_id(caller));
        }
    }
}

/// Refuses an id that the caller may not choose. Those of a tenant begin with its name, so that nobody takes or tries the
/// ids of others: taken or not, they are refused alike.
fn check_new_id(caller: &Caller, id: &str) -> Result<(), Problem> {
    check_within(caller, id)?;
    let Some(tenant) = caller.tenant.as_deref() else {
        return Ok(());
    };
    let own = id
        .strip_prefix(tenant)
        .is_some_and(|rest| rest.starts_with(':'));
    if own { Ok(()) } else { Err(bad_id(caller)) }
}

/// Returns the refusal of an id, whether it is somebody else's or nobody's.
fn bad_id(caller: &Caller) -> Problem {
    let detail = match caller.tenant.as_deref() {
        Some(tenant) => format!(
            "cannot be chosen; one that begins with {:?} can",
            format!("{tenant}:")
        ),
        None => "cannot be chosen".to_owned(),
    };
    Problem::parameter(Kind::InvalidRequest, "id", detail)
}

/// Creates the subscription. Returns `None` if another request has created it in the meantime.
async fn create(
    state: &AppState,
    id: &str,
    acting: &Acting,
    checked: &CheckedInput,
) -> Result<Option<Response>, Problem> {
    let caller = &*acting.caller;
    check_id(id).map_err(|detail| Problem::parameter(Kind::InvalidRequest, "id", detail))?;
    check_room(state, 1)?;
    let policies = state.router().credentials().policies();
    let document = checked.create(id, caller, &policies, "#")?;
    let _granted = grant_one(state, caller, id).await?;
    let inserting = state.store.insert_subscription(&document, acting.proved());
    let written = match inserting.await {
        Err(StoreError::Duplicate) => return Ok(None),
        outcome => outcome?,
    };
    let response = answer_written(state, StatusCode::CREATED, written, checked).await?;
    Ok(Some(response))
}

/// Replaces the document. Returns `None` if it has changed since it was read.
async fn replace(
    state: &AppState,
    read: Read,
    document: RawDocumentBuf,
    acting: &Acting,
    checked: &CheckedInput,
    reach: &Sight,
) -> Result<Option<Response>, Problem> {
    let policies = state.router().credentials().policies();
    let binding = Binding::of_replacing(&acting.caller, &document, &policies);
    let new = checked.input.replace(&document, &binding, DateTime::now());
    let Some(new) = new else {
        let response = answer_unchanged(state, read, document, checked).await?;
        return Ok(Some(response));
    };
    let by = acting.proved();
    let written = state.store.replace_subscription(&document, &new, reach, by);
    let Some(written) = written.await? else {
        return Ok(None);
    };
    let response = answer_written(state, StatusCode::OK, written, checked).await?;
    Ok(Some(response))
}
