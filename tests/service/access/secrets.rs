//! Secrets: none of those that a node was given is in anything that it says.

use std::fs;

use bson::{Document, doc};
use data_encoding::BASE64URL_NOPAD;
use futures_util::TryStreamExt as _;
use ring::hmac;
use serde_json::{Value, json};

use super::{make, open, refusal, send};
use crate::{
    process::Process,
    support::{Service, Socket, admin_key, database_name, shared_mongod},
};
use tidegate::config::Config;

const ISSUER: &str = "https://id.example.com/";
const SHARED_SECRET: &[u8] = b"a secret of forty bytes, shared with us.";

/// Makes a token as an issuer does that shares a secret.
fn token(secret: &[u8], subject: &str) -> String {
    let header = json!({"alg": "HS256", "typ": "at+jwt"}).to_string();
    let end = 4_000_000_000_u64;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = json!({"iss": ISSUER, "aud": "feed", "sub": subject, "tenant": "acme", "iat": now,
        "exp": if subject == "late" { end } else { now + 600 }, "scope": "events:read subscriptions:own"});
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = BASE64URL_NOPAD.encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}

/// All that a node was given, and what it said.
struct Said {
    secrets: Vec<String>,
    texts: Vec<(String, String)>,
}

impl Said {
    /// Notes a credential: neither all of it nor the part that proves it may be told.
    fn gave(&mut self, credential: &str) {
        self.secrets.push(credential.to_owned());
        let joint = if credential.contains('.') { '.' } else { '_' };
        let proof = credential.rsplit(joint).next().unwrap();
        self.secrets.push(proof.to_owned());
    }

    fn heard(&mut self, from: &str, text: &impl ToString) {
        self.texts.push((from.to_owned(), text.to_string()));
    }

    fn check(&self) {
        for secret in &self.secrets {
            assert!(secret.len() >= 8, "{secret}");
            for (from, text) in &self.texts {
                assert!(!text.contains(secret.as_str()), "{from} tells {secret}");
            }
        }
    }
}

/// Returns the settings of a node that logs all it can, and takes keys, and tokens of an issuer with this file.
fn settings(secret: &str) -> String {
    let issuer = [
        ("ISSUER", ISSUER),
        ("AUDIENCE", "feed"),
        ("SECRET_FILE", secret),
        ("ALGORITHMS", "HS256"),
        ("TENANT_CLAIM", "tenant"),
        ("SCOPES", "events:read,subscriptions:own"),
    ]
    .map(|(name, value)| format!("export TIDEGATE_ISSUERS__MAIN__{name}='{value}'"))
    .join("\n");
    format!("export TIDEGATE_AUTH=required TIDEGATE_LOG=trace\n{issuer}")
}

/// Presents a credential at every kind of place, and notes the answers.
async fn present(service: &Service, credential: &str, said: &mut Said) {
    said.gave(credential);
    for (method, path, body) in [
        ("GET", "/whoami", None),
        ("GET", "/health", None),
        ("GET", "/subscriptions", None),
        (
            "POST",
            "/subscriptions",
            Some(json!({"filter": {"$foo": 1}})),
        ),
        ("GET", "/events/none", None),
        ("GET", "/nowhere", None),
        ("POST", "/keys", Some(json!({"scopes": 5}))),
    ] {
        let answer = send(service, credential, method, path, body).await;
        said.heard(&format!("{method} {path}"), &answer.1);
    }
    let refused = open(service, credential, "none").await;
    said.heard("an upgrade", &format!("{:?}", refused.map(|_| ())));
    // In an address it does not count, and is not told.
    let query = format!("/api/v1/subscriptions/none/events?token={credential}");
    let refused = Socket::open(service.address, &query, Some("tidegate.v1")).await;
    drop(refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_node_says_tells_a_secret_that_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, SHARED_SECRET).unwrap();
    let config = Config {
        mongodb_uri: shared_mongod().await.uri(),
        database: database_name(),
        ..Config::default()
    };
    let settings = settings(secret.to_str().unwrap());
    let process = Process::on(config.clone(), &settings).await;
    let service = &process.service;
    let mut said = Said {
        secrets: vec![String::from_utf8(SHARED_SECRET.to_vec()).unwrap()],
        texts: Vec::new(),
    };
    let admin = admin_key(&config);
    let policies = service.database.collection::<Document>("policies");
    let policy = doc! {"_id": "default", "read": {"tenant": "$claims.tenant"}};
    policies.insert_one(policy).await.unwrap();
    let body = json!({"scopes": ["events:read", "subscriptions:own"], "tenant": "acme"});
    let (key_id, key) = make(service, &admin, body).await;
    let good = token(SHARED_SECRET, "42");
    let mut given = vec![admin.clone(), key.clone(), good.clone()];
    // Those that do not stand are somebody's too.
    given.push(token(b"another secret of more than 32 bytes", "42"));
    given.push(token(SHARED_SECRET, "late"));
    given.push(format!("{}x", &key[..key.len() - 1]));
    given.push(format!("{good}.and-more-of-it"));
    for credential in &given {
        present(service, credential, &mut said).await;
    }
    let made = send(
        service,
        &key,
        "POST",
        "/subscriptions",
        Some(json!({"filter": {}})),
    )
    .await
    .1;
    let id = made["id"].as_str().unwrap();
    let body = Some(json!({"subscription": id}));
    let ticket = send(service, &key, "POST", "/tickets", body).await.1;
    said.gave(ticket["ticket"].as_str().unwrap());
    for status in [101, 401] {
        let opened = Socket::open(service.address, ticket["url"].as_str().unwrap(), None).await;
        assert_eq!(refusal(opened), status);
    }
    let mut socket = open(service, &key, id).await.unwrap();
    said.heard("a socket", &socket.message().await);
    for credential in [&given[3], &given[5], &key] {
        let refresh = json!({"type": "refresh", "token": credential});
        socket.say(&refresh.to_string()).await;
        said.heard("a refresh", &socket.message().await);
    }
    socket
        .say_anything(&format!(
            r#"{{"type": "refresh", "token": 5, "x": "{key}"}}"#
        ))
        .await;
    let path = format!("/keys/{key_id}");
    assert_eq!(send(service, &admin, "DELETE", &path, None).await.0, 204);
    let (messages, closed) = socket.rest().await;
    said.heard("the end of a socket", &format!("{messages:?} {closed:?}"));
    let metrics = service
        .http
        .get(format!("http://{}/metrics", service.address));
    let metrics = metrics
        .bearer_auth(&admin)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("tidegate_auth_total"), "{metrics}");
    said.heard("/metrics", &metrics);
    // What is stored is read by others. A hash is no secret.
    for name in service.database.list_collection_names().await.unwrap() {
        let stored = service.database.collection::<Document>(&name);
        let all: Vec<Document> = stored
            .find(doc! {})
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        said.heard(&name, &Value::from(format!("{all:?}")));
    }
    let command_line = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap_or_default();
    said.heard(
        "the list of processes",
        &String::from_utf8_lossy(&command_line),
    );
    process.signal("TERM").await;
    let (code, log) = process.end_with_log().await;
    assert_eq!(code, Some(0));
    assert!(log.len() > 100, "{log:?}");
    for line in &log {
        said.heard("the log", line);
    }
    said.check();
}
