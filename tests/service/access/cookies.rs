//! Tokens in a browser's cookie: from which pages they count, and what others can do with them.

use serde_json::{Value, json};
use tidegate::config::Auth;

use super::{
    admin_key, make, publish, send, subscribe,
    tokens::idp::{Idp, Key, now},
};
use crate::{
    raw::{Answer, Raw, upgrade_request},
    support::{Events, Service},
};

const COOKIE: &str = "__Host-tidegate";
const LISTED: &str = "https://app.example.com";
const FORBIDDEN: &str = "/problems/forbidden";

/// A node that takes cookies, its administrator's key, and an issuer of operators.
struct World {
    service: Service,
    admin: String,
    issuer: Idp,
    key: Key,
}

impl World {
    async fn start() -> Self {
        let key = Key::ed25519("k");
        let issuer = Idp::start("https://id.example.com/", &[&key]).await;
        let service = Service::start_with(|config| {
            config.auth = Auth::Required;
            // The many refusals come from one address.
            config.quotas.failures_per_minute = 0;
            COOKIE.clone_into(&mut config.browser.cookie);
            config.cors.origins = vec![LISTED.to_owned()];
            config.issuers.insert("main".to_owned(), issuer.operators());
        })
        .await;
        let admin = admin_key(&service.config);
        Self {
            service,
            admin,
            issuer,
            key,
        }
    }

    /// Makes a token with changed claims.
    fn token(&self, change: &Value) -> String {
        self.key.sign(&self.issuer.claims(change))
    }

    /// Returns the origin of the node's own pages.
    fn own(&self) -> String {
        format!("http://{}", self.service.address)
    }

    /// Sends a request with these headers. Returns the status and the body.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.service.http.request(method, self.service.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Asks for a socket with these lines in the head.
    async fn upgrade(&self, id: &str, lines: &str) -> (Raw, Answer) {
        let mut raw = Raw::dial(self.service.address).await;
        raw.send(upgrade_request(id, lines).as_bytes()).await;
        let answer = raw.answer().await;
        (raw, answer)
    }

    async fn judged(&self, outcome: &str) -> u64 {
        let url = format!("http://{}/metrics", self.service.address);
        let shown = self.service.http.get(url).bearer_auth(&self.admin);
        let shown = shown.send().await.unwrap().text().await.unwrap();
        let name = format!("tidegate_auth_total{{kind=\"cookie\",outcome=\"{outcome}\"}} ");
        let line = shown.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

fn in_cookie(token: &str) -> String {
    format!("theme=dark; {COOKIE}={token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_opens_calls_sockets_and_streams_for_pages_that_may() {
    let world = World::start().await;
    let token = world.token(&json!({}));
    let cookie = in_cookie(&token);
    let own = world.own();
    for origin in [LISTED, &own] {
        let headers = [("cookie", &*cookie), ("origin", origin)];
        let (status, who) = world.send("GET", "/whoami", &headers, None).await;
        assert_eq!((status, &who["kind"]), (200, &json!("jwt")), "{who}");
        assert_eq!(who["owner"], "main:42");
        let body = Some(json!({"filter": {}}));
        let (status, made) = world.send("POST", "/subscriptions", &headers, body).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("/subscriptions/{}", made["id"].as_str().unwrap());
        assert_eq!(world.send("DELETE", &path, &headers, None).await.0, 204);
    }
    let id = subscribe(&world.service, &token).await;
    let lines = format!("Cookie: {cookie}\r\nOrigin: http://localhost\r\n");
    let (mut socket, answer) = world.upgrade(&id, &lines).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(socket.message().await["type"], "connected");
    let stream = async |headers: &[(&str, &str)]| {
        let url = world.service.url(&format!("/subscriptions/{id}/events"));
        let mut request = world.service.http.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("accept", "text/event-stream");
        request.header("cookie", &cookie).send().await.unwrap()
    };
    let answer = stream(&[("origin", LISTED)]).await;
    // Without these two the page could not read it.
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), LISTED);
    assert_eq!(header("access-control-allow-credentials"), "true");
    let mut events = Events::of(answer);
    assert_eq!(events.next().await.unwrap().name, "connected");
    // A browser names no origin when a page reads from its own.
    let mut of_own_page = Events::of(stream(&[("sec-fetch-site", "same-origin")]).await);
    assert_eq!(of_own_page.next().await.unwrap().name, "connected");
    publish(&world.service, &world.admin, 1).await;
    let event = socket.message().await;
    assert_eq!(event["event"]["data"]["n"], 1, "{event}");
    for events in [&mut events, &mut of_own_page] {
        assert_eq!(events.next().await.unwrap().name, "event");
    }
    let vary = world.service.http.get(world.service.url("/whoami"));
    let vary = vary.header("cookie", &cookie).send().await.unwrap();
    let vary = vary.headers().get_all("vary").iter();
    assert!(vary.into_iter().any(|value| value == "Cookie"));
    assert!(world.judged("ok").await >= 5);
    drop((events, of_own_page));
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_another_page_makes_a_browser_send_counts_for_nothing() {
    let world = World::start().await;
    let token = world.token(&json!({"scope": "subscriptions:own events:read keys:write"}));
    let cookie = in_cookie(&token);
    let id = subscribe(&world.service, &token).await;
    let own = world.own();
    let of_next_port = format!("http://{}", {
        let mut address = world.service.address;
        address.set_port(address.port() ^ 1);
        address
    });
    let foreign: &[&[(&str, &str)]] = &[
        &[],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "https://app.example.com.evil.example")],
        &[("origin", "https://app.example.com:8443")],
        &[("origin", "http://app.example.com")],
        &[("origin", &of_next_port)],
        &[("origin", "*")],
        &[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[("origin", LISTED), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        // Typed into the address bar, or followed from a mail.
        &[("sec-fetch-site", "none")],
        &[("referer", &own)],
    ];
    let count = async || {
        let (_, page) = send(&world.service, &token, "GET", "/subscriptions", None).await;
        page["items"].as_array().unwrap().len()
    };
    for headers in foreign {
        let mut headers = headers.to_vec();
        headers.push(("cookie", &cookie));
        let one = format!("/subscriptions/{id}");
        let making = Some(json!({"filter": {}}));
        let a_key = Some(json!({"scopes": ["events:read"]}));
        for (method, path, body) in [
            ("GET", "/whoami", None),
            ("GET", &*one, None),
            ("POST", "/subscriptions", making.clone()),
            ("POST", "/keys", a_key.clone()),
            ("DELETE", &one, None),
        ] {
            let (status, problem) = world.send(method, path, &headers, body).await;
            let told = (status, &problem["type"]);
            assert_eq!(
                told,
                (403, &json!(FORBIDDEN)),
                "{method} {path} {headers:?}"
            );
        }
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines = lines.collect::<Vec<_>>().concat();
        let (_, answer) = world.upgrade(&id, &lines).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        let streams = format!("{one}/events");
        headers.push(("accept", "text/event-stream"));
        let (status, _) = world.send("GET", &streams, &headers, None).await;
        assert_eq!(status, 403, "{headers:?}");
        // Nobody is asked who they are here.
        for path in ["/live", "/openapi.json"] {
            assert_eq!(world.send("GET", path, &headers, None).await.0, 200);
        }
    }
    // A browser's word on a read does not stand for writes and sockets, with which it names the origin.
    let reads = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
    assert_eq!(world.send("GET", "/whoami", &reads, None).await.0, 200);
    let body = Some(json!({"filter": {}}));
    assert_eq!(
        world.send("POST", "/subscriptions", &reads, body).await.0,
        403
    );
    let lines = format!("Cookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(world.upgrade(&id, &lines).await.1.status, 403);
    // A page that came without TLS may be anybody's, unless it is of this machine.
    let body = "GET /api/v1/whoami HTTP/1.1\r\nHost: feed.example";
    for (scheme, status) in [("http", 403), ("https", 200)] {
        let mut raw = Raw::dial(world.service.address).await;
        let origin = format!("Origin: {scheme}://feed.example");
        let request = format!("{body}\r\n{origin}\r\nCookie: {cookie}\r\n\r\n");
        raw.send(request.as_bytes()).await;
        assert_eq!(raw.answer().await.status, status, "{scheme}");
    }
    assert_eq!(count().await, 1);
    let (_, keys) = send(&world.service, &world.admin, "GET", "/keys", None).await;
    assert_eq!(keys["items"].as_array().unwrap().len(), 1, "{keys}");
    assert_eq!(world.judged("ok").await, 2);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_holds_a_token_once_and_beside_no_other_credential() {
    let world = World::start().await;
    let token = world.token(&json!({}));
    let (_, key) = make(
        &world.service,
        &world.admin,
        json!({"scopes": ["events:read"]}),
    )
    .await;
    let expired = world.token(&json!({"exp": now() - 60}));
    let other = world.token(&json!({"sub": "43"}));
    let huge = format!("{token}{}", "A".repeat(10_000));
    let named = |name: &str, value: &str| format!("{name}={value}");
    let twice = format!("{COOKIE}={token}; {COOKIE}={token}");
    let hidden = format!("a=\u{ff}; {COOKIE}={other}");
    let of = |value: &str| named(COOKIE, value);
    for (cookies, status) in [
        (vec![of(&token)], 200),
        (vec![of(&key)], 401),
        (vec![of(&world.admin)], 401),
        (vec![of(&expired)], 401),
        (vec![of("")], 401),
        (vec![of("a.b.c")], 401),
        (vec![of(&format!("\"{token}\""))], 401),
        (vec![of(&format!("Bearer {token}"))], 401),
        (vec![of(&huge)], 401),
        (vec![twice], 400),
        (vec![of(&token), of(&token)], 400),
        (vec![of(&token), of(&other)], 400),
        (vec![of(&token), hidden], 400),
        // These are other cookies, whatever their names look like.
        (vec![named("__host-tidegate", &token)], 401),
        (vec![named("__Host-Tidegate", &token)], 401),
        (vec![named("__Secure-tidegate", &token)], 401),
        (vec![named("tidegate", &token)], 401),
        (vec![named("\u{2000}__Host-tidegate", &token)], 401),
        (vec![format!("$Version=1; x=\"; {COOKIE}=a.b.c; \"")], 401),
        (vec![named("__host-tidegate", &other), of(&token)], 200),
    ] {
        let mut headers = vec![("origin", LISTED)];
        headers.extend(cookies.iter().map(|cookie| ("cookie", &**cookie)));
        let (found, problem) = world.send("GET", "/whoami", &headers, None).await;
        assert_eq!(found, status, "{cookies:?}: {problem}");
    }
    // Larger than any head.
    let headers = [("origin", LISTED), ("cookie", &*of(&"A".repeat(100_000)))];
    assert_eq!(world.send("GET", "/whoami", &headers, None).await.0, 431);
    let cookie = in_cookie(&token);
    for (authorization, status, owner) in [
        (format!("Bearer {other}"), 200, json!("main:43")),
        (format!("Bearer {expired}"), 401, Value::Null),
        ("Basic YTpi".to_owned(), 401, Value::Null),
    ] {
        // The cookie beside it is not looked at, not even whose page has sent it.
        for origin in [LISTED, "https://evil.example"] {
            let headers = [
                ("authorization", &*authorization),
                ("cookie", &cookie),
                ("cookie", &cookie),
                ("origin", origin),
            ];
            let (found, who) = world.send("GET", "/whoami", &headers, None).await;
            assert_eq!((found, &who["owner"]), (status, &owner), "{who}");
        }
    }
    let id = subscribe(&world.service, &token).await;
    let ticket = json!({"subscription": id});
    let (_, made) = send(&world.service, &token, "POST", "/tickets", Some(ticket)).await;
    let ticket = made["ticket"].as_str().unwrap();
    let lines = format!("Cookie: {cookie}\r\nOrigin: {LISTED}\r\n");
    let offer = format!("Sec-WebSocket-Protocol: tidegate.v1, tidegate.bearer.{token}\r\n");
    let (_, answer) = world.upgrade(&id, &format!("{lines}{offer}")).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let mut raw = Raw::dial(world.service.address).await;
    let upgrade = upgrade_request(&id, &lines);
    let with_ticket = upgrade.replace("/events HTTP", &format!("/events?ticket={ticket} HTTP"));
    raw.send(with_ticket.as_bytes()).await;
    assert_eq!(raw.answer().await.status, 400);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_the_token_in_its_cookie() {
    let world = World::start().await;
    let long = world.token(&json!({"jti": "gone"}));
    let short = world.token(&json!({"exp": now() + 3}));
    let id = subscribe(&world.service, &long).await;
    let open = async |token: &str| {
        let cookie = in_cookie(token);
        let lines = format!("Cookie: {cookie}\r\nOrigin: {LISTED}\r\n");
        let (mut socket, answer) = world.upgrade(&id, &lines).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(socket.message().await["type"], "connected");
        socket
    };
    let (mut stays, mut ends) = (open(&long).await, open(&short).await);
    assert_eq!(ends.message().await["type"], "expiring");
    let revoking = Some(json!({"jti": "gone"}));
    let (status, made) = send(
        &world.service,
        &world.admin,
        "POST",
        "/revocations",
        revoking,
    )
    .await;
    assert_eq!(status, 201, "{made}");
    stays.assert_ends(4511, "forbidden").await;
    let cookie = in_cookie(&long);
    let headers = [("cookie", &*cookie), ("origin", LISTED)];
    assert_eq!(world.send("GET", "/whoami", &headers, None).await.0, 401);
    assert_eq!(world.judged("revoked").await, 1);
    ends.assert_ends(4510, "credential_expired").await;
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_only_of_this_machine_or_of_a_node_without_cookies_have_none() {
    let key = Key::ed25519("k");
    let issuer = Idp::start("https://id.example.com/", &[&key]).await;
    let token = key.sign(&issuer.claims(&json!({})));
    for (cookie, status) in [(COOKIE, 403), ("", 401)] {
        let service = Service::start_with(|config| {
            config.auth = Auth::Required;
            cookie.clone_into(&mut config.browser.cookie);
            config.cors.local = true;
            config.issuers.insert("main".to_owned(), issuer.operators());
        })
        .await;
        let request = service.http.get(service.url("/whoami"));
        let request = request.header("origin", "http://localhost:3000");
        let answer = request.header("cookie", in_cookie(&token)).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status);
        let may_read = answer.headers().get("access-control-allow-credentials");
        assert_eq!(may_read.is_some(), !cookie.is_empty());
        service.stop().await;
    }
}
