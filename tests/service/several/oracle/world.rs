//! Two nodes, an identity provider, and the credential of a client: keys and tokens in turn.

use std::time::Duration;

use bson::Document;
use serde_json::{Value, json};
use tidegate::config::{Auth, Issuer, Quotas};

use crate::{
    access::{
        make, send,
        tokens::idp::{Idp, Key},
    },
    support::{Service, Socket, admin_key},
};

/// The rights of a client.
const SCOPES: [&str; 2] = ["events:read", "subscriptions:read"];

/// A credential that can be taken away.
enum Credential {
    Key { id: String, text: String },
    Token { jti: String, text: String },
}

pub(super) struct World {
    nodes: [Service; 2],
    admin: String,
    idp: Idp,
    key: Key,
    /// The client is on this node.
    at: usize,
    credential: Credential,
    /// The number of credentials so far.
    credentials: usize,
    /// A subscription for nothing but a change that a node has to apply.
    probe: String,
}

impl World {
    pub(super) async fn start() -> Self {
        let key = Key::ed25519("d1");
        let idp = Idp::start("https://staff.example.com/", &[&key]).await;
        let first = Service::start_with(|config| {
            config.auth = Auth::Required;
            config.quotas = Quotas::NONE;
            let issuer = Issuer {
                leeway: Duration::ZERO,
                scopes: SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
                ..idp.operators()
            };
            config.issuers.insert("staff".to_owned(), issuer);
        })
        .await;
        let second = first.sibling().await;
        let admin = admin_key(&first.config);
        let (id, text) = make(&first, &admin, json!({"scopes": SCOPES})).await;
        let mut world = Self {
            nodes: [first, second],
            admin,
            idp,
            key,
            at: 0,
            credential: Credential::Key { id, text },
            credentials: 1,
            probe: String::new(),
        };
        world.probe = world.subscribe(&json!({"type": "never"})).await;
        world
    }

    fn node(&self) -> &Service {
        &self.nodes[self.at]
    }

    /// Sends a request of the administrator's, which must succeed.
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = send(self.node(), &self.admin, method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    pub(super) async fn subscribe(&self, filter: &Value) -> String {
        let made = self
            .send("POST", "/subscriptions", Some(json!({"filter": filter})))
            .await;
        made["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn insert(&self, events: Vec<Document>) {
        let collection = self.node().database.collection("events");
        collection.insert_many(events).await.unwrap();
    }

    /// Returns a cursor behind which a client can ask for more.
    pub(super) async fn cursor(&self) -> Option<String> {
        let page = self.send("GET", "/events?limit=1", None).await;
        page["cursor"].as_str().map(str::to_owned)
    }

    fn credential(&self) -> &str {
        match &self.credential {
            Credential::Key { text, .. } | Credential::Token { text, .. } => text,
        }
    }

    pub(super) async fn open_many(&mut self) -> Socket {
        let mut socket = self.open("/api/v1/socket", "tidegate.many.v1").await;
        assert_eq!(socket.message().await["type"], "welcome");
        socket
    }

    pub(super) async fn open_one(&self, id: &str, after: &str) -> Socket {
        let path = format!("/api/v1/subscriptions/{id}/events?after={after}");
        self.open(&path, "tidegate.v1").await
    }

    async fn open(&self, path: &str, protocol: &str) -> Socket {
        let offer = format!("{protocol}, tidegate.bearer.{}", self.credential());
        Socket::open(self.node().address, path, Some(&offer))
            .await
            .unwrap()
    }

    /// Takes the client's credential away, and gives it one of the other kind.
    pub(super) async fn revoke(&mut self) {
        self.credentials += 1;
        let fresh = match &self.credential {
            Credential::Key { id, .. } => {
                self.send("DELETE", &format!("/keys/{id}"), None).await;
                let jti = format!("token {}", self.credentials);
                let claims = json!({"jti": jti, "scope": SCOPES.join(" ")});
                let text = self.key.sign(&self.idp.claims(&claims));
                Credential::Token { jti, text }
            }
            Credential::Token { jti, .. } => {
                self.send("POST", "/revocations", Some(json!({"jti": jti})))
                    .await;
                let (id, text) = make(self.node(), &self.admin, json!({"scopes": SCOPES})).await;
                Credential::Key { id, text }
            }
        };
        self.credential = fresh;
    }

    /// Goes to the other node, which has applied everything that was committed.
    pub(super) async fn go_elsewhere(&mut self) {
        self.at = 1 - self.at;
        let change = json!({"name": self.at.to_string()});
        let path = format!("/subscriptions/{}", self.probe);
        self.send("PATCH", &path, Some(change)).await;
    }

    pub(super) async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}
