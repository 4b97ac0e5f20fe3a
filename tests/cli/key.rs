//! `key` on a database.

use std::fs;

use data_encoding::HEXLOWER;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    process::{Outcome, finish, tidegate},
    support::{database_name, shared_mongod},
};

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
