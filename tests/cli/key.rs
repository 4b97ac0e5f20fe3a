//! `key` on a real database.

use bson::{Document, doc};
use serde_json::{Value, json};

use super::{
    process::{Outcome, finish, tidegate},
    support::Service,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_the_limits_that_it_is_made_with() {
    let service = Service::start().await;
    let key = |arguments: &[&str]| -> Outcome {
        let mut command = tidegate(&[&["key"], arguments].concat());
        command
            .args(["--database", &service.config.database])
            .env("TIDEGATE_MONGODB_URI", &service.config.mongodb_uri);
        finish(&mut command, "")
    };
    let create = ["create", "--scope", "events:publish", "--tenant", "acme"];
    let limits = [
        "--limit",
        "publish_per_second=50",
        "--limit",
        "subscriptions=0",
    ];
    let made = key(&[&create[..], &limits, &["--json"]].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let id = made["id"].as_str().unwrap();
    let keys = service.database.collection::<Document>("keys");
    let stored = keys.find_one(doc! {"_id": id}).await.unwrap().unwrap();
    let limits = doc! {"subscriptions": 0_i64, "publish_per_second": 50_i64};
    assert_eq!(stored.get_document("limits").unwrap(), &limits);

    assert_eq!(key(&create).code, Some(0));
    let listed = key(&["list", "--tenant", "acme", "--json"]);
    let listed = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    for shown in listed.collect::<Vec<Value>>() {
        let limits = if shown["id"] == id {
            json!({"subscriptions": 0, "publish_per_second": 50})
        } else {
            json!({})
        };
        assert_eq!(shown["limits"], limits, "{shown}");
    }
    for (limit, words) in [
        ("publish=50", "the quotas are subscriptions"),
        ("connections", "QUOTA=NUMBER"),
        ("connections=-1", "a whole number from 0 to 1000000000"),
        (
            "requests_per_second=1000001",
            "a whole number from 0 to 1000000",
        ),
    ] {
        let refused = key(&[&create[..], &["--limit", limit]].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert_eq!(
        keys.count_documents(doc! {"tenant": "acme"}).await.unwrap(),
        2
    );
    service.stop().await;
}
