//! The description of all calls: `GET /openapi.json` for programs and `GET /docs` for people. `GET /asyncapi.json`
//! describes the sockets.
//!
//! The page has no scripts and fetches nothing, so it works behind any firewall and under the strictest content security
//! policy. It shows what `openapi.json` says, and nothing else.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use crate::http::{
    edge::{AppState, answer, failure::internal, problem::Problem, query::Query},
    openapi::{asyncapi, page},
};

/// The only style sheet. It follows the reader's choice of light or dark.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:60rem;margin:0 auto;padding:1rem;overflow-wrap:break-word}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
pre{overflow-x:auto;padding:.75rem;background:#8881;border-radius:.3rem}\
details{border:1px solid #8884;border-radius:.3rem;margin:.4rem 0;padding:.4rem .75rem}\
summary{cursor:pointer}\
summary b{display:inline-block;min-width:4.5rem;font-family:ui-monospace,monospace}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}\
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8883}\
td:last-child{overflow-wrap:anywhere}\
details>div{scroll-margin-top:4rem}\
h2{margin-top:2rem}h4{margin:.75rem 0 .25rem}\
@media(max-width:40rem){td{display:block;border:0;padding:0}tr{display:block;padding:.4rem 0;border-bottom:1px solid #8883}}";

/// `GET /openapi.json`
pub(crate) async fn openapi(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let text = state.description.document().to_string();
    Ok(answer::json(StatusCode::OK, text))
}

/// `GET /asyncapi.json`
pub(crate) async fn asyncapi(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let text = asyncapi::describe(state.description.document()).to_string();
    Ok(answer::json(StatusCode::OK, text))
}

/// `GET /docs`
pub(crate) async fn show(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    html(page::write(state.description.document(), STYLE))
}

/// Returns a page with [`STYLE`] and nothing else that a browser would run or fetch.
pub(crate) fn html(page: String) -> Result<Response, Problem> {
    let mut response = answer::json(StatusCode::OK, page);
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).map_err(|error| internal(&error))?;
    for (name, value) in [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, policy),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ] {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
