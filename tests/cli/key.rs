//! `key` on a real database.

use std::fs;

use bson::{Bson, Document, doc};
use data_encoding::HEXLOWER;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tidegate::config::Auth;

use super::{
    process::{Outcome, finish, run, tidegate},
    support::{Service, admin_key, database_name, shared_mongod},
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

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_through_a_service_by_whoever_may() {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    let admin = admin_key(&service.config);
    let server = format!("http://{}", service.address);
    let key = |token: &str, arguments: &[&str]| -> Outcome {
        let mut command = tidegate(&[&["key"], arguments, &["--server", &server]].concat());
        // The database is not asked.
        command
            .env("TIDEGATE_TOKEN", token)
            .env("TIDEGATE_MONGODB_URI", "mongodb://127.0.0.1:1");
        finish(&mut command, "")
    };
    let create = ["create", "--scope", "keys:write", "--tenant", "acme"];
    let more = [
        "--scope",
        "events:read",
        "--name",
        "partner",
        "--claim",
        "region=eu",
        "--network",
        "127.0.0.0/8",
        "--subscription",
        "acme:one",
        "--limit",
        "connections=5",
        "--expires-in",
        "1h",
        "--json",
    ];
    let made = key(&admin, &[&create[..], &more].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!(made["certificate"], Value::Null, "{made}");
    let (id, partner) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let keys = service.database.collection::<Document>("keys");
    let stored = keys.find_one(doc! {"_id": id}).await.unwrap().unwrap();
    for (field, expected) in [
        ("scopes", Bson::from(vec!["events:read", "keys:write"])),
        ("tenant", "acme".into()),
        ("name", "partner".into()),
        ("claims", doc! {"region": "eu"}.into()),
        ("networks", vec!["127.0.0.0/8"].into()),
        ("subscriptions", vec!["acme:one"].into()),
        ("limits", doc! {"connections": 5_i64}.into()),
    ] {
        assert_eq!(stored.get(field), Some(&expected), "{stored}");
    }
    assert!(stored.get_datetime("expiresAt").is_ok(), "{stored}");

    // The service decides what the caller may, and whose keys it sees.
    let refused = key(partner, &["create", "--scope", "metrics"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("metrics"), "{refused:?}");
    let listed = key(partner, &["list", "--json"]);
    let ids: Vec<Value> = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, [id], "{listed:?}");
    let listed = key(&admin, &["list"]);
    assert_eq!(listed.stdout.lines().count(), 2, "{listed:?}");
    assert!(listed.stdout.contains("(operator)"), "{listed:?}");
    let of_acme = key(&admin, &["list", "--tenant", "acme"]);
    assert!(of_acme.stdout.starts_with(id), "{of_acme:?}");
    assert!(of_acme.stdout.contains("  acme  "), "{of_acme:?}");

    assert_eq!(key(&admin, &["delete", id]).code, Some(0));
    let gone = key(&admin, &["delete", id]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains(id), "{gone:?}");
    let revoked = key(partner, &["list"]);
    assert_eq!(
        (revoked.code, &*revoked.stdout),
        (Some(1), ""),
        "{revoked:?}"
    );
    service.stop().await;
}

#[test]
fn a_key_is_made_in_one_place() {
    let create = ["key", "create", "--scope", "metrics"];
    for more in [
        &["--server", "http://127.0.0.1:1", "--database", "d"][..],
        &["--token-file", "key.txt"],
        &["--server", "nowhere"],
    ] {
        let refused = run(&[&create[..], more].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
    // No variable names the place.
    let mut command = tidegate(&create);
    command
        .env("TIDEGATE_SERVER", "http://127.0.0.1:1")
        .env("TIDEGATE_MONGODB_URI", "nonsense");
    let refused = finish(&mut command, "");
    assert_eq!(refused.code, Some(64), "{refused:?}");
}
