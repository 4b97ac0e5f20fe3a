//! Every command that the service sends fails, in every way that a server has. Each failure is answered by a problem
//! that names it, or ridden out; nothing hangs, and the service recovers when the trouble is over.

use bson::{Bson, Document, doc};
use futures_util::future::join_all;
use mongodb::Client;
use serde_json::{Value, json};
use tidegate::{config::Config, mongod::Mongod};

use crate::{
    feed::failpoint::Failing,
    support::{Service, database_name, options},
};

/// Commands that requests and the feed send to read.
const READS: [&str; 4] = ["find", "aggregate", "getMore", "ping"];
/// Commands that requests send to write.
const WRITES: [&str; 4] = ["insert", "update", "delete", "findAndModify"];

/// Commands that only a start sends.
const OF_A_START: [&str; 9] = [
    "hello",
    "buildInfo",
    "find",
    "findAndModify",
    "create",
    "createIndexes",
    "collMod",
    "update",
    "delete",
];

/// Ways to fail, and the problem that each leads to.
fn failures() -> Vec<(Document, u16, &'static str)> {
    let mut failures = vec![
        (doc! {"closeConnection": true}, 503, "database-unavailable"),
        (doc! {"errorCode": 13}, 503, "database-forbids"),
    ];
    // Unreachable, timeouts, stepping down, shutting down, not primary, out of time.
    for code in [6, 7, 89, 9001, 91, 189, 11600, 11602, 10107, 13435, 50] {
        failures.push((doc! {"errorCode": code}, 503, "database-unavailable"));
    }
    // These belong to change streams. No server should answer anything else with them.
    for code in [280, 286] {
        failures.push((doc! {"errorCode": code}, 500, "internal-error"));
    }
    failures
}

/// A request's method, path and body.
type Requests = Vec<(&'static str, String, Option<Value>)>;

/// Makes one request of each kind that needs the database.
pub(crate) fn requests(id: &str) -> Requests {
    let one = format!("/subscriptions/{id}");
    let mut requests = vec![
        ("GET", one.clone(), None),
        ("GET", "/subscriptions?count=true".to_owned(), None),
        ("GET", "/subscriptions/unknown/connections".to_owned(), None),
        ("GET", format!("{one}/events"), None),
        ("GET", "/events".to_owned(), None),
        ("GET", "/events/x".to_owned(), None),
        ("POST", format!("{one}/match"), Some(json!({"event": {}}))),
    ];
    requests.extend(writing_requests(id));
    requests
}

fn writing_requests(id: &str) -> Requests {
    let one = format!("/subscriptions/{id}");
    let body = json!({"filter": {"type": "a"}, "name": "new"});
    vec![
        ("POST", "/subscriptions".to_owned(), Some(body.clone())),
        (
            "POST",
            "/subscriptions/batch".to_owned(),
            Some(json!([body])),
        ),
        (
            "POST",
            "/events".to_owned(),
            Some(json!({"type": "refused"})),
        ),
        ("PUT", one.clone(), Some(body)),
        ("PATCH", one.clone(), Some(json!({"name": "new"}))),
        ("DELETE", one, None),
    ]
}

async fn assert_all_fail(
    service: &Service,
    requests: Requests,
    case: &Document,
    told: (u16, &str),
) {
    let sent = requests.into_iter().map(|(method, path, body)| async move {
        let answer = service.send(method, &path, body).await;
        (method, path, answer)
    });
    let is_time_limit = case.get_i32("errorCode").is_ok_and(|code| code == 50);
    for (method, path, (status, problem)) in join_all(sent).await {
        // A page's query may be the caller's own, and then its faults are the caller's,
        let is_page = method == "GET" && path == "/events";
        let (expected, slug) = match told {
            (500, _) if is_page => (422, "refused-by-database"),
            // and so is the time that it takes.
            _ if is_page && is_time_limit => (422, "search-too-slow"),
            told => told,
        };
        assert_eq!(status, expected, "{case} {method} {path}: {problem}");
        let kind = format!("/problems/{slug}");
        assert_eq!(problem["type"], kind, "{case} {method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_of_every_command_has_its_answer_and_passes() {
    let failing = Failing::start().await;
    let service = &failing.service;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    for (failure, status, slug) in failures() {
        // Writes fail first on their own. Otherwise those that read first would get no further than that.
        for (commands, requests) in [
            (WRITES.to_vec(), writing_requests(&id)),
            ([READS, WRITES].concat(), requests(&id)),
        ] {
            let mut failing_commands = failure.clone();
            failing_commands.insert("failCommands", commands);
            failing.fail("alwaysOn", failing_commands).await;
            assert_all_fail(service, requests, &failure, (status, slug)).await;
        }
        if slug == "database-forbids" {
            let health = async || service.send("GET", "/health", None).await.1;
            let told = async || health().await["parts"]["database"]["status"] == "forbids";
            service.until("told as forbidden", told).await;
        }
        failing.heal().await;
        let path = format!("/subscriptions/{id}");
        service
            .until("over", async || service.status(&path).await == 200)
            .await;
    }
    let well = async || {
        let health = service.send("GET", "/health", None).await.1;
        let parts = health["parts"].as_object().unwrap().clone();
        parts
            .values()
            .all(|part| part["status"] == "up" || part["status"] == "current")
    };
    service.until("well", well).await;
    // Nothing that was refused was done, and the socket is the same. It was told that it may have missed something.
    let stored = service.get("/subscriptions").await;
    assert_eq!(stored["items"].as_array().unwrap().len(), 1, "{stored}");
    assert_eq!(service.get("/events").await["items"], json!([]));
    loop {
        service.publish("a", json!("after")).await;
        let message = socket.message().await;
        if message["type"] == "event" {
            break;
        }
        assert_eq!(message["type"], "gap", "{message}");
    }
    service.assert_books_balance().await;
    failing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_outcome_is_unknown_is_done_once_by_its_key() {
    let failing = Failing::start().await;
    let service = &failing.service;
    for (path, body, status) in [
        ("/subscriptions", json!({"filter": {}, "name": "once"}), 201),
        (
            "/subscriptions/batch",
            json!([{"filter": {}, "name": "once"}]),
            200,
        ),
        ("/events", json!({"type": "once"}), 202),
    ] {
        let post = async || {
            let request = service.http.post(service.url(path)).json(&body);
            let answer = request.header("idempotency-key", path).send().await;
            answer.unwrap()
        };
        // The insert is done, but no majority is known to have it.
        let unknown = doc! {
            "failCommands": ["insert"],
            "writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"},
        };
        failing.fail(doc! {"times": 1}, unknown).await;
        let first = post().await;
        assert_eq!(first.status(), 503, "{path}");
        let problem: Value = first.json().await.unwrap();
        assert_eq!(problem["type"], "/problems/database-unavailable");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("Idempotency-Key")
        );
        for _ in 0..2 {
            assert_eq!(post().await.status(), status, "{path}");
        }
    }
    let named = service.get("/subscriptions?name=once").await;
    assert_eq!(named["items"].as_array().unwrap().len(), 2, "{named}");
    let events = service.get("/events?type=once").await;
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "{events}");
    failing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_rides_out_trouble_in_every_command_it_sends() {
    let mongod = Mongod::start(options()).await.unwrap();
    let admin = Client::with_uri_str(mongod.uri())
        .await
        .unwrap()
        .database("admin");
    let ways = [
        doc! {"errorCode": 11600},
        doc! {"errorCode": 91},
        doc! {"errorCode": 50},
        doc! {"closeConnection": true},
    ];
    for (number, command) in OF_A_START.into_iter().enumerate() {
        let name = format!("start-{number}");
        let mut data = ways[number % ways.len()].clone();
        data.insert("failCommands", [command].as_slice());
        data.insert("appName", &name);
        let fail = doc! {
            "configureFailPoint": "failCommand",
            "mode": {"times": 3},
            "data": Bson::Document(data),
        };
        admin.run_command(fail).await.unwrap();
        let config = Config {
            mongodb_uri: format!("{}&appName={name}&heartbeatFrequencyMS=500", mongod.uri()),
            database: database_name(),
            ..Config::default()
        };
        // This panics unless the node becomes ready.
        Service::on(config).await.stop().await;
    }
    mongod.stop().await;
}
