//! Teardowns of credentials that are not complete yet: what holds them up is shown, and nothing is said too early.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use bson::{DateTime, Document, doc};
use serde_json::{Value, json};
use tidegate::config::Config;
use tokio::time::timeout;

use super::{SCOPES, lively, start, teardown};
use crate::{
    access::{connect, make, publish, send, store_policy, subscribe},
    feed::failpoint::Failing,
    process::Process,
    raw::{Raw, upgrade_request},
    support::{DEADLINE, Service, Socket, admin_key, database_name, shared_mongod},
};

/// Returns the node with this address in an answer.
fn of(shown: &Value, node: SocketAddr) -> &Value {
    let address = node.to_string();
    let mut nodes = shown["nodes"].as_array().unwrap().iter();
    let found = nodes.find(|node| node["address"] == address);
    found.unwrap_or_else(|| panic!("{address} is not in {shown}"))
}

/// Asserts the state of a node, and how many sockets it told to end and has closed.
fn assert_state(shown: &Value, node: SocketAddr, expected: (&str, i64, i64)) {
    let node = of(shown, node);
    let counts = ["connections", "closed"].map(|count| node[count].as_i64().unwrap());
    let found = (node["state"].as_str().unwrap(), counts[0], counts[1]);
    assert_eq!(found, expected, "{shown}");
}

/// Waits until a node is shown with this state.
async fn until_state(
    asked: &Service,
    (admin, path): (&str, &str),
    node: SocketAddr,
    state: &str,
) -> Value {
    let is_reached = |shown: &Value| of(shown, node)["state"] == state;
    until_shown(asked, (admin, path), state, is_reached).await
}

/// Waits until the teardown is complete.
async fn until_complete(asked: &Service, admin: &str, path: &str) -> Value {
    let is_complete = |shown: &Value| shown["complete"] == true;
    until_shown(asked, (admin, path), "complete", is_complete).await
}

/// Waits until a teardown shows what is waited for, and returns that. A node that lags may refuse to answer meanwhile.
async fn until_shown(
    asked: &Service,
    (admin, path): (&str, &str),
    what: &str,
    is_reached: impl Fn(&Value) -> bool,
) -> Value {
    let reached = Mutex::new(Value::Null);
    let is_shown = async || {
        let (status, shown) = teardown(asked, admin, path).await;
        let is_shown = status == 200 && is_reached(&shown);
        if is_shown {
            *reached.lock().unwrap() = shown;
        }
        is_shown
    };
    asked.until(what, is_shown).await;
    reached.into_inner().unwrap()
}

/// Waits until the heartbeats of all nodes tell that they have applied what a teardown is about.
async fn until_all_have_passed(asked: &Service, admin: &str, shown: &Value) {
    let passed = async || {
        let (_, nodes) = send(asked, admin, "GET", "/nodes", None).await;
        let mut nodes = nodes["items"].as_array().unwrap().iter();
        nodes.all(|node| node["cursor"].as_str() > shown["cursor"].as_str())
    };
    asked.until("every node has passed the end", passed).await;
}

async fn delete(service: &Service, admin: &str, path: &str) {
    let deleted = send(service, admin, "DELETE", path, None).await;
    assert_eq!(deleted.0, 204, "{}", deleted.1);
}

/// Asserts that a socket is told its end, and nothing else.
async fn assert_forbidden(socket: &mut Socket) {
    socket.assert_ends(4511, "forbidden").await;
}

/// Opens a socket whose client reads no more than the first message.
async fn mute(service: &Service, key: &str, id: &str) -> Raw {
    let mut raw = Raw::dial_narrow(service.address).await;
    let header = format!("Authorization: Bearer {key}\r\n");
    raw.send(upgrade_request(id, &header).as_bytes()).await;
    assert_eq!(raw.answer().await.status, 101);
    assert_eq!(raw.message().await["type"], "connected");
    raw
}

/// Waits until something has come that is not read.
async fn until_waiting(raw: &Raw) {
    let byte = &mut [0; 1];
    let waiting = timeout(DEADLINE, raw.tcp.peek(byte)).await;
    assert_eq!(waiting.expect("something in time").unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_read_keeps_the_teardown_of_its_key_open_until_the_close_timeout() {
    let patient = Service::start_with(|config| {
        lively(config);
        config.socket.close_timeout = DEADLINE * 10;
        config.socket.send_buffer_bytes = 4 * 1024;
    })
    .await;
    let admin = admin_key(&patient.config);
    let mut config = patient.config.clone();
    lively(&mut config);
    let hasty = Service::on(config).await;
    let nodes = [&patient, &hasty];
    let id = subscribe(&patient, &admin).await;
    let (key, text) = make(&patient, &admin, json!({"scopes": SCOPES})).await;
    let mut read = Vec::new();
    let mut unread = Vec::new();
    for node in nodes {
        read.push(connect(node, &text, &id).await);
        unread.push(mute(node, &text, &id).await);
    }
    // More than a connection holds: what is begun has to be finished before the last words.
    let large = json!({"type": "large", "data": "x".repeat(300 * 1024)});
    let sent = send(&patient, &admin, "POST", "/events", Some(large)).await;
    assert_eq!(sent.0, 202);
    for (socket, raw) in read.iter_mut().zip(&unread) {
        socket.event().await;
        until_waiting(raw).await;
    }
    let path = format!("/keys/{key}");
    delete(&patient, &admin, &path).await;
    for socket in &mut read {
        assert_forbidden(socket).await;
    }
    drop(read);
    for asked in nodes {
        // The hasty node has cut its client off.
        let shown = until_state(asked, (&admin, &path), hasty.address, "closed").await;
        assert_state(&shown, hasty.address, ("closed", 2, 2));
        until_all_have_passed(asked, &admin, &shown).await;
        let (_, shown) = teardown(asked, &admin, &path).await;
        assert_state(&shown, patient.address, ("pending", 0, 0));
        assert_eq!(shown["complete"], false, "{shown}");
    }
    // The patient node waits for its client, who leaves.
    drop(unread);
    for asked in nodes {
        let shown = until_complete(asked, &admin, &path).await;
        assert_state(&shown, patient.address, ("closed", 2, 2));
        assert_state(&shown, hasty.address, ("closed", 2, 2));
    }
    for service in [patient, hasty] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lags_and_is_alive_keeps_the_teardown_of_a_key_open() {
    let failing = Failing::start_with(lively).await;
    let quick = &failing.service;
    let mut config = quick.config.clone();
    config.mongodb_uri += "&appName=lagging";
    config.limits.applied_timeout = Duration::from_millis(100);
    let lagging = Service::on(config).await;
    let admin = admin_key(&quick.config);
    let id = subscribe(quick, &admin).await;
    let (key, text) = make(quick, &admin, json!({"scopes": SCOPES})).await;
    let mut first = connect(quick, &text, &id).await;
    let mut late = connect(&lagging, &text, &id).await;
    let failure = doc! {"appName": "lagging", "errorCode": 11_600};
    failing.fail("alwaysOn", failure).await;
    // What it had asked for before may still come.
    let failed = async || {
        let (_, health) = send(&lagging, &admin, "GET", "/health", None).await;
        health["parts"]["feed"]["status"] == "cut"
    };
    lagging.until("it lags", failed).await;
    let path = format!("/keys/{key}");
    delete(quick, &admin, &path).await;
    publish(quick, &admin, 1).await;
    assert_forbidden(&mut first).await;
    drop(first);
    let shown = until_state(quick, (&admin, &path), quick.address, "closed").await;
    // Its heartbeats go on.
    let seen = of(&shown, lagging.address)["seenAt"].clone();
    let later = async || {
        let (_, shown) = teardown(quick, &admin, &path).await;
        of(&shown, lagging.address)["seenAt"].as_str() > seen.as_str()
    };
    quick.until("another heartbeat", later).await;
    let (_, shown) = teardown(quick, &admin, &path).await;
    assert_state(&shown, quick.address, ("closed", 1, 1));
    assert_state(&shown, lagging.address, ("pending", 0, 0));
    assert!(of(&shown, lagging.address)["until"].is_null(), "{shown}");
    assert_eq!(shown["complete"], false, "{shown}");
    let (status, problem) = teardown(&lagging, &admin, &path).await;
    assert_eq!(status, 503, "{problem}");
    failing.heal().await;
    assert_forbidden(&mut late).await;
    drop(late);
    for asked in [quick, &lagging] {
        let shown = until_complete(asked, &admin, &path).await;
        assert_state(&shown, quick.address, ("closed", 1, 1));
        assert_state(&shown, lagging.address, ("closed", 1, 1));
    }
    lagging.stop().await;
    failing.stop().await;
}

/// Starts a node of this process and one that is a process of its own.
async fn with_process() -> (Service, Process, String) {
    let mut config = Config {
        mongodb_uri: shared_mongod().await.uri(),
        database: database_name(),
        ..Config::default()
    };
    lively(&mut config);
    // Its clients may come later than usual, and it may stand still for longer.
    config.socket.ping_interval = DEADLINE * 10;
    let one = Service::on(config).await;
    let admin = admin_key(&one.config);
    let tenants = doc! {"read": {"tenant": "$claims.tenant"}};
    store_policy(&one, "default", tenants).await;
    let settings = "export TIDEGATE_AUTH=required TIDEGATE_NODE__HEARTBEAT_INTERVAL=50ms";
    let process = Process::on(one.config.clone(), settings).await;
    (one, process, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_keeps_the_teardown_open_and_closes_before_anything_else() {
    let (one, process, admin) = with_process().await;
    let id = subscribe(&one, &admin).await;
    let (key, text) = make(&one, &admin, json!({"scopes": SCOPES})).await;
    let mut first = connect(&one, &text, &id).await;
    let mut late = connect(&process.service, &text, &id).await;
    process.signal("STOP").await;
    let path = format!("/keys/{key}");
    delete(&one, &admin, &path).await;
    publish(&one, &admin, 1).await;
    assert_forbidden(&mut first).await;
    drop(first);
    until_state(&one, (&admin, &path), one.address, "closed").await;
    let silent = async || {
        let (_, shown) = teardown(&one, &admin, &path).await;
        of(&shown, process.service.address)["until"].is_string()
    };
    one.until("its silence is noticed", silent).await;
    let (_, shown) = teardown(&one, &admin, &path).await;
    assert_state(&shown, process.service.address, ("pending", 0, 0));
    assert_eq!(shown["complete"], false, "{shown}");
    process.signal("CONT").await;
    assert_forbidden(&mut late).await;
    drop(late);
    let shown = until_complete(&one, &admin, &path).await;
    assert_state(&shown, one.address, ("closed", 1, 1));
    assert_state(&shown, process.service.address, ("closed", 1, 1));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_keeps_the_teardown_open_until_its_clients_must_have_noticed() {
    let (patient, process, admin) = with_process().await;
    let mut config = patient.config.clone();
    config.socket.ping_interval = Duration::from_millis(100);
    config.socket.pong_timeout = Duration::from_millis(100);
    let hasty = Service::on(config).await;
    let id = subscribe(&patient, &admin).await;
    let (key, text) = make(&patient, &admin, json!({"scopes": SCOPES})).await;
    let mut left = connect(&patient, &text, &id).await;
    let lost = connect(&process.service, &text, &id).await;
    process.signal("KILL").await;
    let killed = process.service.address;
    assert_eq!(process.end().await, None);
    let path = format!("/keys/{key}");
    delete(&patient, &admin, &path).await;
    assert_forbidden(&mut left).await;
    drop((left, lost));
    let shown = until_complete(&hasty, &admin, &path).await;
    assert_state(&shown, patient.address, ("closed", 1, 1));
    assert_state(&shown, hasty.address, ("none", 0, 0));
    assert_state(&shown, killed, ("gone", 0, 0));
    // By its own settings this one has to wait.
    let (_, shown) = teardown(&patient, &admin, &path).await;
    assert_state(&shown, killed, ("pending", 0, 0));
    assert!(of(&shown, killed)["until"].is_string(), "{shown}");
    assert_eq!(shown["complete"], false, "{shown}");
    for service in [patient, hasty] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_expired_is_torn_down_as_such() {
    let (one, admin) = start().await;
    let two = one.sibling().await;
    let id = subscribe(&one, &admin).await;
    let (key, text) = make(&one, &admin, json!({"scopes": SCOPES})).await;
    let mut socket = connect(&one, &text, &id).await;
    let keys = one.database.collection::<Document>("keys");
    let end = DateTime::from_millis(DateTime::now().timestamp_millis() + 300);
    let ends = doc! {"$set": {"expiresAt": end}};
    keys.update_one(doc! {"_id": &key}, ends).await.unwrap();
    let (_, closed) = socket.rest().await;
    assert_eq!((closed.code, &*closed.text), (4510, "credential_expired"));
    drop(socket);
    let path = format!("/keys/{key}");
    for asked in [&one, &two] {
        // The database removes the document a moment later.
        let shown = until_complete(asked, &admin, &path).await;
        assert_eq!(shown["reason"], "expired", "{shown}");
        assert_eq!(shown["key"], key, "{shown}");
        for node in shown["nodes"].as_array().unwrap() {
            assert_eq!(node["connections"], node["closed"], "{shown}");
        }
    }
    for service in [one, two] {
        service.stop().await;
    }
}
