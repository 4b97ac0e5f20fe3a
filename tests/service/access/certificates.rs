//! Certificates of clients: who is let in with one, beside what, and until when.

mod client;
mod replacing;

use std::{fs, path::Path, time::Duration};

use rustls::{HandshakeKind, ProtocolVersion};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::config::{self, Auth, Config, Quotas};
use tungstenite::Error;

use self::client::{Ca, Client, Identity, now};
use super::{admin_key, make, send, subscribe, tokens::idp};
use crate::support::{Service, Socket};

/// Writes a certificate for this machine with its key, and that of an authority. Returns the settings that name them.
fn settings(folder: &Path, ca: &Ca) -> config::Tls {
    let made =
        rcgen::generate_simple_self_signed(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let tls = config::Tls {
        certificate: path("certificate.pem"),
        key: path("key.pem"),
        client_ca: path("clients.pem"),
    };
    fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    fs::write(&tls.certificate, made.cert.pem()).unwrap();
    fs::write(&tls.client_ca, ca.pem()).unwrap();
    tls
}

/// A node that asks for certificates, its administrator's key, and the authority.
struct World {
    service: Service,
    admin: String,
    ca: Ca,
    _folder: TempDir,
}

impl World {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(more: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new("clients");
        let service = Service::start_with(|config| {
            config.auth = Auth::Required;
            config.quotas = Quotas::NONE;
            config.tls = settings(folder.path(), &ca);
            more(config);
        })
        .await;
        let admin = admin_key(&service.config);
        Self {
            service,
            admin,
            ca,
            _folder: folder,
        }
    }

    /// Makes a key for a certificate. Returns its id.
    async fn key_for(&self, identity: &Identity, more: Value) -> String {
        let mut body = json!({"scopes": ["events:read", "subscriptions:read"], "certificate": identity.fingerprint()});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let (status, made) = send(&self.service, &self.admin, "POST", "/keys", Some(body)).await;
        assert_eq!((status, &made["key"]), (201, &Value::Null), "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    async fn whoami(&self, identity: &Identity, lines: &str) -> (u16, Value) {
        let mut client = Client::connect(&self.service, Some(identity))
            .await
            .unwrap();
        client.get("/api/v1/whoami", lines).await.unwrap()
    }
}

fn socket_path(id: &str) -> String {
    format!("/api/v1/subscriptions/{id}/events")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_the_key_that_is_for_it() {
    let world = World::start().await;
    let sibling = world.service.sibling().await;
    let identity = world.ca.certify("shop", |_| {});
    let (status, _) = world.whoami(&identity, "").await;
    assert_eq!(status, 401);
    let id = world.key_for(&identity, json!({"name": "shop"})).await;
    // The other node has perhaps not heard of it.
    let mut client = Client::connect(&sibling, Some(&identity)).await.unwrap();
    let (status, who) = client.get("/api/v1/whoami", "").await.unwrap();
    assert_eq!((status, &who["kind"]), (200, &json!("key")), "{who}");
    assert_eq!(who["owner"], format!("key:{id}"));
    // It ends with the certificate.
    let end = bson::DateTime::parse_rfc3339_str(who["expiresAt"].as_str().unwrap());
    assert_eq!(end.unwrap().timestamp_millis(), identity.not_after * 1_000);
    let path = format!("/keys/{id}");
    let (_, key) = send(&world.service, &world.admin, "GET", &path, None).await;
    assert_eq!(key["certificate"], identity.fingerprint());
    let told = (&key["prefix"], &key["name"], &key["expiresAt"]);
    assert_eq!(told, (&Value::Null, &json!("shop"), &Value::Null));
    let subscription = subscribe(&world.service, &world.admin).await;
    let mut sockets = Vec::new();
    for node in [&world.service, &sibling] {
        let mut socket = Client::socket(node, &identity, &subscription, None)
            .await
            .unwrap();
        assert_eq!(socket.message().await["type"], "connected");
        sockets.push(socket);
    }
    let url = format!("{}/metrics", world.service.url("").replace("/api/v1", ""));
    let shown = world.service.http.get(url).bearer_auth(&world.admin);
    let shown = shown.send().await.unwrap().text().await.unwrap();
    for line in [
        r#"tidegate_auth_total{kind="certificate",outcome="ok"} 1"#,
        r#"tidegate_auth_total{kind="certificate",outcome="unknown"} 1"#,
        r#"tidegate_credentials{kind="certificate"} 1"#,
        r#"tidegate_credentials{kind="key"} 1"#,
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let (status, _) = send(&world.service, &world.admin, "DELETE", &path, None).await;
    assert_eq!(status, 204);
    for socket in &mut sockets {
        socket.assert_ends(4511, "forbidden").await;
    }
    // The connection was made when it stood, and is asked at each request.
    let gone = async || world.whoami(&identity, "").await.0 == 401;
    world.service.until("the key is gone", gone).await;
    let (status, teardown) = send(
        &sibling,
        &world.admin,
        "GET",
        &format!("{path}/teardown"),
        None,
    )
    .await;
    assert_eq!(status, 200, "{teardown}");
    assert_eq!(client.get("/api/v1/whoami", "").await.unwrap().0, 401);
    world.service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_of_the_authority_that_are_valid_come_in() {
    let world = World::start().await;
    let good = world.ca.certify("good", |_| {});
    world.key_for(&good, json!({})).await;
    assert_eq!(world.whoami(&good, "").await.0, 200);
    let day = rcgen::date_time_ymd;
    let of_other = Ca::new("clients").certify("good", |_| {});
    let expired = world
        .ca
        .certify("good", |params| params.not_after = day(2020, 1, 1));
    let too_early = world
        .ca
        .certify("good", |params| params.not_before = day(2999, 1, 1));
    let for_servers = world.ca.certify("good", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let stolen = good.with_key_of(&of_other);
    for (name, identity) in [
        ("of another authority", &of_other),
        ("expired", &expired),
        ("not valid yet", &too_early),
        ("for servers", &for_servers),
        ("without its key", &stolen),
    ] {
        // Even a key for it does not help.
        if name != "without its key" {
            world.key_for(identity, json!({})).await;
        }
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let connecting = Client::connect_by(&world.service, Some(identity), version).await;
            // With TLS 1.3 a client learns of it when it reads.
            let answer = match connecting {
                Ok(mut client) => client.get("/api/v1/live", "").await,
                Err(error) => Err(error),
            };
            assert!(answer.is_err(), "{name} {version:?}: {answer:?}");
        }
    }
    // Nobody has to have one.
    let mut client = Client::connect(&world.service, None).await.unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", world.admin);
    assert_eq!(client.get("/api/v1/whoami", &bearer).await.unwrap().0, 200);
    assert_eq!(client.get("/api/v1/whoami", "").await.unwrap().0, 401);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_its_bytes_says_whose_a_certificate_is() {
    let world = World::start().await;
    let named = world.ca.certify("good", |_| {});
    let id = world.key_for(&named, json!({"scopes": ["admin"]})).await;
    for name in ["good", &id, &format!("key:{id}"), "admin", ""] {
        let other = world.ca.certify(name, |_| {});
        assert_eq!(world.whoami(&other, "").await.0, 401, "{name}");
    }
    // Headers of a proxy that speaks TLS do not count.
    let mut client = Client::connect(&world.service, None).await.unwrap();
    let lines = format!(
        "X-SSL-Client-Fingerprint: {0}\r\nX-Forwarded-Client-Cert: Hash={0}\r\nClient-Cert: :{0}:\r\n",
        named.fingerprint()
    );
    assert_eq!(client.get("/api/v1/whoami", &lines).await.unwrap().0, 401);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_key_counts_beside_no_other_credential() {
    let world = World::start_with(|config| {
        "__Host-tidegate".clone_into(&mut config.browser.cookie);
    })
    .await;
    let subscription = subscribe(&world.service, &world.admin).await;
    let known = world.ca.certify("known", |_| {});
    let unknown = world.ca.certify("unknown", |_| {});
    world.key_for(&known, json!({})).await;
    let bearer = format!("Authorization: Bearer {}\r\n", world.admin);
    let cookie = "Cookie: __Host-tidegate=a.b.c\r\nOrigin: https://localhost\r\n";
    for (identity, lines, status) in [
        (&known, "", 200),
        (&known, &*bearer, 400),
        (&known, cookie, 400),
        (&known, &format!("{cookie}{bearer}"), 400),
        (&known, "Cookie: other=a.b.c\r\n", 200),
        // It proves nothing, and so is no second one.
        (&unknown, &bearer, 200),
        (&unknown, "", 401),
    ] {
        assert_eq!(world.whoami(identity, lines).await.0, status, "{lines}");
    }
    let offer = format!("tidegate.v1, tidegate.bearer.{}", world.admin);
    let asked = Some(json!({"subscription": subscription}));
    let (_, made) = send(&world.service, &world.admin, "POST", "/tickets", asked).await;
    let with_ticket = made["url"].as_str().unwrap();
    let plain = socket_path(&subscription);
    for (identity, path, offer, status) in [
        (&known, &*plain, Some(&*offer), 400),
        (&known, with_ticket, None, 400),
        (&known, &plain, None, 101),
        (&unknown, with_ticket, None, 101),
        (&unknown, &plain, Some(&offer), 101),
        (&unknown, &plain, None, 401),
    ] {
        let opened = Client::socket_at(&world.service, identity, path, offer).await;
        assert_eq!(refusal(opened), status, "{path} {offer:?}");
    }
    world.service.stop().await;
}

fn refusal<S>(opened: Result<Socket<S>, Error>) -> u16 {
    match opened {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_may_not_call_has_no_use_of_a_browsers_certificate() {
    for origins in [vec![], vec!["*".to_owned()]] {
        let world = World::start_with(|config| config.cors.origins = origins.clone()).await;
        let identity = world.ca.certify("person", |_| {});
        world.key_for(&identity, json!({})).await;
        let subscription = subscribe(&world.service, &world.admin).await;
        let own = format!("Origin: https://{}\r\n", world.service.address);
        for (lines, status) in [
            ("", 200),
            (&*own, 200),
            ("Sec-Fetch-Site: none\r\n", 200),
            ("Sec-Fetch-Site: same-origin\r\n", 200),
            ("Origin: https://evil.example\r\n", 403),
            ("Origin: null\r\n", 403),
            (&own.replace("https", "http"), 403),
            ("Sec-Fetch-Site: cross-site\r\n", 403),
            ("Sec-Fetch-Site: same-site\r\n", 403),
        ] {
            let host = format!("Host: {}\r\n{lines}", world.service.address);
            let mut client = Client::connect(&world.service, Some(&identity))
                .await
                .unwrap();
            for method in ["GET", "POST"] {
                let asked = client.send(method, "/api/v1/subscriptions", &host).await;
                let (found, problem) = asked.unwrap();
                // The key may not create any.
                let expected = if method == "POST" { 403 } else { status };
                assert_eq!(found, expected, "{lines}: {problem}");
                let by_scope = problem.get("scope").is_some();
                assert_eq!(by_scope, method == "POST" && status == 200, "{lines}");
            }
            let upgrade = client.upgrade(&subscription, &host).await.unwrap();
            let expected = if status == 200 { 101 } else { status };
            assert_eq!(upgrade, expected, "{lines}");
        }
        world.service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed_where_certificates_are_asked_for() {
    let world = World::start().await;
    let identity = world.ca.certify("a", |_| {});
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (asks, second) in [(true, HandshakeKind::Full), (false, HandshakeKind::Resumed)] {
            let plain = if asks {
                None
            } else {
                let mut config = world.service.config.clone();
                config.tls.client_ca = String::new();
                Some(Service::on(config).await)
            };
            let node = plain.as_ref().unwrap_or(&world.service);
            let connector = client::connector(node, Some(&identity), version);
            for expected in [HandshakeKind::Full, second] {
                let mut client = Client::connect_with(node, &connector).await.unwrap();
                assert_eq!(client.get("/api/v1/live", "").await.unwrap().0, 200);
                let session = client.session();
                let kind = session.handshake_kind();
                let told = (session.protocol_version(), kind);
                let version = if version.version == ProtocolVersion::TLSv1_2 {
                    ProtocolVersion::TLSv1_2
                } else {
                    ProtocolVersion::TLSv1_3
                };
                assert_eq!(told, (Some(version), Some(expected)), "asks: {asks}");
            }
            if let Some(plain) = plain {
                plain.stop().await;
            }
        }
    }
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_connection_ends_to_stand_with_its_certificate() {
    let world = World::start().await;
    let end = now() + 4;
    let identity = world.ca.certify("short", |params| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    });
    // A key that is to last longer does not help.
    world
        .key_for(&identity, json!({"expiresAt": "2099-01-01T00:00:00Z"}))
        .await;
    let subscription = subscribe(&world.service, &world.admin).await;
    let opened = Client::socket(&world.service, &identity, &subscription, None).await;
    let mut socket = opened.unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    let mut client = Client::connect(&world.service, Some(&identity))
        .await
        .unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", world.admin);
    assert_eq!(client.get("/api/v1/whoami", "").await.unwrap().0, 200);
    let expiring = socket.message().await;
    assert_eq!(expiring["type"], "expiring", "{expiring}");
    // No other key goes on with it.
    let (_, closed) = socket.rest().await;
    assert_eq!((closed.code, &*closed.text), (4510, "credential_expired"));
    assert_eq!(client.get("/api/v1/whoami", "").await.unwrap().0, 401);
    assert_eq!(client.get("/api/v1/whoami", &bearer).await.unwrap().0, 400);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_for_certificates_are_made_by_operators_one_for_each() {
    let world = World::start().await;
    let identity = world.ca.certify("a", |_| {});
    let fingerprint = identity.fingerprint();
    let pairs: Vec<_> = (0..64)
        .step_by(2)
        .map(|at| &fingerprint[at..at + 2])
        .collect();
    let as_tools_print_it = pairs.join(":").to_uppercase();
    let by = async |key: &str, certificate: &Value| {
        let body = json!({"scopes": ["events:read"], "certificate": certificate});
        let (status, told) = send(&world.service, key, "POST", "/keys", Some(body)).await;
        (status, told)
    };
    let of_tenant = json!({"scopes": ["keys:write", "events:read"], "tenant": "acme"});
    let (_, tenant) = make(&world.service, &world.admin, of_tenant).await;
    let (status, problem) = by(&tenant, &json!(fingerprint)).await;
    assert_eq!(status, 403, "{problem}");
    for wrong in [
        json!(""),
        json!(&fingerprint[2..]),
        json!(5),
        json!("x".repeat(64)),
        json!(identity.pem()),
    ] {
        let (status, problem) = by(&world.admin, &wrong).await;
        let told = (status, &problem["errors"][0]["pointer"]);
        assert_eq!(told, (422, &json!("#/certificate")), "{problem}");
    }
    let (status, made) = by(&world.admin, &json!(as_tools_print_it)).await;
    assert_eq!((status, &made["certificate"]), (201, &json!(fingerprint)));
    assert_eq!(world.whoami(&identity, "").await.0, 200);
    let (status, problem) = by(&world.admin, &json!(fingerprint)).await;
    assert_eq!(
        (status, &problem["type"]),
        (409, &json!("/problems/conflict")),
        "{problem}"
    );
    let path = format!("/keys/{}", made["id"].as_str().unwrap());
    let change = Some(json!({"certificate": fingerprint}));
    let (status, _) = send(&world.service, &world.admin, "PATCH", &path, change).await;
    assert_eq!(status, 422);
    // Once the key is gone, another may be for it.
    assert_eq!(
        send(&world.service, &world.admin, "DELETE", &path, None)
            .await
            .0,
        204
    );
    assert_eq!(by(&world.admin, &json!(fingerprint)).await.0, 201);
    // A key with a text is made as before.
    let (status, made) = by(&world.admin, &Value::Null).await;
    assert_eq!(status, 201);
    assert!(
        made["key"].is_string() && made["certificate"].is_null(),
        "{made}"
    );
    // A ticket of a certificate's caller ends with the certificate too.
    let (status, problem) = by("", &Value::Null).await;
    assert_eq!(status, 401, "{problem}");
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_made_with_a_certificate_hangs_on_its_key_and_its_end() {
    let world = World::start().await;
    let end = now() + 25;
    let identity = world.ca.certify("short", |params| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    });
    let key = world.key_for(&identity, json!({})).await;
    let subscription = subscribe(&world.service, &world.admin).await;
    let mut client = Client::connect(&world.service, Some(&identity))
        .await
        .unwrap();
    let body = json!({"subscription": subscription}).to_string();
    let (status, made) = client.post("/api/v1/tickets", &body).await.unwrap();
    assert_eq!(status, 201, "{made}");
    let path = made["url"].as_str().unwrap();
    // Nobody shows a certificate here.
    let mut socket = Client::anonymous_socket(&world.service, path)
        .await
        .unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    let expiring = socket.message().await;
    let shown = bson::DateTime::parse_rfc3339_str(expiring["expiresAt"].as_str().unwrap());
    assert_eq!(
        shown.unwrap().timestamp_millis() / 1_000,
        i64::try_from(end).unwrap()
    );
    let path = format!("/keys/{key}");
    assert_eq!(
        send(&world.service, &world.admin, "DELETE", &path, None)
            .await
            .0,
        204
    );
    socket.assert_ends(4511, "forbidden").await;
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_beside_an_unknown_certificate_is_its_holders() {
    let key = idp::Key::ed25519("k");
    let issuer = idp::Idp::start("https://id.example.com/", &[&key]).await;
    let world = World::start_with(|config| {
        config.issuers.insert("main".to_owned(), issuer.operators());
    })
    .await;
    let of_mesh = world.ca.certify("sidecar", |_| {});
    let token = key.sign(&issuer.claims(&json!({})));
    let lines = format!("Authorization: Bearer {token}\r\n");
    let (status, who) = world.whoami(&of_mesh, &lines).await;
    assert_eq!((status, &who["owner"]), (200, &json!("main:42")));
    world.key_for(&of_mesh, json!({})).await;
    assert_eq!(world.whoami(&of_mesh, &lines).await.0, 400);
    world.service.stop().await;
}
