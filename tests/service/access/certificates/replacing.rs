//! The authority of clients' certificates, replaced while the node runs.

use std::fs;

use serde_json::json;
use tidegate::config::{Auth, Config};

use super::{
    client::{Ca, Client, Identity},
    settings,
};
use crate::{
    access::{send, subscribe},
    process::Process,
    support::{admin_key, database_name, shared_mongod},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_replaced_with_the_pair_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Ca::new("first"), Ca::new("second"));
    let tls = settings(folder.path(), &first);
    let config = Config {
        mongodb_uri: shared_mongod().await.uri(),
        database: database_name(),
        auth: Auth::Required,
        tls: tls.clone(),
        ..Config::default()
    };
    let files = format!(
        "export TIDEGATE_AUTH=required TIDEGATE_TLS__CERTIFICATE={} TIDEGATE_TLS__KEY={} TIDEGATE_TLS__CLIENT_CA={}",
        tls.certificate, tls.key, tls.client_ca
    );
    let process = Process::on(config.clone(), &files).await;
    let service = &process.service;
    let admin = admin_key(&config);
    let id = subscribe(service, &admin).await;
    let (one, other) = (first.certify("a", |_| {}), second.certify("b", |_| {}));
    for identity in [&one, &other] {
        let scopes = ["events:read", "subscriptions:read"];
        let body = json!({"scopes": scopes, "certificate": identity.fingerprint()});
        let (status, made) = send(service, &admin, "POST", "/keys", Some(body)).await;
        assert_eq!(status, 201, "{made}");
    }
    let is_let_in = async |identity: &Identity| {
        let Ok(mut client) = Client::connect(service, Some(identity)).await else {
            return false;
        };
        client
            .get("/api/v1/whoami", "")
            .await
            .is_ok_and(|(status, _)| status == 200)
    };
    let mut old = Client::connect(service, Some(&one)).await.unwrap();
    let opened = Client::socket(service, &one, &id, None).await;
    let mut socket = opened.unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    assert!(is_let_in(&one).await && !is_let_in(&other).await);
    fs::write(&tls.client_ca, "nonsense").unwrap();
    process.signal("HUP").await;
    let refused = async || !process.logged(&["the old one stays"]).is_empty();
    service.until("the new file is refused", refused).await;
    let refusal = process.logged(&["the old one stays"]).remove(0);
    assert!(
        refusal.contains("tls.client_ca: the file has no certificate"),
        "{refusal}"
    );
    assert!(is_let_in(&one).await && !is_let_in(&other).await);
    fs::write(&tls.client_ca, second.pem()).unwrap();
    process.signal("HUP").await;
    let replaced = async || is_let_in(&other).await;
    service.until("the new authority counts", replaced).await;
    assert!(!is_let_in(&one).await);
    // Whoever is connected stays so, until the key goes.
    assert_eq!(old.get("/api/v1/whoami", "").await.unwrap().0, 200);
    let (_, keys) = send(service, &admin, "GET", "/keys", None).await;
    let keys = keys["items"].as_array().unwrap().iter();
    let key = keys
        .into_iter()
        .find(|key| key["certificate"] == one.fingerprint())
        .unwrap();
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(send(service, &admin, "DELETE", &path, None).await.0, 204);
    socket.assert_ends(4511, "forbidden").await;
    assert_eq!(old.get("/api/v1/whoami", "").await.unwrap().0, 401);
    process.signal("TERM").await;
    assert_eq!(process.end().await, Some(0));
}
