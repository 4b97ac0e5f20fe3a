//! `listen` against a real service.

use serde_json::{Value, json};
use tidegate::config::Auth;

use super::{
    process::{Running, finish, tidegate},
    support::Service,
};

pub(crate) fn listen(server: &str, arguments: &[&str]) -> Running {
    let mut command = tidegate(&[&["listen"], arguments].concat());
    Running::start(command.env("TIDEGATE_SERVER", server))
}

pub(crate) fn server(service: &Service) -> String {
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
async fn every_frame_can_be_had_and_a_deleted_subscription_ends_it_with_3() {
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
    listening.notes("ended: deleted");
    assert_eq!(listening.notes_left(), Vec::<String>::new());
    assert_eq!(listening.end(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_subscriptions_and_a_filter_come_over_one_socket() {
    let service = Service::start().await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let both = service
        .subscribe(json!({"type": {"$in": ["a", "b"]}}))
        .await;
    let filter = json!({"type": "c"}).to_string();
    let arguments = [&*a, &both, "nobody", "--filter", &filter, "--count", "3"];
    let listening = listen(&server(&service), &arguments);
    let told: Vec<String> = (0..4).map(|_| listening.notes("")).collect();
    let count = |text: &str| told.iter().filter(|line| line.contains(text)).count();
    assert_eq!(
        (count("connected to"), count("nobody is refused")),
        (3, 1),
        "{told:?}"
    );
    assert!((service.metric("tidegate_connections").await - 1.0).abs() < 0.5);
    for kind in ["a", "b", "c"] {
        service.publish(kind, json!(kind)).await;
    }
    // Each comes once.
    for kind in ["a", "b", "c"] {
        let event: Value = serde_json::from_str(&listening.says("")).unwrap();
        assert_eq!(event["type"], kind);
    }
    assert_eq!(listening.end(), Some(0));
    let listening = listen(&server(&service), &["nobody", "none"]);
    assert_eq!(listening.end(), Some(3));
    let listening = listen(&server(&service), &["--filter", r#"{"$x": 1}"#]);
    listening.notes("filter");
    assert_eq!(listening.end(), Some(1));
    let listening = listen(&server(&service), &[&a, &both, "--state", "file"]);
    assert_eq!(listening.end(), Some(2));
    let listening = listen(&server(&service), &[&a, &both]);
    for _ in 0..2 {
        listening.notes("connected to");
    }
    for id in [&a, &both] {
        let path = format!("/subscriptions/{id}");
        assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    }
    assert_eq!(listening.end(), Some(3));
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
async fn what_is_not_there_ends_it_with_3_and_what_is_refused_with_1() {
    let service = Service::start().await;
    let listening = listen(&server(&service), &["nobody"]);
    listening.notes("404");
    assert_eq!(listening.end(), Some(3));
    let id = service.subscribe(json!({})).await;
    let listening = listen(&server(&service), &[&id, "--after", "damaged"]);
    listening.notes("400");
    assert_eq!(listening.end(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_ago_is_a_time_to_begin_at() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    service.publish("t", json!({"n": 1})).await;
    let listening = listen(
        &server(&service),
        &[&id, "--count", "1", "--since", "2h30m"],
    );
    let event: Value = serde_json::from_str(&listening.says("")).unwrap();
    assert_eq!(event["data"]["n"], 1);
    assert_eq!(listening.end(), Some(0));
    let listening = listen(&server(&service), &[&id, "--since", "2h30m"]);
    let told = listening.notes_until("delivery begins with it");
    assert!(
        !told.iter().any(|line| line.contains("warning")),
        "{told:?}"
    );
    let refused = listen(&server(&service), &[&id, "--since", "yesterday"]);
    refused.notes("RFC 3339");
    assert_eq!(refused.end(), Some(1));
}

/// Runs `listen` with a state file until it has printed one event. Returns its `n`.
fn one_more(service: &Service, id: &str, state: &str) -> i64 {
    let arguments = [
        id,
        "--count",
        "1",
        "--state",
        state,
        "--since",
        "1970-01-01T00:00:00Z",
    ];
    let listening = listen(&server(service), &arguments);
    let event: Value = serde_json::from_str(&listening.says("")).unwrap();
    assert_eq!(listening.end(), Some(0));
    event["data"]["n"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_keeps_the_place_across_runs() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "t"})).await;
    for n in 0..3 {
        service.publish("t", json!({"n": n})).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let state = path.to_str().unwrap();
    // Once the file exists, it wins over --since.
    for n in 0..3 {
        assert_eq!(one_more(&service, &id, state), n);
    }
    let kept = std::fs::read(&path).unwrap();

    // A signal while nothing happens keeps the position too.
    let listening = listen(&server(&service), &[&id, "--state", state]);
    listening.notes("connected");
    service.publish("t", json!({"n": 3})).await;
    listening.says("\"n\":3");
    listening.signal("INT");
    assert_eq!(listening.end(), Some(0));
    assert_ne!(std::fs::read(&path).unwrap(), kept);
    service.publish("t", json!({"n": 4})).await;
    assert_eq!(one_more(&service, &id, state), 4);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "no temporary file is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_may_repeat_and_leaves_nothing_out() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "t"})).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let state = path.to_str().unwrap();
    let arguments = [&*id, "--state", state, "--since", "1970-01-01T00:00:00Z"];
    let (mut expected, mut published) = (0, 0);
    for round in 0..6 {
        let listening = listen(&server(&service), &arguments);
        listening.notes("connected");
        for _ in 0..20 {
            service.publish("t", json!({"n": published})).await;
            published += 1;
        }
        // Each round is killed at another point.
        let mut take = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            let n = event["data"]["n"].as_i64().unwrap();
            assert!(
                n <= expected,
                "round {round}: {expected} is missing before {n}"
            );
            expected = expected.max(n + 1);
            expected
        };
        while take(&listening.says("")) < published - 3 * round {}
        for line in listening.kill() {
            take(&line);
        }
    }
    while expected < published {
        let n = one_more(&service, &id, state);
        assert!(n <= expected, "{expected} is missing before {n}");
        expected = expected.max(n + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_cannot_be_used_is_an_error_that_says_why() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let state = path.to_str().unwrap();
    let check = |expected: &str| {
        let listening = listen(&server(&service), &[&id, "--state", state]);
        listening.notes(expected);
        assert_eq!(listening.end(), Some(1));
    };
    std::fs::write(&path, "{\"subscr").unwrap();
    check("cannot be used: it is damaged");
    let other = json!({"subscription": "other", "cursor": "x"}).to_string();
    std::fs::write(&path, other).unwrap();
    check("cannot be used: it belongs to the subscription other");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    check("cannot be used: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_come_back_before_the_time_that_the_service_asks_for() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let listening = listen(&server(&service), &[&id, "--json"]);
    listening.says("connected");
    service.begin_stop();
    let ended: Value = serde_json::from_str(&listening.says("ended")).unwrap();
    let asked = ended["retryAfterMs"].as_f64().unwrap() / 1_000.0;
    let line = listening.notes("closed: shutdown (1001); trying again in ");
    let words: Vec<_> = line.split_whitespace().collect();
    let waits = words[words.len() - 2].parse::<f64>().unwrap();
    // The printed time is rounded.
    assert!(waits > asked - 0.06, "{waits} s, {asked} s were asked for");
    listening.signal("INT");
    assert_eq!(listening.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_answered_by_what_the_file_holds_then() {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    let subscriptions = service.database.collection("subscriptions");
    let document = bson::doc! {"_id": "a", "filter": {}};
    subscriptions.insert_one(document).await.unwrap();
    let mut create = tidegate(&["key", "create", "--expires-in", "29s"]);
    create
        .args(["--scope", "events:read", "--scope", "subscriptions:read"])
        .args(["--database", &service.config.database])
        .env("TIDEGATE_MONGODB_URI", &service.config.mongodb_uri);
    let made = finish(&mut create, "");
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &made.stdout).unwrap();
    let path = file.path().to_str().unwrap();
    let listening = listen(&server(&service), &["a", "--json", "--token-file", path]);
    for kind in ["connected", "expiring", "refreshed"] {
        let frame: Value = serde_json::from_str(&listening.says("")).unwrap();
        assert_eq!(frame["type"], kind, "{frame}");
    }
    listening.notes("the credential ends at");
    listening.notes("the credential was refreshed");
    listening.signal("INT");
    assert_eq!(listening.end(), Some(0));
}
