//! The description agrees with the service. Every answer in the other tests here goes through [`check`], too.

use std::collections::BTreeSet;

use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    Answer, request, send,
    support::{Service, key_for},
};

/// The id of a stored key.
const KEY: &str = "key_demo";

/// The headers that are described where they can occur.
const DESCRIBED_HEADERS: [&str; 5] = [
    "etag",
    "location",
    "retry-after",
    "tidegate-applied",
    "allow",
];

/// Asserts that an answer is described: its status, its headers, its media type, and its shape.
pub(crate) async fn check(method: &Method, url: &Url, answer: &Answer) {
    static DESCRIPTION: OnceCell<Value> = OnceCell::const_new();
    // The node of the test may have no room for such an answer.
    let read = async || Service::start().await.get("/openapi.json").await;
    let description = DESCRIPTION.get_or_init(read).await;
    let what = format!("{method} {url}: {} {:.500}", answer.status, answer.text);
    let Some(item) = item(description, url.path()) else {
        return assert_eq!(answer.status, 404, "not described: {what}");
    };
    let name = if method == Method::HEAD {
        "get"
    } else {
        &method.as_str().to_ascii_lowercase()
    };
    let Some(operation) = item.get(name) else {
        // A preflight is answered before anything else.
        let preflight = method == Method::OPTIONS && answer.status == 200;
        return assert!(answer.status == 405 || preflight, "not described: {what}");
    };
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "not described: {what}");
    for header in DESCRIBED_HEADERS {
        let names = described["headers"].as_object().unwrap();
        let known = names.keys().any(|name| name.eq_ignore_ascii_case(header));
        assert!(
            known || !answer.headers.contains_key(header),
            "{header} is not described: {what}"
        );
    }
    if method != Method::HEAD {
        check_body(description, described, answer, &what);
    }
}

fn check_body(description: &Value, described: &Value, answer: &Answer, what: &str) {
    let Some(content) = described["content"].as_object() else {
        return assert_eq!(answer.text, "", "{what}");
    };
    let kind = answer.header("content-type");
    let essence = |kind: &str| kind.split(';').next().unwrap().trim().to_owned();
    let found = content
        .iter()
        .find(|(name, _)| essence(name) == essence(kind));
    let (_, typed) = found.unwrap_or_else(|| panic!("the media type is not described: {what}"));
    if essence(kind).ends_with("json") {
        assert_shape(description, &typed["schema"], &answer.json(), what);
    }
}

fn assert_shape(description: &Value, schema: &Value, value: &Value, what: &str) {
    let root = json!({"components": description["components"], "allOf": [schema]});
    let validator = jsonschema::draft202012::new(&root).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(value)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}: {what}");
}

/// Returns the description of a path: by its literal name, else by a pattern.
fn item<'d>(description: &'d Value, path: &str) -> Option<&'d Value> {
    let paths = description["paths"].as_object().unwrap();
    let matches = |pattern: &str| {
        let (pattern, path): (Vec<_>, Vec<_>) =
            (pattern.split('/').collect(), path.split('/').collect());
        pattern.len() == path.len()
            && pattern
                .iter()
                .zip(&path)
                .all(|(p, s)| p == s || (p.starts_with('{') && !s.is_empty()))
    };
    let path = if path == "/api/v1/" { "/api/v1" } else { path };
    paths.get(path).or_else(|| {
        paths
            .iter()
            .find(|(pattern, _)| matches(pattern))
            .map(|(_, item)| item)
    })
}

/// Returns path, method and description of every call.
fn operations(description: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = description["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let calls = item.as_object().unwrap().iter();
            calls.map(move |(method, call)| (path.as_str(), method.as_str(), call))
        })
        .collect()
}

#[tokio::test]
async fn every_problem_is_described_and_every_call_is_named_once() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await;
    assert_eq!(description["openapi"], "3.1.0");
    let meta = jsonschema::meta::validate(&description["components"]["schemas"]);
    meta.unwrap_or_else(|error| panic!("{error}"));
    let operations = operations(&description);
    let names: BTreeSet<_> = operations
        .iter()
        .map(|(_, _, call)| call["operationId"].to_string())
        .collect();
    assert_eq!(names.len(), operations.len());
    let text = description["paths"].to_string();
    let problems = include_str!("../../docs/problems.md").lines();
    let problems: Vec<_> = problems
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|slug| slug.starts_with("/problems/"))
        .collect();
    assert!(problems.len() > 10, "{problems:?}");
    for problem in problems {
        // A path that does not exist is in no call.
        let expected = problem != "/problems/not-found";
        let described = text.contains(&format!("\"{problem}\""));
        assert_eq!(described, expected, "{problem}");
    }
    let root = service.get("").await;
    for link in root["links"].as_object().unwrap().values() {
        let link = link.as_str().unwrap();
        assert!(item(&description, link).is_some(), "{link}");
    }
}

#[tokio::test]
async fn query_parameters_are_those_that_are_read() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await;
    for (path, method, call) in operations(&description) {
        if path == "/metrics" {
            continue;
        }
        let all = call["parameters"].as_array().unwrap().iter();
        let query = all.filter(|parameter| parameter["in"] == "query");
        let names: BTreeSet<_> = query
            .map(|p| p["name"].as_str().unwrap().to_owned())
            .collect();
        let below = path.strip_prefix("/api/v1").unwrap().replace("{id}", "x");
        let mut read = BTreeSet::new();
        // The events of a subscription are a page or a stream, each with parameters of its own.
        for accept in ["application/json", "text/event-stream"] {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let asked = request(&service, method, &format!("{below}?nonsense=1"))
                .header("accept", accept)
                .header("content-type", "application/json");
            let answer = send(asked).await;
            assert_eq!(answer.problem("bad-parameter"), ["nonsense"], "{path}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            if let Some((_, known)) = detail.split_once("the parameters are ") {
                read.extend(known.split(", ").map(ToOwned::to_owned));
            }
        }
        assert_eq!(names, read, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_as_described() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.open(&id, "").await;
    let schema = json!({"$ref": "#/components/schemas/ServerMessage"});
    let mut seen = Vec::new();
    let mut hear = async |socket: &mut super::support::Socket| {
        let message = socket.message().await;
        assert_shape(&description, &schema, &message, &message.to_string());
        seen.push(message["type"].as_str().unwrap().to_owned());
    };
    hear(&mut socket).await;
    service.publish("a", json!({"n": 1})).await;
    hear(&mut socket).await;
    let path = format!("/subscriptions/{id}");
    let paused = service
        .send("PATCH", &path, Some(json!({"status": "paused"})))
        .await;
    assert_eq!(paused.0, 200);
    hear(&mut socket).await;
    socket.say(r#"{"type":"ping"}"#).await;
    hear(&mut socket).await;
    let token = key_for(service.address).unwrap_or_default();
    let refresh = json!({"type": "refresh", "token": token});
    socket.say(&refresh.to_string()).await;
    hear(&mut socket).await;
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    hear(&mut socket).await;
    let expected = [
        "connected",
        "event",
        "updated",
        "pong",
        "refreshed",
        "ended",
    ];
    assert_eq!(seen, expected);
    service.stop().await;
}

/// The schema that the makers of `AsyncAPI` publish (asyncapi/spec-json-schemas, Apache-2.0).
const ASYNCAPI: &str = include_str!("asyncapi-3.0.0.json");

#[tokio::test]
async fn the_sockets_are_described_as_asyncapi() {
    let service = Service::start().await;
    let description = service.get("/asyncapi.json").await;
    let schema: Value = serde_json::from_str(ASYNCAPI).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(&description)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    let messages = description["components"]["messages"].as_object().unwrap();
    for (name, message) in messages {
        assert!(message["name"].is_string(), "{name}: {message}");
    }
    for (channel, path) in [
        ("one", "/api/v1/subscriptions/{id}/events"),
        ("many", "/api/v1/socket"),
    ] {
        assert_eq!(description["channels"][channel]["address"], path);
    }
    service.stop().await;
}

#[tokio::test]
async fn messages_of_many_subscriptions_are_as_described() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await;
    let id = service.subscribe(json!({})).await;
    let protocol = Some("tidegate.many.v1");
    let opened = super::support::Socket::open(service.address, "/api/v1/socket", protocol).await;
    let mut socket = opened.unwrap();
    let schema = json!({"$ref": "#/components/schemas/ManyServerMessage"});
    let wished = json!({"$ref": "#/components/schemas/ManyClientMessage"});
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    for (says, expected) in [
        (None, &["welcome"][..]),
        (
            Some(json!({"type": "subscribe", "handle": "a", "subscription": id})),
            &["connected"],
        ),
        (
            Some(json!({"type": "subscribe", "items": [{"handle": "b", "filter": {}}]})),
            &["connected"],
        ),
        (
            Some(json!({"type": "subscribe", "handle": "c", "subscription": "nobody"})),
            &["refused"],
        ),
        (Some(json!({"type": "ping"})), &["pong"]),
        (
            Some(json!({"type": "unsubscribe", "handle": "b"})),
            &["ended"],
        ),
        (None, &["event"]),
        (
            Some(json!({"type": "subscribe", "handle": "d", "filter": {}, "after": null})),
            &["connected", "event", "live"],
        ),
    ] {
        let mut says = says;
        if let Some(says) = &mut says {
            if says.get("after").is_some() {
                says["after"] = cursor.clone();
            }
            assert_shape(&description, &wished, says, &says.to_string());
            socket.say(&says.to_string()).await;
        } else if expected == ["event"] {
            service.publish("a", json!({"n": 1})).await;
        }
        for kind in expected {
            let message = socket.message().await;
            assert_eq!(message["type"], *kind, "{message}");
            assert_shape(&description, &schema, &message, &message.to_string());
            if *kind == "ended" {
                cursor = message["cursor"].clone();
            }
            seen.push((*kind).to_owned());
        }
    }
    assert_eq!(seen.len(), 10);
    service.stop().await;
}

#[tokio::test]
async fn statuses_are_sorted_and_bodies_have_examples_that_are_taken() {
    let service = Service::start().await;
    let key = bson::doc! {"_id": KEY, "scopes": []};
    let keys = service.database.collection("keys");
    keys.insert_one(key).await.unwrap();
    let description = service.get("/openapi.json").await;
    for (path, method, call) in operations(&description) {
        let statuses: Vec<_> = call["responses"].as_object().unwrap().keys().collect();
        assert!(statuses.is_sorted(), "{method} {path}: {statuses:?}");
        let content = call["requestBody"]["content"].as_object();
        for (kind, typed) in content.into_iter().flatten() {
            let example = &typed["example"];
            let what = format!("{method} {path} {kind}: {example}");
            assert_shape(&description, &typed["schema"], example, &what);
            // The second event of one id is a duplicate, and as good.
            let id = match path {
                "/api/v1/keys/{id}" => KEY,
                "/api/v1/policies/{id}/match" => "demo",
                path if path.ends_with("/match") => "large",
                _ => "demo",
            };
            let path = path.replace("{id}", id);
            let put = service.send("PUT", "/subscriptions/large", Some(json!({"filter": {}})));
            put.await;
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let request = request(&service, method, path.strip_prefix("/api/v1").unwrap());
            let request = request
                .header("content-type", kind)
                .body(example.to_string());
            if path == "/api/v1/stream" {
                // Its answer has no end.
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 200, "{what}");
                continue;
            }
            let answer = send(request).await;
            assert!((200..300).contains(&answer.status), "{what}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn no_body_is_too_deep_for_a_call() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await;
    let mut asked = 0;
    for (path, method, call) in operations(&description) {
        let content = call["requestBody"]["content"].as_object();
        for kind in content.into_iter().flatten().map(|(kind, _)| kind) {
            for body in ["[".repeat(60_000), r#"{"name":"#.repeat(10_000)] {
                let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
                let path = path.replace("{id}", "none");
                let request = request(&service, method, path.strip_prefix("/api/v1").unwrap());
                let answer = send(request.header("content-type", kind).body(body)).await;
                assert!(
                    (400..500).contains(&answer.status),
                    "{path} {kind}: {answer:?}"
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 20, "{asked}");
}

#[tokio::test]
async fn the_quotas_of_policies_and_keys_are_those_that_are_taken() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await;
    let schemas = &description["components"]["schemas"];
    let given = |schema: &str, field: &str| &schemas[schema]["properties"][field]["properties"];
    let quotas = given("PolicyInput", "quotas");
    assert_eq!(given("NewKey", "limits"), quotas);
    assert_eq!(given("KeyChange", "limits"), quotas);
    let put = async |name: &str, number: u64| {
        let body = json!({"read": {}, "quotas": {name: number}});
        let request = request(&service, Method::PUT, "/policies/p").json(&body);
        send(request).await.status
    };
    let make = async |name: &str, number: u64| {
        let body = json!({"scopes": ["metrics"], "limits": {name: number}});
        let request = request(&service, Method::POST, "/keys").json(&body);
        send(request).await.status
    };
    let quotas = quotas.as_object().unwrap();
    assert_eq!(quotas.len(), 6);
    for (name, described) in quotas {
        let most = described["maximum"].as_u64().unwrap();
        assert_eq!(described["minimum"], 0);
        for number in [0, most] {
            assert!([200, 201].contains(&put(name, number).await), "{name}");
            assert_eq!(make(name, number).await, 201, "{name}");
        }
        assert_eq!(
            (put(name, most + 1).await, make(name, most + 1).await),
            (422, 422)
        );
    }
    assert_eq!(
        (put("events", 1).await, make("events", 1).await),
        (422, 422)
    );
}

#[tokio::test]
async fn browsers_find_a_page_at_the_address_and_programs_the_links() {
    let service = Service::start().await;
    let url = format!("http://{}/", service.address);
    let ask = async |accept: &str| {
        let answer = service.http.get(&url).header("accept", accept).send();
        let answer = answer.await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["vary"]),
            (200.try_into().unwrap(), &"accept".parse().unwrap())
        );
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        (kind, answer.text().await.unwrap())
    };
    let (kind, page) = ask("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8").await;
    assert_eq!(kind, "text/html; charset=utf-8");
    for link in page
        .split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
    {
        let there = service
            .http
            .get(format!("http://{}{link}", service.address))
            .send();
        assert_eq!(there.await.unwrap().status(), 200, "{link}");
    }
    for accept in ["*/*", "application/json", "application/json, text/html;q=0"] {
        let (kind, links) = ask(accept).await;
        assert_eq!(kind, "application/json");
        assert_eq!(
            serde_json::from_str::<Value>(&links).unwrap(),
            service.get("").await
        );
    }
}

#[tokio::test]
async fn the_page_shows_every_call_and_fetches_nothing() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await;
    let page = send(request(&service, Method::GET, "/docs")).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    for (_, _, call) in operations(&description) {
        let id = call["operationId"].as_str().unwrap();
        // A subscription may be called "batch"; it is no call of its own.
        let shown = call.get("x-same-as").is_none();
        assert_eq!(
            page.text.contains(&format!("<div id=\"{id}\"")),
            shown,
            "{id}"
        );
    }
    assert_eq!(
        page.text
            .matches("<code>/api/v1/subscriptions/batch</code>")
            .count(),
        1
    );
    assert!(!page.text.contains('`'), "words of code are marked as such");
    for name in description["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(page.text.contains(&format!("id=\"{name}\"")), "{name}");
    }
    for loads in [
        "<script", "<link", "<img", " src=", "url(", "@import", "https://",
    ] {
        assert!(!page.text.contains(loads), "{loads}");
    }
}
