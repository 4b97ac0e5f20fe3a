//! Order: what is committed behind a revocation reaches none of its sockets, on no node, however far that node lags. And
//! afterwards each node is shown to have closed them.
//!
//! `TEST_TIDEGATE_ORDER_ROUNDS=N` makes a longer run, `TEST_TIDEGATE_SEED=N` repeats its choices.

mod kind;

use std::{collections::BTreeSet, env, time::Duration};

use bson::{DateTime, Document, doc};
use futures_util::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tidegate::config::{Auth, Issuer, Quotas};

use self::kind::{Kind, Right, server_time};
use super::{
    admin_key, make, open, send, store_policy,
    tokens::idp::{Idp, Key},
};
use crate::{
    kit,
    lag::lagging,
    support::{Service, Socket},
};

/// Rounds at a time, so that their commits are interleaved.
const AT_ONCE: usize = 24;

/// Three nodes, of which the last lags.
struct World {
    nodes: [Service; 3],
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
            config.quotas = Quotas::NONE;
            // A heartbeat proves what no receipt tells.
            config.node.heartbeat_interval = Duration::from_millis(500);
            let scopes = ["events:read", "subscriptions:read"].map(str::to_owned);
            let settings = Issuer {
                scopes: scopes.to_vec(),
                ..issuer.settings()
            };
            config.issuers.insert("main".to_owned(), settings);
        })
        .await;
        let admin = admin_key(&service.config);
        let tenants = doc! {"read": {"tenant": "$claims.tenant"}};
        store_policy(&service, "default", tenants).await;
        let sibling = service.sibling().await;
        let lagging = lagging(&service).await;
        Self {
            nodes: [service, sibling, lagging],
            admin,
            issuer,
            key,
        }
    }

    /// Makes a credential of the round's tenant by one of the nodes. Returns its id, if it is a key, and its text.
    async fn credential(&self, kind: Kind, n: usize, by: &Service) -> (String, String) {
        let tenant = format!("t{n}");
        if kind.is_of_token() {
            let who = json!({"tenant": tenant, "sub": format!("s{n}"), "jti": format!("j{n}"),
                "scope": "events:read subscriptions:read"});
            return (String::new(), self.key.sign(&self.issuer.claims(&who)));
        }
        let body = json!({"scopes": ["events:read", "subscriptions:read", "metrics"], "tenant": tenant,
            "policy": format!("p{n}")});
        make(by, &self.admin, body).await
    }

    /// Checks that each node is shown to have closed its socket of a right that is gone.
    async fn check_teardown(&self, right: &Right<'_>, asked: usize) {
        let Some(path) = right.path() else {
            return;
        };
        let (kind, n) = (right.kind, right.n);
        let asked = &self.nodes[asked];
        let path = format!("{path}/teardown");
        let read = async || send(asked, &self.admin, "GET", &path, None).await.1;
        let complete = async || read().await["complete"] == true;
        asked
            .until(&format!("{kind:?} {n} is torn down"), complete)
            .await;
        let shown = read().await;
        let nodes = shown["nodes"].as_array().unwrap();
        let text = |node: &Value| node["address"].as_str().unwrap().to_owned();
        let found: BTreeSet<_> = nodes.iter().map(text).collect();
        let expected = self.nodes.each_ref().map(|node| node.address.to_string());
        assert_eq!(found, BTreeSet::from(expected), "{kind:?} {n}: {shown}");
        for node in nodes {
            let counts = (&node["connections"], &node["closed"]);
            // By the time at which the document of an expired key goes, its sockets may be gone.
            if kind == Kind::KeyExpired {
                assert_eq!(counts.0, counts.1, "{n}: {shown}");
                assert!(counts.0.as_i64().unwrap() <= 1, "{n}: {shown}");
            } else {
                assert_eq!(node["state"], "closed", "{kind:?} {n}: {shown}");
                assert_eq!(counts, (&json!(1), &json!(1)), "{kind:?} {n}: {shown}");
            }
        }
        let (named, reason) = match kind {
            Kind::KeyDeleted => (json!(right.key), json!("deleted")),
            Kind::KeyExpired => (json!(right.key), json!("expired")),
            _ => (json!(format!("r{n}")), Value::Null),
        };
        let id = if right.key.is_empty() || kind == Kind::TenantRevoked {
            &shown["revocation"]
        } else {
            &shown["key"]
        };
        assert_eq!(
            (id, &shown["reason"]),
            (&named, &reason),
            "{kind:?}: {shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_committed_behind_a_revocation_is_delivered_on_any_node() {
    let rounds = env::var("TEST_TIDEGATE_ORDER_ROUNDS").ok();
    let rounds: usize = rounds.map_or(4 * Kind::ALL.len(), |text| text.parse().unwrap());
    let seed = kit::seed();
    let world = World::start().await;
    let received = stream::iter(0..rounds)
        .map(|n| {
            round(
                &world,
                n,
                StdRng::seed_from_u64(seed.wrapping_add(n as u64)),
            )
        })
        .buffer_unordered(AT_ONCE)
        .fold((0, 0), async |sum, one| (sum.0 + one.0, sum.1 + one.1))
        .await;
    println!(
        "{rounds} rounds: {} sockets, {} events before their revocations",
        received.0, received.1
    );
    assert!(received.0 >= 3 * rounds && received.1 > 0);
    for node in &world.nodes {
        let balanced = async || node.count("tidegate_connections").await == 0;
        node.until("every socket is counted out", balanced).await;
    }
    for node in world.nodes {
        node.assert_books_balance().await;
        node.stop().await;
    }
}

/// Takes a right away between events. Returns the number of sockets, and of events that came before.
async fn round(world: &World, n: usize, mut random: StdRng) -> (usize, usize) {
    let kind = Kind::ALL[n % Kind::ALL.len()];
    let [lead, asked] = [(); 2].map(|()| random.random_range(0..3));
    let (before, after) = (random.random_range(0..3), random.random_range(1..4));
    let service = &world.nodes[0];
    let (tenant, id) = (format!("t{n}"), format!("o{n}"));
    let policy = if kind.is_of_token() {
        "default".to_owned()
    } else {
        let read = doc! {"tenant": "$claims.tenant", "level": {"$in": ["low", "high"]}};
        store_policy(service, &format!("p{n}"), doc! {"read": read}).await;
        format!("p{n}")
    };
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let document = doc! {"_id": &id, "filter": {}, "tenant": &tenant, "policy": policy};
    subscriptions.insert_one(document).await.unwrap();
    let (key_id, text) = world.credential(kind, n, &world.nodes[lead]).await;
    let mut sockets = Vec::new();
    for node in &world.nodes {
        let mut socket = open(node, &text, &id)
            .await
            .unwrap_or_else(|error| panic!("{kind:?} {n}: {error}"));
        assert_eq!(socket.message().await["type"], "connected");
        sockets.push(socket);
    }
    let right = Right {
        kind,
        n,
        key: &key_id,
        end: DateTime::from_millis(server_time(service).await.timestamp_millis() + 1_000),
        narrowed: random.random(),
    };
    if kind == Kind::KeyExpired {
        let keys = service.database.collection::<Document>("keys");
        let ends = doc! {"$set": {"expiresAt": right.end}};
        keys.update_one(doc! {"_id": &key_id}, ends).await.unwrap();
    }
    let events = service.database.collection::<Document>("events");
    let mut number = 0;
    let mut insert = async |level: &str| {
        number += 1;
        let event = doc! {"id": format!("{n}-{number}"), "source": "/s", "type": "a", "tenant": &tenant,
        "level": level, "data": {"n": number}};
        events.insert_one(event).await.unwrap();
    };
    for _ in 0..before {
        insert("high").await;
    }
    right.take_away(service).await;
    for _ in 0..after {
        insert("high").await;
    }
    if kind == Kind::PolicyNarrowed {
        insert("low").await;
        subscriptions.delete_one(doc! {"_id": &id}).await.unwrap();
    }
    let mut received = 0;
    for (socket, node) in sockets.iter_mut().zip(["first", "second", "lagging"]) {
        let about = format!("{kind:?} {n} {node}");
        received += check(socket, kind, before, before + after + 1, &about).await;
    }
    let count = sockets.len();
    drop(sockets);
    world.check_teardown(&right, asked).await;
    (count, received)
}

/// Checks what a socket got up to its one end: of the first `before` events some or all, in order, and nothing of what
/// follows. `last` alone is permitted by the narrower policy. A node ends a socket by its own clock, and may not have heard
/// of all that was committed before the end; the cursor says how far it came.
async fn check(socket: &mut Socket, kind: Kind, before: i32, last: i32, about: &str) -> usize {
    let (messages, closed) = socket.rest().await;
    let events: Vec<i64> = messages
        .iter()
        .filter(|one| one["type"] == "event")
        .map(|one| one["event"]["data"]["n"].as_i64().unwrap())
        .collect();
    let mut all: Vec<i64> = (1..=i64::from(before)).collect();
    if kind == Kind::PolicyNarrowed {
        all.push(last.into());
        assert_eq!(events, all, "{about}: {messages:?}");
    } else {
        assert_eq!(events, all[..events.len()], "{about}: {messages:?}");
    }
    assert_eq!((closed.code, &*closed.text), kind.ending(), "{about}");
    let ended = messages.iter().filter(|one| one["type"] == "ended").count();
    assert_eq!(ended, 1, "{about}");
    events.len()
}
