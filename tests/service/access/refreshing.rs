//! The end of a credential on an open socket: the warning, the refresh, and the end itself.

use bson::{DateTime, doc};
use serde_json::{Value, json};

use super::{connect, make, open, publish, send, start, subscribe};
use crate::support::{Events, Service, Socket, key_for};

const READING: [&str; 2] = ["events:read", "subscriptions:read"];

/// Returns a time so many milliseconds from now, as it is stored and as it is shown.
fn soon(millis: i64) -> (DateTime, String) {
    let at = DateTime::from_millis(DateTime::now().timestamp_millis() + millis);
    (at, at.try_to_rfc3339_string().unwrap())
}

/// Makes a key that ends at a time. Returns its id and its text.
async fn ending(service: &Service, admin: &str, expires_at: &str) -> (String, String) {
    let body = json!({"scopes": READING, "expiresAt": expires_at});
    make(service, admin, body).await
}

/// Moves the end of a key, as a program does.
async fn move_end(service: &Service, id: &str, to: DateTime) {
    let keys = service.database.collection::<bson::Document>("keys");
    let change = doc! {"$set": {"expiresAt": to}};
    keys.update_one(doc! {"_id": id}, change).await.unwrap();
}

fn refresh(token: &str) -> String {
    json!({"type": "refresh", "token": token}).to_string()
}

async fn refreshes(service: &Service, admin: &str, outcome: &str) -> String {
    let url = format!("http://{}/metrics", service.address);
    let shown = service.http.get(url).bearer_auth(admin).send().await;
    let shown = shown.unwrap().text().await.unwrap();
    let name = format!("tidegate_refreshes_total{{outcome=\"{outcome}\"}} ");
    let line = shown.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or("0").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_warned_of_its_end_and_again_when_the_end_moves() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let (_, end) = soon(25_000);
    let (key_id, key) = ending(&service, &admin, &end).await;
    let (_, later) = soon(3_600_000);
    let (_, lasting) = ending(&service, &admin, &later).await;

    let mut socket = open(&service, &key, &id).await.unwrap();
    let connected = socket.message().await;
    assert_eq!(connected["type"], "connected");
    let mut others = connect(&service, &lasting, &id).await;
    let expiring = socket.message().await;
    assert_eq!(expiring["type"], "expiring", "{expiring}");
    assert_eq!(expiring["expiresAt"], end);
    let left = expiring["inMs"].as_u64().unwrap();
    assert!(left > 0 && left <= 25_000, "{expiring}");
    assert_eq!(expiring["cursor"], connected["cursor"]);

    let url = service.url(&format!("/subscriptions/{id}/events"));
    let request = service.http.get(url).header("accept", "text/event-stream");
    let answer = request.bearer_auth(&key).send().await.unwrap();
    let mut stream = Events::of(answer);
    let connected = stream.next().await.unwrap();
    assert_eq!(connected.name, "connected");
    let expiring = stream.next().await.unwrap();
    assert_eq!((&*expiring.name, &expiring.id), ("expiring", &connected.id));
    assert_eq!(expiring.data["expiresAt"], end);

    let offer = format!("cloudevents.json, tidegate.bearer.{key}");
    let path = format!("/api/v1/subscriptions/{id}/events");
    let bare = Socket::open(service.address, &path, Some(&offer)).await;
    let mut bare = bare.unwrap();

    move_end(&service, &key_id, soon(3_600_000).0).await;
    publish(&service, &admin, 1).await;
    assert_eq!(socket.event().await["n"], 1);
    assert_eq!(stream.next().await.unwrap().name, "event");
    assert_eq!(others.event().await["n"], 1);
    // Nobody told it: bare CloudEvents have no room for that.
    assert_eq!(bare.message().await["data"]["n"], 1);

    let (end, shown) = soon(20_000);
    move_end(&service, &key_id, end).await;
    let again = socket.message().await;
    assert_eq!(
        (&again["type"], &again["expiresAt"]),
        (&json!("expiring"), &json!(shown))
    );
    assert_eq!(stream.next().await.unwrap().name, "expiring");

    let (end, _) = soon(300);
    move_end(&service, &key_id, end).await;
    for socket in [&mut socket, &mut bare] {
        let (messages, closed) = socket.rest().await;
        assert_eq!((closed.code, &*closed.text), (4510, "credential_expired"));
        assert!(messages.iter().all(|message| message["type"] != "event"));
    }
    assert_eq!(stream.next().await.unwrap().name, "expiring");
    stream.assert_ends("credential_expired").await;
    publish(&service, &admin, 2).await;
    assert_eq!(others.event().await["n"], 2);
    service.stop().await;
}

/// Replays hold `connected` back until they have looked at the past. The warning does not come before it.
#[tokio::test(flavor = "multi_thread")]
async fn the_warning_comes_behind_the_first_message_of_a_replay() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let mut socket = connect(&service, &admin, &id).await;
    for n in 0..50 {
        publish(&service, &admin, n).await;
    }
    let first = socket.message().await;
    let (_, end) = soon(25_000);
    let (_, key) = ending(&service, &admin, &end).await;
    let offer = format!("tidegate.v1, tidegate.bearer.{key}");
    let cursor = first["cursor"].as_str().unwrap();
    let path = format!("/api/v1/subscriptions/{id}/events?after={cursor}");
    let mut socket = Socket::open(service.address, &path, Some(&offer))
        .await
        .unwrap();
    let mut kinds = Vec::new();
    let mut before = String::new();
    while kinds.len() < 51 {
        let message = socket.message().await;
        let cursor = message["cursor"].as_str().unwrap().to_owned();
        assert!(cursor >= before, "{message}");
        before = cursor;
        kinds.push(message["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds[0], "connected");
    let warnings = kinds.iter().filter(|kind| *kind == "expiring");
    assert_eq!(warnings.count(), 1, "{kinds:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_with_the_same_key_is_answered_and_the_socket_goes_on() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let (_, end) = soon(3_600_000);
    let (key_id, key) = ending(&service, &admin, &end).await;
    let mut socket = connect(&service, &key, &id).await;
    for _ in 0..2 {
        socket.say(&refresh(&key)).await;
        let answer = socket.message().await;
        assert_eq!(answer, json!({"type": "refreshed", "expiresAt": end}));
    }
    assert_eq!(refreshes(&service, &admin, "ok").await, "2");
    // It still hangs on the key.
    publish(&service, &admin, 1).await;
    assert_eq!(socket.event().await["n"], 1);
    let path = format!("/keys/{key_id}");
    assert_eq!(send(&service, &admin, "DELETE", &path, None).await.0, 204);
    socket.assert_ends(4511, "forbidden").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_nobody_is_refused_and_the_sixth_within_a_minute_ends_the_socket() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let (gone_id, gone) = make(&service, &admin, json!({"scopes": READING})).await;
    let path = format!("/keys/{gone_id}");
    assert_eq!(send(&service, &admin, "DELETE", &path, None).await.0, 204);
    let (_, key) = make(&service, &admin, json!({"scopes": READING})).await;
    let mut socket = connect(&service, &key, &id).await;
    let long = "x".repeat(9 << 10);
    for token in ["", "secret-text", &gone, &long, &key[..key.len() - 1]] {
        socket.say(&refresh(token)).await;
        let answer = socket.message().await;
        assert_eq!(answer["type"], "refused", "{answer}");
        let problem = &answer["problem"];
        assert_eq!(problem["type"], "/problems/unauthenticated", "{answer}");
        assert_eq!(problem["status"], 401, "{answer}");
        assert!(token.is_empty() || !answer.to_string().contains(token));
    }
    // The old credential stands.
    publish(&service, &admin, 1).await;
    assert_eq!(socket.event().await["n"], 1);
    socket.say(&refresh(&key)).await;
    assert_eq!(socket.message().await["type"], "refreshed");
    socket.say(&refresh("secret-text")).await;
    let (messages, closed) = socket.rest().await;
    assert_eq!((closed.code, &*closed.text), (4520, "bad_message"));
    let detail = messages.last().unwrap()["detail"].as_str().unwrap();
    assert!(detail.contains("refused"), "{detail}");
    assert_eq!(refreshes(&service, &admin, "unknown").await, "1");
    assert_eq!(refreshes(&service, &admin, "malformed").await, "5");

    for wrong in [r#"{"type":"refresh"}"#, r#"{"type":"refresh","token":5}"#] {
        let mut socket = connect(&service, &key, &id).await;
        socket.say_anything(wrong).await;
        let ended = socket.assert_ends(4520, "bad_message").await;
        assert!(
            ended["detail"].as_str().unwrap().contains("token"),
            "{ended}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_caller_or_one_with_fewer_rights_loses_the_socket() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let (_, key) = make(&service, &admin, json!({"scopes": READING})).await;
    let (_, other) = make(&service, &admin, json!({"scopes": READING})).await;
    for fresh in [&other, &admin] {
        let mut socket = connect(&service, &key, &id).await;
        socket.say(&refresh(fresh)).await;
        let ended = socket.assert_ends(4511, "forbidden").await;
        assert!(ended["retryAfterMs"].is_null());
    }
    assert_eq!(refreshes(&service, &admin, "forbidden").await, "2");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_credential_is_asked_for_a_refresh_changes_nothing() {
    let service = Service::start().await;
    if key_for(service.address).is_some() {
        // All nodes of this run ask for one.
        return service.stop().await;
    }
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    socket.say(&refresh("whatever")).await;
    let answer = socket.message().await;
    assert_eq!(answer, json!({"type": "refreshed", "expiresAt": null}));
    service.publish("a", json!({"n": 1})).await;
    assert_eq!(socket.event().await["n"], 1);
    service.stop().await;
}

/// Every delivered event was committed before the end, by the database's own log, though events come all the time.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_committed_after_the_end_is_delivered() {
    let (service, admin) = start().await;
    let sibling = service.sibling().await;
    let id = subscribe(&service, &admin).await;
    let (_, far) = soon(3_600_000);
    let (key_id, key) = ending(&service, &admin, &far).await;
    let mut sockets = Vec::new();
    for node in [&service, &sibling, &service] {
        sockets.push(connect(node, &key, &id).await);
    }
    let events = service.database.collection::<bson::Document>("events");
    let publishing = tokio::spawn(async move {
        for number in 0_i64.. {
            let event = doc! {"_id": number, "data": number};
            events.insert_one(event).await.unwrap();
        }
    });
    let (end, _) = soon(1_000);
    move_end(&service, &key_id, end).await;
    let mut last = Vec::new();
    for socket in &mut sockets {
        let (messages, closed) = socket.rest().await;
        assert_eq!(closed.code, 4510);
        let events = messages.iter().filter(|message| message["type"] == "event");
        let numbers = events.map(|event| event["event"]["data"].as_i64().unwrap());
        let numbers: Vec<i64> = numbers.collect();
        assert!(numbers.iter().copied().eq((0..).take(numbers.len())));
        last.extend(numbers.last().copied());
    }
    publishing.abort();
    let client = service.database.client();
    let oplog = client.database("local");
    let oplog = oplog.collection::<bson::Document>("oplog.rs");
    let namespace = format!("{}.events", service.database.name());
    for last in last {
        let find = doc! {"op": "i", "ns": &namespace, "o._id": last};
        let entry = oplog.find_one(find).await.unwrap().unwrap();
        assert!(*entry.get_datetime("wall").unwrap() < end, "{entry}");
    }
    service.stop().await;
    sibling.stop().await;
}

/// The end of a deleted subscription waits for its replays. A revocation does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_up_to_a_delete_ends_when_its_key_is_revoked() {
    const PAST: usize = 250;
    let service = Service::start_with(|config| {
        config.auth = tidegate::config::Auth::Required;
        config.socket.send_buffer_bytes = 4 * 1024;
    })
    .await;
    let admin = super::admin_key(&service.config);
    let id = subscribe(&service, &admin).await;
    let mut first = connect(&service, &admin, &id).await;
    publish(&service, &admin, 0).await;
    let cursor = first.message().await["cursor"].clone();
    first.leave().await;
    let filling = "x".repeat(20_000);
    for _ in 0..PAST / 50 {
        let one = json!({"type": "a", "data": {"filling": filling}});
        let events = Value::from(vec![one; 50]);
        assert_eq!(
            send(&service, &admin, "POST", "/events", Some(events))
                .await
                .0,
            202
        );
    }
    let (key_id, key) = make(&service, &admin, json!({"scopes": READING})).await;
    let offer = format!("tidegate.v1, tidegate.bearer.{key}");
    let cursor = cursor.as_str().unwrap();
    let path = format!("/api/v1/subscriptions/{id}/events?after={cursor}");
    let socket = Socket::open_narrow_as(service.address, &path, Some(&offer)).await;
    let mut socket = socket.unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    for path in [format!("/subscriptions/{id}"), format!("/keys/{key_id}")] {
        assert_eq!(send(&service, &admin, "DELETE", &path, None).await.0, 204);
    }
    let (messages, closed) = socket.rest().await;
    // The first reason counts.
    assert_eq!((closed.code, &*closed.text), (4500, "deleted"));
    assert!(messages.len() < PAST, "{} events came", messages.len() - 1);
    service.stop().await;
}
