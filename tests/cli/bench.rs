//! `bench` against a real service.

use serde_json::Value;
use tidegate::config::Auth;

use super::{
    process::{Outcome, Running, finish, tidegate},
    support::{Service, admin_key},
};

fn command(service: &Service, arguments: &[&str]) -> std::process::Command {
    let mut command = tidegate(&[&["bench"], arguments].concat());
    command.env("TIDEGATE_SERVER", format!("http://{}", service.address));
    command
}

fn bench(service: &Service, arguments: &[&str]) -> Outcome {
    finish(&mut command(service, arguments), "")
}

fn figures(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Asserts that a run left no subscription behind.
async fn check_clean(service: &Service) {
    let left = service.get("/subscriptions?count=true").await;
    assert_eq!(left["total"], 0, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_counted_and_nothing_is_left() {
    let service = Service::start().await;
    let arguments = [
        "--connections=30",
        "--subscriptions=10",
        "--match=0.2",
        "--rate=50",
        "--duration=1s",
        "--payload=100",
        "--json",
    ];
    let figures = figures(&bench(&service, &arguments));
    let accepted = figures["events"]["accepted"].as_u64().unwrap();
    assert!(accepted > 0, "{figures}");
    // Each event goes to a fifth of the thirty connections.
    assert_eq!(figures["messages"]["expected"], accepted * 6, "{figures}");
    assert_eq!(figures["messages"]["received"], accepted * 6, "{figures}");
    assert_eq!(figures["latencyMicros"]["samples"], accepted * 6);
    assert_eq!(figures["connections"]["opened"], 30);
    let stored = service.get("/events?type=tidegate.bench&limit=1").await;
    let data = stored["items"][0]["data"].to_string();
    assert_eq!(data.len(), 100, "{data}");
    check_clean(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_for_many_get_each_event_once() {
    let service = Service::start().await;
    let arguments = [
        "--connections=5",
        "--subscriptions=10",
        "--handles=6",
        "--match=0.2",
        "--rate=50",
        "--duration=1s",
        "--json",
    ];
    let figures = figures(&bench(&service, &arguments));
    let accepted = figures["events"]["accepted"].as_u64().unwrap();
    // Six subscriptions in a row are of all five groups.
    assert_eq!(figures["messages"]["expected"], accepted * 5, "{figures}");
    assert_eq!(figures["messages"]["received"], accepted * 5, "{figures}");
    assert_eq!(figures["handles"]["connected"], 30, "{figures}");
    check_clean(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_are_subscribed_no_faster_than_the_service_takes_them() {
    let service = Service::start_with(|config| {
        config.socket.items = 7;
        config.socket.subscribes_per_second = 50;
        config.socket.subscribe_burst = 10;
    })
    .await;
    let arguments = [
        "--connections=2",
        "--subscriptions=40",
        "--handles=40",
        "--rate=20",
        "--duration=500ms",
        "--json",
    ];
    let figures = figures(&bench(&service, &arguments));
    let accepted = figures["events"]["accepted"].as_u64().unwrap();
    assert_eq!(figures["handles"]["connected"], 80, "{figures}");
    assert_eq!(figures["messages"]["received"], accepted * 2, "{figures}");
    check_clean(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_handles_than_a_socket_may_have_are_a_shortfall_that_says_so() {
    let service = Service::start_with(|config| config.socket.handles = 3).await;
    let arguments = [
        "--connections=1",
        "--handles=4",
        "--rate=10",
        "--duration=300ms",
        "--json",
    ];
    let text = bench(&service, &arguments).stdout;
    assert!(
        text.contains("may have 3 handles (socket.handles)"),
        "{text}"
    );
    check_clean(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sockets_of_a_run_present_its_token() {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    let key = admin_key(&service.config);
    let arguments = ["--connections=3", "--rate=10", "--duration=300ms", "--json"];
    let mut command = command(&service, &arguments);
    command.env("TIDEGATE_TOKEN", &key);
    let figures = figures(&finish(&mut command, ""));
    let accepted = figures["events"]["accepted"].as_u64().unwrap();
    assert_eq!(figures["connections"]["opened"], 3, "{figures}");
    assert_eq!(figures["messages"]["received"], accepted * 3, "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_inserted_straight_into_the_database_are_counted_too() {
    let service = Service::start().await;
    let (uri, database) = (&service.config.mongodb_uri, &service.config.database);
    let arguments = [
        "--connections=3",
        "--rate=max",
        "--duration=300ms",
        "--mongodb-uri",
        uri,
        "--database",
        database,
        "--json",
    ];
    let figures = figures(&bench(&service, &arguments));
    let accepted = figures["events"]["accepted"].as_u64().unwrap();
    assert!(accepted >= 500, "{figures}");
    assert_eq!(figures["messages"]["received"], accepted * 3, "{figures}");
    check_clean(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_reached_is_said() {
    let service = Service::start_with(|config| config.limits.connections = 4).await;
    let arguments = ["--connections=6", "--rate=10", "--duration=200ms"];
    let outcome = bench(&service, &arguments);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("connections could not be opened"),
        "{}",
        outcome.stdout
    );
    check_clean(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_reports_and_leaves_nothing() {
    let service = Service::start().await;
    let arguments = ["--connections=5", "--duration=1h", "--json"];
    let running = Running::start(&mut command(&service, &arguments));
    service
        .until("publishing", async || {
            let events = service.get("/events?limit=1").await;
            !events["items"].as_array().unwrap().is_empty()
        })
        .await;
    running.signal("INT");
    let figures: Value = serde_json::from_str(&running.says("notReached")).unwrap();
    assert!(figures["messages"]["received"].as_u64().unwrap() > 0);
    assert!(figures["notReached"].to_string().contains("interrupted"));
    assert_eq!(running.end(), Some(0));
    check_clean(&service).await;
}

#[test]
fn a_plan_that_makes_no_sense_is_wrong_usage() {
    for (arguments, text) in [
        (&["--match=2"][..], "share"),
        (&["--rate=0"], "rate"),
        (&["--payload=10"], "payload"),
        (&["--payload=100000", "--batch=10000"], "payload"),
        (&["--server=https://example.com"], "TLS"),
    ] {
        let arguments = [&["bench"], arguments].concat();
        let outcome = finish(&mut tidegate(&arguments), "");
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(text), "{}", outcome.stderr);
    }
}
