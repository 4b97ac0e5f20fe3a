//! The REST calls, through the front door.

// Whatever is not there fails the test.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod conditional;
mod contended;
mod description;
mod dry_run;
mod edge;
mod events;
mod history;
mod idempotency;
mod listing;
mod pages;
mod past;
mod poison;
mod policies;
mod publishing;
mod subscriptions;

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;

use support::Service;

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a problem of this type and in the right form. Returns the locations of its errors.
    fn problem(&self, slug: &str) -> Vec<String> {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{problem}");
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let place = |error: &Value| {
            ["pointer", "parameter", "header"]
                .iter()
                .find_map(|name| error[name].as_str().map(ToOwned::to_owned))
        };
        errors.iter().map(|error| place(error).unwrap()).collect()
    }
}

/// Starts a request to a path below `/api/v1`.
fn request(service: &Service, method: Method, path: &str) -> RequestBuilder {
    service.http.request(method, service.url(path))
}

/// Starts a request with a JSON body.
fn with_json(service: &Service, method: Method, path: &str, body: &Value) -> RequestBuilder {
    request(service, method, path).json(body)
}

/// Sends a request. Its answer must be described.
async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, url) = (request.method().clone(), request.url().clone());
    let answer = client.execute(request).await.unwrap();
    let status: StatusCode = answer.status();
    let answer = Answer {
        status: status.as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    };
    description::check(&method, &url, &answer).await;
    answer
}
