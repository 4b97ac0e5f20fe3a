//! `subscription …` against a real service.

use serde_json::{Value, json};

use super::{
    process::{Outcome, finish, tidegate},
    support::Service,
};

/// Runs `tidegate subscription …` on a service.
fn subscription(service: &Service, arguments: &[&str]) -> Outcome {
    let mut command = tidegate(&[&["subscription"], arguments].concat());
    command.env("TIDEGATE_SERVER", format!("http://{}", service.address));
    finish(&mut command, r#"{"from": "stdin"}"#)
}

/// Runs the same, and parses its output as JSON.
fn subscription_json(service: &Service, arguments: &[&str]) -> Vec<Value> {
    let outcome = subscription(service, &[arguments, &["--json"]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let lines = outcome.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_acts_on_another_id_than_it_was_given() {
    let service = Service::start().await;
    for id in ["nb", "a/b?c#d%2e", "..."] {
        let created = &subscription_json(&service, &["create", "--id", id, "--filter", "{}"])[0];
        assert_eq!(created["id"], id);
        assert_eq!(subscription_json(&service, &["get", id])[0]["id"], id);
    }
    for id in ["n\nb", "n\tb", "nb\r", "\u{9b}nb", ".", "..", ""] {
        for command in [
            &["get", id][..],
            &["update", id, "--name", "x"],
            &["delete", id],
            &["explain", id, "--event", "{}"],
            &["create", "--filter", "{}", "--id", id],
        ] {
            let mut command = tidegate(&[&["subscription"], command].concat());
            command.env("TIDEGATE_SERVER", format!("http://{}", service.address));
            let outcome = finish(&mut command, "");
            assert_eq!(outcome.code, Some(2), "{command:?}: {}", outcome.stderr);
        }
    }
    let nb = service.get("/subscriptions/nb").await;
    assert_eq!((&nb["name"], &nb["revision"]), (&Value::Null, &json!(1)));
    service.stop().await;
}

/// Whether a character drives a terminal: controls but line feeds, line separators, marks of direction.
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    turns || (c != '\n' && c.is_control())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_stored_steers_no_terminal() {
    const FOREIGN: &str = "a\nID  forged\u{1b}[2J\u{9b}\u{7f}\u{202e}";
    let service = Service::start().await;
    let stored = bson::doc! {"_id": "odd", "filter": {FOREIGN: FOREIGN}, "name": FOREIGN, "owner": FOREIGN,
    "metadata": {FOREIGN: FOREIGN}, "status": FOREIGN, FOREIGN: 1};
    let collection = service
        .database
        .collection::<bson::Document>("subscriptions");
    let refused = collection.insert_one(&stored).await;
    let mut stored = stored;
    if refused.is_err() {
        stored.remove("status");
        collection.insert_one(&stored).await.unwrap();
    }
    let known = async || service.status("/subscriptions/odd").await == 200;
    service.until("known", known).await;
    for command in [
        &["list"][..],
        &["list", "--json"],
        &["get", "odd"],
        &["get", "odd", "--json"],
        &["update", "odd", "--name", FOREIGN],
        &["explain", "odd", "--event", "{}"],
        &["create", "--filter", "{\"$\u{9b}x\": 1}"],
    ] {
        let outcome = subscription(&service, command);
        for said in [&outcome.stdout, &outcome.stderr] {
            assert!(!said.contains(steers), "{command:?}: {said:?}");
            assert!(
                !said.lines().any(|line| line.starts_with("ID  forged")),
                "{said}"
            );
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_can_be_created_read_changed_and_deleted() {
    let service = Service::start().await;
    let created = &subscription_json(
        &service,
        &[
            "create",
            "--name",
            "n",
            "--filter",
            r#"{"a": {"$gt": 1}}"#,
            "--durable",
            "--owner",
            "o",
            "--metadata",
            r#"{"k": 1}"#,
            "--expires-at",
            "2h",
        ],
    )[0];
    assert_eq!(created["filter"], json!({"a": {"$gt": 1}}));
    assert_eq!(
        (&created["name"], &created["owner"]),
        (&json!("n"), &json!("o"))
    );
    assert_eq!(
        (&created["durable"], &created["metadata"]),
        (&json!(true), &json!({"k": 1}))
    );
    assert!(created["expiresAt"].is_string());
    let id = created["id"].as_str().unwrap();
    // A durable one also shows its client's position.
    let got = &subscription_json(&service, &["get", id])[0];
    assert!(got["position"].is_string(), "{got}");
    for (field, value) in created.as_object().unwrap() {
        assert_eq!(&got[field], value, "{field}");
    }

    let updated = &subscription_json(
        &service,
        &[
            "update",
            id,
            "--status",
            "paused",
            "--filter",
            "-",
            "--unset",
            "name,expires-at",
        ],
    )[0];
    assert_eq!(updated["filter"], json!({"from": "stdin"}));
    assert_eq!(
        (&updated["status"], &updated["owner"]),
        (&json!("paused"), &json!("o"))
    );
    assert_eq!(
        (&updated["name"], &updated["expiresAt"]),
        (&Value::Null, &Value::Null)
    );

    assert_eq!(subscription(&service, &["delete", id]).code, Some(0));
    let again = subscription(&service, &["delete", id]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("404"), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_the_callers_is_created_and_replaced() {
    let service = Service::start().await;
    let odd = "a b/ü?#%2F";
    for said in ["created", "replaced"] {
        let outcome = subscription(
            &service,
            &["create", "--id", odd, "--filter", "{}", "--name", said],
        );
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
    let found = &subscription_json(&service, &["get", odd])[0];
    assert_eq!(
        (&found["id"], &found["name"]),
        (&json!(odd), &json!("replaced"))
    );
    assert_eq!(subscription(&service, &["delete", odd]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_through_all_pages_and_stops_at_its_limit() {
    let service = Service::start().await;
    let batch: Vec<_> = (0..250)
        .map(|n| json!({"filter": {}, "name": format!("n{n}")}))
        .collect();
    service.post("/subscriptions/batch", batch.into()).await;
    let all = subscription_json(&service, &["list"]);
    let ids: std::collections::BTreeSet<_> = all.iter().map(|one| one["id"].as_str()).collect();
    assert_eq!((all.len(), ids.len()), (250, 250));
    assert_eq!(
        subscription_json(&service, &["list", "--limit", "120"]).len(),
        120
    );
    assert_eq!(
        subscription_json(&service, &["list", "--name", "n7"])[0]["name"],
        "n7"
    );
    assert_eq!(
        subscription_json(&service, &["list", "--status", "paused"]),
        Vec::<Value>::new()
    );
    let table = subscription(&service, &["list"]).stdout;
    assert_eq!(table.lines().count(), 251);
    assert!(table.starts_with("ID "), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_each_place_and_a_warning_is_told() {
    let service = Service::start().await;
    let refused = subscription(
        &service,
        &[
            "create",
            "--filter",
            r#"{"a": {"$foo": 1}, "b": {"$bar": 1}}"#,
        ],
    );
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused.stderr.contains("#/filter/a/$foo: "),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("422"), "{}", refused.stderr);
    let warned = subscription(
        &service,
        &["create", "--filter", r#"{"type": {"$in": []}}"#],
    );
    assert_eq!(warned.code, Some(0));
    assert!(
        warned.stderr.contains("warning: #/filter"),
        "{}",
        warned.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_misspelt_is_told_with_the_subscription_invalid_or_not() {
    let service = Service::start().await;
    let collection = service
        .database
        .collection::<bson::Document>("subscriptions");
    for (id, filter) in [
        ("well", bson::doc! {}),
        ("ill", bson::doc! {"a": {"$no": 1}}),
    ] {
        let stored = bson::doc! {"_id": id, "filter": filter, "staus": "paused"};
        collection.insert_one(stored).await.unwrap();
        let path = format!("/subscriptions/{id}");
        let known = async || service.status(&path).await == 200;
        service.until("known", known).await;
        let shown = subscription(&service, &["get", id]);
        assert!(
            shown.stderr.contains("warning: #/staus: "),
            "{}",
            shown.stderr
        );
        assert_eq!(
            shown.stdout.contains("invalid"),
            id == "ill",
            "{}",
            shown.stdout
        );
    }
    let none = subscription(&service, &["get", "typo"]);
    assert_eq!(
        none.stderr.matches("there is no").count(),
        1,
        "{}",
        none.stderr
    );
    assert_eq!(none.stderr.lines().count(), 1, "{}", none.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_explained_for_people_and_for_programs() {
    let service = Service::start().await;
    let id = service
        .subscribe(json!({"type": "t", "data.n": {"$gte": 5}}))
        .await;
    let event = r#"{"type": "t", "data": {"n": 3}}"#;
    let told = subscription(&service, &["explain", &id, "--event", event]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(
        told.stdout,
        "does not match\n✓ type  saw \"t\"\n✗ data.n $gte  saw 3\n"
    );
    let answer = &subscription_json(&service, &["explain", &id, "--event", "-"])[0];
    assert_eq!(answer["matches"], false, "standard input has another event");
    let unknown = subscription(&service, &["explain", "nobody", "--event", event]);
    assert_eq!(unknown.code, Some(1));
    let wrong = subscription(&service, &["explain", &id, "--event", "[]"]);
    assert_eq!(wrong.code, Some(2));
}
