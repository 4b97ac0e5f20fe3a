//! Tickets: a page opens a stream of another origin with one, since a browser lets it set no header there.

use serde_json::{Value, json};
use tidegate::config::Auth;

use super::{
    client::Client,
    door::Door,
    installed::{
        Program::{Chromium, Node},
        are_here,
    },
    support::{Service, admin_key, free_port},
};

/// A node that asks for credentials, and lets a page in.
struct Guarded {
    service: Service,
    admin: String,
    /// The port of the page.
    page: u16,
    subscription: String,
}

impl Guarded {
    async fn start() -> Self {
        let page = free_port();
        let service = Service::start_with(|config| {
            config.auth = Auth::Required;
            config.cors.origins = vec![format!("http://127.0.0.1:{page}")];
        })
        .await;
        let admin = admin_key(&service.config);
        let filter = json!({"filter": {"type": "tick"}});
        let made = post(&service, &admin, "/subscriptions", filter).await;
        Self {
            subscription: text(&made["id"]),
            service,
            admin,
            page,
        }
    }

    /// Makes a key that may receive, and no more.
    async fn key(&self) -> String {
        let asked = json!({"scopes": ["events:read"], "subscriptions": [self.subscription]});
        text(&post(&self.service, &self.admin, "/keys", asked).await["key"])
    }

    async fn publish(&self, n: i64) {
        let event = json!({"type": "tick", "data": {"n": n}});
        post(&self.service, &self.admin, "/events", event).await;
    }

    /// Returns the address of a stream with a ticket, as a backend gives it to its page.
    async fn ticketed(&self) -> String {
        let asked = json!({"subscription": self.subscription});
        let made = post(&self.service, &self.admin, "/tickets", asked).await;
        format!("http://{}{}", self.service.address, text(&made["url"]))
    }
}

async fn post(service: &Service, key: &str, path: &str, body: Value) -> Value {
    let request = service.http.post(service.url(path)).bearer_auth(key);
    let answer = request.json(&body).send().await.unwrap();
    answer.error_for_status().unwrap().json().await.unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Opens a stream in a page. The page asks for the ticket itself if it has a token.
fn open(kind: &str, page: u16, url: &str, token: Option<&str>) -> Client {
    let mut command = Node.script("browser.mjs");
    command.arg(kind).arg(page.to_string()).arg(url);
    command.envs(token.map(|token| ("TOKEN", token)));
    Client::start(command)
}

async fn says(client: &mut Client, what: &str) {
    client.until(what, |line| line["saw"] == what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_asks_for_a_ticket_and_opens_a_stream() {
    if !are_here(&[Node, Chromium]) {
        return;
    }
    let guarded = Guarded::start().await;
    let door = Door::to(guarded.service.address).await;
    let path = format!("subscriptions/{}/events", guarded.subscription);
    let url = format!("http://{}/api/v1/{path}", door.address);
    let key = guarded.key().await;
    let mut events = open("EventSource", guarded.page, &url, Some(&key));
    let mut socket = open("WebSocket", free_port(), &guarded.ticketed().await, None);
    // A page of an origin that is not listed has a ticket, and does not get in.
    says(&mut socket, "cut").await;
    assert_eq!(socket.seen.len(), 1, "{socket:?}");
    socket.finish().await;
    says(&mut events, "connected").await;
    guarded.publish(1).await;
    events.until_event(1).await;
    // It reconnects by itself with the same ticket, which is gone.
    door.cut();
    says(&mut events, "gave up").await;
    assert_eq!(events.numbers(), [1], "{events:?}");
    events.finish().await;

    let mut socket = open("WebSocket", guarded.page, &url, Some(&key));
    says(&mut socket, "connected").await;
    guarded.publish(2).await;
    socket.until_event(2).await;
    assert_eq!(socket.numbers(), [2], "{socket:?}");
    socket.finish().await;
    guarded.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_opens_a_stream_with_the_ticket_that_its_backend_gave_it() {
    if !are_here(&[Node, Chromium]) {
        return;
    }
    let guarded = Guarded::start().await;
    for (n, kind) in [(1, "EventSource"), (2, "WebSocket")] {
        let mut page = open(kind, guarded.page, &guarded.ticketed().await, None);
        says(&mut page, "connected").await;
        guarded.publish(n).await;
        page.until_event(n).await;
        assert_eq!(page.numbers(), [n], "{page:?}");
        page.finish().await;
    }
    let mut page = open("EventSource", free_port(), &guarded.ticketed().await, None);
    says(&mut page, "gave up").await;
    assert_eq!(page.seen.len(), 1, "{page:?}");
    page.finish().await;
    guarded.service.stop().await;
}
