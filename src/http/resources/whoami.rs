//! `GET /whoami`: who the caller is, as this node sees it.

use axum::{
    http::{StatusCode, Uri},
    response::Response,
};
use serde_json::json;

use crate::{
    access::Scope,
    http::edge::{answer, caller::By, problem::Problem, query::Query},
};

/// Shows the caller.
pub(crate) async fn show(By(caller): By, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let scopes: Vec<_> = caller.scopes.iter().map(Scope::as_str).collect();
    let document = json!({
        "kind": caller.kind.as_str(),
        "id": (!caller.id.is_empty()).then_some(&caller.id),
        "owner": caller.owner,
        "tenant": caller.tenant,
        "scopes": scopes,
        "policy": caller.policy,
        "expiresAt": caller.expires_at.and_then(answer::stored_time),
    });
    Ok(answer::json(StatusCode::OK, document.to_string()))
}
