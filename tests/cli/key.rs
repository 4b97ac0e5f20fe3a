//! `key` on a real database.

use std::fs;

use bson::{Document, doc};
use data_encoding::HEXLOWER;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    process::{Outcome, finish, tidegate},
    support::{Service, database_name, shared_mongod},
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

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_a_certificate_is_made_from_its_file_and_has_no_text() {
    let uri = shared_mongod().await.uri();
    let database = database_name();
    let key = |arguments: &[&str]| -> Outcome {
        let mut command = tidegate(&[&["key"], arguments, &["--database", &database]].concat());
        finish(command.env("TIDEGATE_MONGODB_URI", &uri), "")
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let certify = |year: i32| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["shop".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        (params.self_signed(&key).unwrap(), key.serialize_pem())
    };
    let ((good, private), (chain, _), (expired, _)) = (certify(2999), certify(2999), certify(2020));
    // The client's own comes first, whatever else is in the file.
    let text = format!("{private}{}{}", good.pem(), chain.pem());
    fs::write(path("good.pem"), text).unwrap();
    fs::write(path("chain.pem"), chain.pem()).unwrap();
    fs::write(path("expired.pem"), expired.pem()).unwrap();
    fs::write(path("key.pem"), &private).unwrap();
    let create = |file: &str, more: &[&str]| {
        let file = path(file);
        let create = ["create", "--scope", "events:read", "--certificate", &file];
        key(&[&create, more].concat())
    };
    for (file, told) in [
        ("none.pem", "No such file"),
        ("key.pem", "the file has no certificate"),
        ("expired.pem", "the certificate has expired"),
    ] {
        let refused = create(file, &[]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
        assert!(refused.stderr.contains(file), "{refused:?}");
        assert!(!refused.stderr.contains("PRIVATE"), "{refused:?}");
    }
    let made = create("good.pem", &["--json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let shown: Value = serde_json::from_str(&made.stdout).unwrap();
    let fingerprint = HEXLOWER.encode(&Sha256::digest(good.der()));
    assert_eq!(shown["certificate"], *fingerprint, "{shown}");
    assert_eq!(shown["key"], Value::Null, "{shown}");
    let again = create("good.pem", &[]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(
        again.stderr.contains("another key is for this certificate"),
        "{again:?}"
    );
    let other = create("chain.pem", &[]);
    assert_eq!((other.code, &*other.stdout), (Some(0), ""), "{other:?}");
    assert!(other.stderr.contains("made key_"), "{other:?}");
    let listed = key(&["list", "--json"]);
    let keys: Vec<Value> = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    let first = keys.iter().find(|key| key["id"] == shown["id"]).unwrap();
    let told = (
        &first["certificate"],
        &first["prefix"],
        &first["state"],
        &first["lastUsedAt"],
    );
    let null = Value::Null;
    assert_eq!(
        told,
        (&shown["certificate"], &null, &Value::from("sound"), &null)
    );
}
