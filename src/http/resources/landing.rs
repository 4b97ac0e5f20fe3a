//! `GET /`: the first page for people who open the service's address in a browser.

use std::fmt::{self, Write as _};

use axum::{
    http::{HeaderMap, HeaderValue, Uri, header},
    response::Response,
};

use super::{
    docs::{STYLE, html},
    service,
};
use crate::http::edge::{accept, paths::BASE, problem::Problem, query::Query};

/// The links for readers, below the base path.
const LINKS: [(&str, &str); 6] = [
    ("/docs", "Every call, with examples"),
    ("/subscriptions", "The subscriptions"),
    ("/events", "The published events"),
    ("/health", "The health of this node"),
    ("/openapi.json", "The calls, described for programs"),
    ("", "The same links, for programs"),
];

/// Shows a page to browsers, and the same as `GET /api/v1` to all others.
pub(crate) async fn show(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let mut response = if accept::names(&headers, "text/html") {
        let mut page = String::new();
        // Writing to a string does not fail.
        if write(&mut page).is_err() {
            page.clear();
        }
        html(page)?
    } else {
        service::root(uri).await?
    };
    let vary = HeaderValue::from_static("accept");
    response.headers_mut().append(header::VARY, vary);
    Ok(response)
}

fn write(out: &mut String) -> fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Tidegate</title><style>{STYLE}</style></head><body>\
         <h1>Tidegate {version}</h1><p>{about}.</p><ul>",
        version = env!("CARGO_PKG_VERSION"),
        about = env!("CARGO_PKG_DESCRIPTION"),
    )?;
    for (path, words) in LINKS {
        write!(
            out,
            "<li><a href=\"{BASE}{path}\">{words}</a> <code>{BASE}{path}</code></li>"
        )?;
    }
    writeln!(
        out,
        "<li><a href=\"/metrics\">Figures for Prometheus</a> <code>/metrics</code></li></ul></body></html>"
    )
}
