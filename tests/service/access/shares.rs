//! Shares of what a node has for all requests: none is all of one tenant's, however slow that is.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::{Value, json};
use tidegate::config::{Auth, Config, Quotas};

use super::{admin_key, make, send, store_policy};
use crate::{feed::failpoint::Failing, raw::Raw, support::Service};

const SCOPES: [&str; 3] = ["subscriptions:own", "events:publish", "events:read"];

fn guarded(config: &mut Config) {
    config.auth = Auth::Required;
    config.quotas = Quotas::NONE;
}

/// Returns a key of each of these tenants, which receive what names them.
async fn keys_of<const N: usize>(service: &Service, tenants: [&str; N]) -> [String; N] {
    let admin = admin_key(&service.config);
    let tenant = || doc! {"tenant": "$claims.tenant"};
    store_policy(
        service,
        "default",
        doc! {"read": tenant(), "stamp": tenant()},
    )
    .await;
    let mut keys = tenants.map(|_| String::new());
    for (key, tenant) in keys.iter_mut().zip(tenants) {
        let body = json!({"scopes": SCOPES, "tenant": tenant});
        *key = make(service, &admin, body).await.1;
    }
    keys
}

/// Waits until the node has refused bytes of a kind.
async fn some_are_refused(service: &Service, of: &str) {
    let admin = admin_key(&service.config);
    let name = format!("tidegate_http_held_refused_total{{of=\"{of}\",reason=\"overloaded\"}} ");
    let refused = async || {
        let url = format!("http://{}/metrics", service.address);
        let metrics = service.http.get(url).bearer_auth(&admin).send().await;
        let text = metrics.unwrap().text().await.unwrap();
        text.lines().any(|line| line.starts_with(&name))
    };
    service.until("some are refused", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_end_leave_room_for_those_of_other_tenants() {
    let service = Service::start_with(|config| {
        guarded(config);
        config.limits.reading_bytes = 1 << 20;
        config.limits.body_bytes = 128 << 10;
        config.limits.publish_body_bytes = 128 << 10;
    })
    .await;
    let [slow, other] = keys_of(&service, ["slow", "other"]).await;
    let mut unfinished = Vec::new();
    for _ in 0..12 {
        let head = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {slow}\r\n\
             Content-Type: application/json\r\nContent-Length: 110000\r\n\r\n"
        );
        let mut raw = Raw::dial(service.address).await;
        raw.send(head.as_bytes()).await;
        raw.send(&vec![b' '; 100_000]).await;
        unfinished.push(raw);
    }
    some_are_refused(&service, "bodies").await;
    let event = json!({"type": "a", "data": "x".repeat(90_000)});
    for (key, status) in [(&slow, 503), (&other, 202)] {
        let (found, problem) = send(&service, key, "POST", "/events", Some(event.clone())).await;
        assert_eq!(found, status, "{problem}");
    }
    // What is small has a part of its own.
    let small = json!({"type": "a"});
    let (status, problem) = send(&service, &slow, "POST", "/events", Some(small)).await;
    assert_eq!(status, 202, "{problem}");
    drop(unfinished);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_leave_room_for_those_of_other_tenants() {
    let service = Service::start_with(|config| {
        guarded(config);
        config.limits.answering_bytes = 1 << 20;
        config.limits.page_bytes = 128 << 10;
        config.socket.send_buffer_bytes = 4 << 10;
    })
    .await;
    let keys = keys_of(&service, ["slow", "other"]).await;
    let list = "/subscriptions";
    for key in &keys {
        for _ in 0..8 {
            let metadata = json!({"text": "x".repeat(14_000)});
            let body = json!({"filter": {}, "metadata": metadata});
            let (status, made) = send(&service, key, "POST", list, Some(body)).await;
            assert_eq!(status, 201, "{made}");
        }
    }
    let [slow, other] = keys;
    let request = format!(
        "GET /api/v1{list} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {slow}\r\n\r\n"
    );
    let mut unread = Vec::new();
    for _ in 0..12 {
        let mut raw = Raw::dial_narrow(service.address).await;
        raw.send(request.as_bytes()).await;
        unread.push(raw);
    }
    some_are_refused(&service, "answers").await;
    let (status, page) = send(&service, &other, "GET", list, None).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(page["items"].as_array().unwrap().len(), 8);
    assert_eq!(send(&service, &slow, "GET", "/whoami", None).await.0, 200);
    drop(unread);
    service.stop().await;
}

/// Whether the server searches the events for those of a tenant now.
async fn is_searched_for(service: &Service, tenant: &str) -> bool {
    let admin = service.database.client().database("admin");
    let events = format!("{}.events", service.config.database);
    let asked = doc! {"currentOp": 1, "ns": events, "op": "query"};
    let found = admin.run_command(asked).await.unwrap();
    let names = |operation: &Document| {
        let command = operation.get_document("command");
        command.is_ok_and(|command| command.to_string().contains(tenant))
    };
    let operations = found.get_array("inprog").unwrap().iter();
    operations.filter_map(bson::Bson::as_document).any(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_without_end_leave_one_for_other_tenants() {
    let failing = Failing::start().await;
    let mut config = failing.service.config.clone();
    guarded(&mut config);
    config.limits.searches = 2;
    config.limits.database_timeout = Duration::from_mins(1);
    config.limits.search_timeout = Duration::from_mins(1);
    let service = Service::on(config).await;
    let [busy, other] = keys_of(&service, ["busy", "other"]).await;
    failing.hold_searches(true).await;
    let search = async |key: String| -> (u16, Value) {
        send(&service, &key, "GET", "/events?type=a", None).await
    };
    // Each client hangs up as soon as it has asked: the search goes on.
    let mut asked = Vec::new();
    for _ in 0..8 {
        let request = format!(
            "GET /api/v1/events?type=a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {busy}\r\n\r\n"
        );
        let mut raw = Raw::dial(service.address).await;
        raw.send(request.as_bytes()).await;
        asked.push(raw);
    }
    let held_up = async || is_searched_for(&service, "busy").await;
    service.until("the busy one's are at work", held_up).await;
    drop(asked);
    let mut its = Box::pin(search(other));
    let at_work = async {
        let at_work = async || is_searched_for(&service, "other").await;
        service.until("the other's is at work", at_work).await;
    };
    tokio::select! {
        () = at_work => {}
        (status, problem) = &mut its => panic!("it was answered: {status} {problem}"),
    }
    failing.hold_searches(false).await;
    let (status, page) = its.await;
    assert_eq!(status, 200, "{page}");
    service.stop().await;
    failing.stop().await;
}
