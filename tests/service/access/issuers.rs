//! The keys of issuers: where they come from, how they change, and what a bad answer does.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tidegate::{
    config::{Auth, Config, Issuer},
    server::NodeError,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    connect, refusal, send, subscribe,
    tokens::idp::{Answer, Idp, Key},
};
use crate::support::{Service, Socket};

const ISSUER: &str = "https://id.example.com/";

/// Starts a node that trusts these issuers.
async fn trusting(issuers: &[(&str, Issuer)]) -> Service {
    Service::start_with(|config| {
        config.auth = Auth::Required;
        let issuers = issuers.iter().cloned();
        config.issuers = issuers
            .map(|(name, issuer)| (name.to_owned(), issuer))
            .collect();
    })
    .await
}

/// Settings that have the keys read often.
fn often(idp: &Idp) -> Issuer {
    Issuer {
        jwks_refresh: Duration::from_millis(100),
        ..idp.operators()
    }
}

async fn status(service: &Service, token: &str) -> u16 {
    send(service, token, "GET", "/whoami", None).await.0
}

/// Reads the number of reads with an outcome, as an operator.
async fn reads(service: &Service, operator: &str, outcome: &str) -> u64 {
    let url = format!("http://{}/metrics", service.address);
    let text = service.http.get(url).bearer_auth(operator).send().await;
    let text = text.unwrap().text().await.unwrap();
    let name = format!(r#"tidegate_jwks_refreshes_total{{issuer="main",outcome="{outcome}"}} "#);
    let line = text.lines().find_map(|line| line.strip_prefix(&*name));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Makes a ticket on a node and opens a socket with it on another. Returns the status.
async fn opened_elsewhere(made_by: &Service, taken_by: &Service, token: &str, id: &str) -> u16 {
    let body = Some(json!({"subscription": id}));
    let (status, made) = send(made_by, token, "POST", "/tickets", body).await;
    assert_eq!(status, 201, "{made}");
    let url = made["url"].as_str().unwrap();
    refusal(Socket::open(taken_by.address, url, None).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_does_not_outlive_the_key_that_signed_its_token() {
    let [old, new, newest] = ["old", "new", "newest"].map(Key::ed25519);
    let idp = Idp::start(ISSUER, &[&old, &new]).await;
    // It does not read the keys again by itself.
    let maker = trusting(&[("main", idp.operators())]).await;
    let by = |key: &Key| key.sign(&idp.claims(&json!({})));
    let id = subscribe(&maker, &by(&new)).await;
    // This one never had the key that left, so it did not see it leave.
    idp.has(&[&new]);
    let taker = maker.sibling().await;
    assert_eq!(opened_elsewhere(&maker, &taker, &by(&old), &id).await, 401);
    assert_eq!(opened_elsewhere(&maker, &taker, &by(&new), &id).await, 101);
    // One that came is asked for.
    let late = maker.sibling().await;
    idp.has(&[&new, &newest]);
    assert_eq!(
        opened_elsewhere(&maker, &late, &by(&newest), &id).await,
        101
    );
    for node in [maker, taker, late] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_counts_at_once_and_one_that_left_ends_its_sockets() {
    let (old, new) = (Key::ed25519("old"), Key::p256("new"));
    let idp = Idp::start(ISSUER, &[&old]).await;
    let service = trusting(&[("main", idp.operators())]).await;
    let by = |key: &Key| key.sign(&idp.claims(&json!({})));
    let body = Some(json!({"filter": {}}));
    let (made, subscription) = send(&service, &by(&old), "POST", "/subscriptions", body).await;
    assert_eq!(made, 201, "{subscription}");
    let id = subscription["id"].as_str().unwrap();
    let mut leaves = connect(&service, &by(&old), id).await;
    let mut refreshes = connect(&service, &by(&old), id).await;
    idp.has(&[&new]);
    // The set is replaced: nothing is left of the old one.
    assert_eq!(status(&service, &by(&new)).await, 200);
    assert_eq!(status(&service, &by(&old)).await, 401);
    let stays = connect(&service, &by(&new), id).await;
    let warned = refreshes.message().await;
    assert_eq!(warned["type"], "expiring", "{warned}");
    let refresh = json!({"type": "refresh", "token": by(&new)});
    refreshes.say(&refresh.to_string()).await;
    assert_eq!(refreshes.message().await["type"], "refreshed");
    let (messages, closed) = leaves.rest().await;
    assert!(
        messages[0]["inMs"].as_u64().unwrap() <= 30_000,
        "{messages:?}"
    );
    assert_eq!((closed.code, &*closed.text), (4510, "credential_expired"));
    for mut socket in [stays, refreshes] {
        socket.say(r#"{"type":"ping"}"#).await;
        assert_eq!(socket.message().await["type"], "pong");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_by_an_unknown_key_has_the_keys_read_once_and_no_more() {
    let (known, unknown) = (Key::ed25519("known"), Key::ed25519("unknown"));
    let idp = Idp::start(ISSUER, &[&known]).await;
    let service = trusting(&[("main", idp.operators())]).await;
    let by = |key: &Key| key.sign(&idp.claims(&json!({})));
    assert_eq!(status(&service, &by(&known)).await, 200);
    assert_eq!(idp.asked(), 1);
    let token = by(&unknown);
    let many = (0..20).map(|_| status(&service, &token));
    let found = futures_util::future::join_all(many).await;
    assert_eq!(found, [401; 20]);
    assert_eq!(idp.asked(), 2, "they share one read");
    idp.has(&[&known, &unknown]);
    assert_eq!(status(&service, &token).await, 401, "it was a moment ago");
    assert_eq!((idp.asked(), status(&service, &by(&known)).await), (2, 200));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_issuers_with_one_id_of_a_key_do_not_mix() {
    let (one, other) = (Key::ed25519("k"), Key::ed25519("k"));
    let first = Idp::start(ISSUER, &[&one]).await;
    let second = Idp::start("https://other.example.com/", &[&other]).await;
    let issuers = [("first", first.operators()), ("second", second.operators())];
    let service = trusting(&issuers).await;
    let claims = json!({});
    for (key, idp, expected) in [
        (&one, &first, 200),
        (&other, &second, 200),
        (&one, &second, 401),
        (&other, &first, 401),
        // What was verified a moment ago helps nobody.
        (&one, &first, 200),
    ] {
        let token = key.sign(&idp.claims(&claims));
        assert_eq!(status(&service, &token).await, expected, "{}", idp.issuer);
        let (_, who) = send(&service, &token, "GET", "/whoami", None).await;
        if expected == 200 {
            let name = if idp.issuer == ISSUER {
                "first"
            } else {
                "second"
            };
            assert_eq!(who["owner"], format!("{name}:42"));
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_count_on_while_bad_answers_come_and_are_replaced_by_a_good_one() {
    let (key, next) = (Key::ed25519("a"), Key::ed25519("b"));
    let idp = Idp::start(ISSUER, &[&key]).await;
    let evil = Idp::start("https://evil.example.com/", &[&next]).await;
    let mut settings = often(&idp);
    settings.scopes.push("metrics".to_owned());
    let service = trusting(&[("main", settings)]).await;
    let token = key.sign(&idp.claims(&json!({"scope": "metrics"})));
    let forged = next.sign(&idp.claims(&json!({"scope": "metrics"})));
    assert_eq!(status(&service, &token).await, 200);
    let too_many = vec![next.jwk(); 101];
    let twice = br#"{"keys":[],"keys":[]}"#;
    for (answer, outcome) in [
        (Answer::Raw(b"<html>sorry</html>".to_vec()), "invalid"),
        (Answer::Raw(Vec::new()), "invalid"),
        (Answer::Raw(twice.to_vec()), "invalid"),
        (Answer::Raw(vec![b' '; 10 << 20]), "invalid"),
        (Answer::Endless(10 << 20), "invalid"),
        (Answer::Keys(too_many), "invalid"),
        (Answer::Redirect(evil.jwks_url.clone()), "status"),
        (Answer::Silence, "unreachable"),
    ] {
        let before = reads(&service, &token, outcome).await;
        idp.answers(answer);
        let counted = async || reads(&service, &token, outcome).await > before;
        service.until(outcome, counted).await;
        assert_eq!(status(&service, &token).await, 200, "{outcome}");
        assert_eq!(status(&service, &forged).await, 401, "{outcome}");
    }
    assert_eq!(evil.asked(), 0, "a redirect is not followed");
    idp.has(&[&next]);
    let replaced = async || status(&service, &forged).await == 200;
    service.until("the new key counts", replaced).await;
    assert_eq!(status(&service, &token).await, 401);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_read_again_count_for_a_time_only() {
    let key = Key::ed25519("a");
    let idp = Idp::start(ISSUER, &[&key]).await;
    let settings = Issuer {
        jwks_stale: Duration::from_millis(1_500),
        ..often(&idp)
    };
    let service = trusting(&[("main", settings)]).await;
    let token = key.sign(&idp.claims(&json!({})));
    assert_eq!(status(&service, &token).await, 200);
    idp.answers(Answer::Raw(b"down".to_vec()));
    let over = async || status(&service, &token).await == 401;
    service.until("the keys are too old", over).await;
    idp.has(&[&key]);
    let back = async || status(&service, &token).await == 200;
    service.until("they are read again", back).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_waits_for_keys_that_were_never_read_and_is_not_called_wrong() {
    let key = Key::ed25519("a");
    let idp = Idp::start(ISSUER, &[&key]).await;
    idp.answers(Answer::Raw(b"down".to_vec()));
    let service = trusting(&[("main", often(&idp))]).await;
    let token = key.sign(&idp.claims(&json!({})));
    let (found, problem) = send(&service, &token, "GET", "/whoami", None).await;
    assert_eq!(
        (found, &problem["type"]),
        (503, &json!("/problems/not-ready"))
    );
    idp.has(&[&key]);
    let back = async || status(&service, &token).await == 200;
    service.until("the keys are read", back).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_secrets_come_from_files_that_must_be_there() {
    let all: Value = serde_json::from_str(include_str!("../../tokens/tokens.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (key, next) = (Key::ed25519("a"), Key::ed25519("b"));
    let idp = Idp::start(ISSUER, &[]).await;
    let set = |key: &Key| json!({"keys": [key.jwk()]}).to_string();
    let path = file("set", &set(&key));
    let settings = Issuer {
        jwks_url: String::new(),
        keys_file: path.clone(),
        ..often(&idp)
    };
    let service = trusting(&[("main", settings.clone())]).await;
    let by = |key: &Key| key.sign(&idp.claims(&json!({})));
    assert_eq!(status(&service, &by(&key)).await, 200);
    assert_eq!(status(&service, &by(&next)).await, 401);
    file("set", &set(&next));
    let replaced = async || status(&service, &by(&next)).await == 200;
    service.until("the file is read again", replaced).await;
    assert_eq!(status(&service, &by(&key)).await, 401);
    let weak = all["bad_pem"]["rsa 1024"].as_str().unwrap();
    let private = all["bad_pem"]["private"].as_str().unwrap();
    let keys_file = |path: String| Issuer {
        keys_file: path,
        ..settings.clone()
    };
    let secret_file = |path: String| Issuer {
        keys_file: String::new(),
        secret_file: path,
        algorithms: vec!["HS256".to_owned()],
        ..settings.clone()
    };
    for (settings, told) in [
        (
            keys_file("/no/such/file".to_owned()),
            "keys_file: cannot be read",
        ),
        (
            keys_file(file("weak", weak)),
            "keys_file: the content holds no public key",
        ),
        (
            keys_file(file("private", private)),
            "keys_file: the content holds a private key",
        ),
        (
            keys_file(file("nothing", "")),
            "keys_file: the content is no JWK set",
        ),
        (
            secret_file(file("short", &"x".repeat(31))),
            "secret_file: the content holds a secret",
        ),
        (
            secret_file(file("empty", "\n")),
            "secret_file: the content holds a secret",
        ),
    ] {
        let config = Config {
            issuers: [("main".to_owned(), settings)].into(),
            ..service.config.clone()
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let run = tidegate::server::run(config, listener, CancellationToken::new());
        match run.await {
            Err(NodeError::Config(refused)) => {
                let refused = refused.to_string();
                assert!(
                    refused.starts_with(&format!("issuers.main.{told}")),
                    "{refused}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    service.stop().await;
}
