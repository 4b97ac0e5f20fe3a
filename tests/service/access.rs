//! Keys: who is let in, and what is taken away again.

mod archive;
mod audit;
mod audit_of_subscriptions;
mod binding;
mod bodies;
mod calls;
mod certificates;
mod cookies;
mod credential_teardown;
mod fairness;
mod issuers;
mod minting;
mod order;
mod policies;
mod policy_calls;
mod quotas;
mod refreshing;
mod revoking;
mod room;
mod secrets;
mod several;
mod shares;
mod teardown;
mod tenancy;
mod tickets;
mod times;
pub(crate) mod tokens;
mod uses;

use bson::{Document, doc};
use serde_json::{Value, json};
use tidegate::config::{Auth, Config, Quotas};
use tungstenite::Error;

use crate::support::{Service, Socket, admin_key};

/// Starts a node that asks for keys, where tenants receive what names them. Returns it with an administrator's key.
async fn start() -> (Service, String) {
    let (service, key) = start_without_policies().await;
    let tenants = doc! {"read": {"tenant": "$claims.tenant"}};
    store_policy(&service, "default", tenants).await;
    (service, key)
}

async fn start_without_policies() -> (Service, String) {
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        // A test may be faster than a tenant.
        config.quotas = Quotas::NONE;
    })
    .await;
    let key = admin_key(&service.config);
    (service, key)
}

/// Starts a node that asks for keys, where tenants receive and publish what names them. Returns it with an
/// administrator's key.
async fn start_with(configure: impl FnOnce(&mut Config)) -> (Service, String) {
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        config.quotas = Quotas::NONE;
        configure(config);
    })
    .await;
    let key = admin_key(&service.config);
    let tenants =
        doc! {"read": {"tenant": "$claims.tenant"}, "stamp": {"tenant": "$claims.tenant"}};
    store_policy(&service, "default", tenants).await;
    (service, key)
}

/// Stores a policy as a program does. What is written later is applied after it.
async fn store_policy(service: &Service, name: &str, mut policy: Document) {
    policy.insert("_id", name);
    let policies = service.database.collection::<Document>("policies");
    let stored = policies
        .replace_one(doc! {"_id": name}, policy)
        .upsert(true);
    stored.await.unwrap();
}

/// Makes a key over REST. Returns its id and its text.
pub(crate) async fn make(service: &Service, by: &str, body: Value) -> (String, String) {
    let (status, made) = send(service, by, "POST", "/keys", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// Sends a request with a key. Returns the status and the JSON of the answer.
pub(crate) async fn send(
    service: &Service,
    key: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = service.http.request(method, service.url(path));
    if !key.is_empty() {
        request = request.bearer_auth(key);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Creates a subscription to everything. Returns its id.
pub(crate) async fn subscribe(service: &Service, key: &str) -> String {
    let body = json!({"filter": {}});
    let (status, made) = send(service, key, "POST", "/subscriptions", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// Opens a socket as a browser does, with the key beside the subprotocol.
async fn open(service: &Service, key: &str, id: &str) -> Result<Socket, Error> {
    let offer = format!("tidegate.v1, tidegate.bearer.{key}");
    let path = format!("/api/v1/subscriptions/{id}/events");
    Socket::open(service.address, &path, Some(&offer)).await
}

/// Opens a socket and reads its first message.
async fn connect(service: &Service, key: &str, id: &str) -> Socket {
    let mut socket = open(service, key, id).await.unwrap();
    assert_eq!(socket.subprotocol.as_deref(), Some("tidegate.v1"));
    let connected = socket.message().await;
    assert_eq!(connected["type"], "connected", "{connected}");
    socket
}

/// Returns the status with which an upgrade was refused.
fn refusal(opened: Result<Socket, Error>) -> u16 {
    match opened {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    }
}

/// Publishes an event with this number.
async fn publish(service: &Service, key: &str, n: u32) {
    let event = json!({"type": "a", "data": {"n": n}});
    let (status, answer) = send(service, key, "POST", "/events", Some(event)).await;
    assert_eq!(status, 202, "{answer}");
}
