//! `listen` against a real service.

use serde_json::{Value, json};

use super::{
    process::{Running, tidegate},
    support::Service,
};

fn listen(server: &str, arguments: &[&str]) -> Running {
    let mut command = tidegate(&[&["listen"], arguments].concat());
    Running::start(command.env("TIDEGATE_SERVER", server))
}

fn server(service: &Service) -> String {
    format!("http://{}", service.address)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_lines_of_json_and_a_count_ends_it() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "t"})).await;
    let listening = listen(&server(&service), &[&id, "--count", "2"]);
    listening.notes("connected");
    for n in 1..=2 {
        service.publish("other", json!(0)).await;
        service.publish("t", json!({"n": n})).await;
    }
    for n in 1..=2 {
        let event: Value = serde_json::from_str(&listening.says("")).unwrap();
        assert_eq!(
            (&event["type"], &event["data"]),
            (&json!("t"), &json!({"n": n}))
        );
    }
    assert_eq!(listening.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_can_be_had_and_a_deleted_subscription_ends_it_with_1() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let listening = listen(&server(&service), &[&id, "--json"]);
    let frame = |kind: &str| -> Value {
        let frame: Value = serde_json::from_str(&listening.says("")).unwrap();
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    };
    assert_eq!(frame("connected")["subscription"]["id"], id.as_str());
    service.publish("t", json!(1)).await;
    assert_eq!(frame("event")["event"]["data"], 1);
    let path = format!("/subscriptions/{id}");
    service
        .send("PATCH", &path, Some(json!({"status": "paused"})))
        .await;
    assert_eq!(frame("updated")["subscription"]["status"], "paused");
    listening.notes("updated: paused");
    service.send("DELETE", &path, None).await;
    assert_eq!(frame("ended")["reason"], "deleted");
    listening.notes("closed: deleted (4500)");
    assert_eq!(listening.end(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_with_0_and_the_service_sees_it_leave() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    for name in ["INT", "TERM"] {
        let listening = listen(&server(&service), &[&id]);
        listening.notes("connected");
        listening.signal(name);
        assert_eq!(listening.end(), Some(0));
    }
    let left = "tidegate_connections_closed_total{reason=\"client_left\"}";
    service
        .until("both left", async || service.metric(left).await >= 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_ends_it_with_1() {
    let service = Service::start().await;
    let listening = listen(&server(&service), &["nobody"]);
    listening.notes("404");
    assert_eq!(listening.end(), Some(1));
    let id = service.subscribe(json!({})).await;
    let listening = listen(&server(&service), &[&id, "--after", "damaged"]);
    listening.notes("400");
    assert_eq!(listening.end(), Some(1));
}
