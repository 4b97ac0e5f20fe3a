//! Order: what is committed behind a revocation reaches none of its sockets, on no node, however far that node lags.
//!
//! `TEST_TIDEGATE_ORDER_ROUNDS=N` makes a longer run.

use std::{env, net::SocketAddr, time::Duration};

use bson::{DateTime, Document, doc};
use futures_util::{StreamExt as _, stream};
use rand::RngExt as _;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::{make, open, start, store_policy};
use crate::support::{Service, Socket};

/// The delay of everything that the lagging node hears from the database.
const LAG: Duration = Duration::from_millis(150);
/// Rounds at a time, so that their commits are interleaved.
const AT_ONCE: usize = 24;

/// The ways in which a right goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    KeyDeleted,
    KeyWeakened,
    TenantRevoked,
    PolicyNarrowed,
    PolicyDeleted,
    SubscriptionMoved,
    KeyExpired,
}

const KINDS: [Kind; 7] = [
    Kind::KeyDeleted,
    Kind::KeyWeakened,
    Kind::TenantRevoked,
    Kind::PolicyNarrowed,
    Kind::PolicyDeleted,
    Kind::SubscriptionMoved,
    Kind::KeyExpired,
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_committed_behind_a_revocation_is_delivered_on_any_node() {
    let rounds = env::var("TEST_TIDEGATE_ORDER_ROUNDS").ok();
    let rounds: usize = rounds.map_or(42, |text| text.parse().unwrap());
    let (service, admin) = start().await;
    let sibling = service.sibling().await;
    let lagging = lagging(&service).await;
    let nodes = [&service, &sibling, &lagging];
    let received = stream::iter(0..rounds)
        .map(|n| round(&nodes, &admin, n))
        .buffer_unordered(AT_ONCE)
        .fold((0, 0), async |sum, one| (sum.0 + one.0, sum.1 + one.1))
        .await;
    println!(
        "{rounds} rounds: {} sockets, {} events before their revocations",
        received.0, received.1
    );
    assert!(received.0 >= 3 * rounds && received.1 > 0);
    for node in nodes {
        let balanced = async || node.count("tidegate_connections").await == 0;
        node.until("every socket is counted out", balanced).await;
    }
    for node in [service, sibling, lagging] {
        node.assert_books_balance().await;
        node.stop().await;
    }
}

/// Starts a node that hears of everything later.
async fn lagging(service: &Service) -> Service {
    let (_, hosts) = service.config.mongodb_uri.split_once("://").unwrap();
    let host = hosts.split(['/', ',', '?']).next().unwrap();
    let to: SocketAddr = tokio::net::lookup_host(host).await.unwrap().next().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(delay(near, to));
        }
    });
    let mut config = service.config.clone();
    config.mongodb_uri = format!("mongodb://{at}/?directConnection=true");
    Service::on(config).await
}

/// Passes everything to the server at once, and its answers later.
async fn delay(near: TcpStream, to: SocketAddr) {
    let far = TcpStream::connect(to).await.unwrap();
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let (sender, mut later) = tokio::sync::mpsc::unbounded_channel();
    let up = async { tokio::io::copy(&mut from_near, &mut to_far).await.map(drop) };
    let read = async {
        loop {
            let mut bytes = vec![0; 64 << 10];
            let length = from_far.read(&mut bytes).await?;
            if length == 0 {
                return Ok::<_, std::io::Error>(());
            }
            bytes.truncate(length);
            let due = tokio::time::Instant::now() + LAG;
            sender
                .send((due, bytes))
                .map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        }
    };
    let write = async {
        while let Some((due, bytes)) = later.recv().await {
            tokio::time::sleep_until(due).await;
            to_near.write_all(&bytes).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::select! {
        _ = up => {}
        _ = read => {}
        _ = write => {}
    }
}

/// Takes a right away between events. Returns the number of sockets, and of events that came before.
async fn round(nodes: &[&Service; 3], admin: &str, n: usize) -> (usize, usize) {
    let (kind, lead, before, after) = {
        let mut random = rand::rng();
        let kind = KINDS[n % KINDS.len()];
        (
            kind,
            random.random_range(0..3),
            random.random_range(0..3),
            random.random_range(1..4),
        )
    };
    let service = nodes[0];
    let (tenant, policy, id) = (format!("t{n}"), format!("p{n}"), format!("o{n}"));
    let read = doc! {"tenant": "$claims.tenant", "level": {"$in": ["low", "high"]}};
    store_policy(service, &policy, doc! {"read": read}).await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let document = doc! {"_id": &id, "filter": {}, "tenant": &tenant, "policy": &policy};
    subscriptions.insert_one(document).await.unwrap();
    let body = json!({"scopes": ["events:read", "subscriptions:read", "metrics"], "tenant": &tenant,
        "policy": &policy});
    let (key_id, key) = make(nodes[lead], admin, body).await;
    let mut sockets = Vec::new();
    for node in nodes {
        let mut socket = open(node, &key, &id)
            .await
            .unwrap_or_else(|error| panic!("{kind:?} {n}: {error}"));
        assert_eq!(socket.message().await["type"], "connected");
        sockets.push(socket);
    }
    let end = DateTime::from_millis(server_time(service).await.timestamp_millis() + 1_000);
    if kind == Kind::KeyExpired {
        let keys = service.database.collection::<Document>("keys");
        let ends = doc! {"$set": {"expiresAt": end}};
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
    take_away(service, kind, n, &key_id, end).await;
    for _ in 0..after {
        insert("high").await;
    }
    if kind == Kind::PolicyNarrowed {
        insert("low").await;
        subscriptions.delete_one(doc! {"_id": &id}).await.unwrap();
    }
    let mut received = 0;
    for (socket, node) in sockets.iter_mut().zip(["first", "second", "lagging"]) {
        received += check(
            socket,
            kind,
            before,
            before + after + 1,
            &format!("{kind:?} {n} {node}"),
        )
        .await;
    }
    (sockets.len(), received)
}

async fn take_away(service: &Service, kind: Kind, n: usize, key: &str, end: DateTime) {
    let database = &service.database;
    let of_key = doc! {"_id": key};
    match kind {
        Kind::KeyDeleted => {
            let keys = database.collection::<Document>("keys");
            keys.delete_one(of_key).await.unwrap();
        }
        Kind::KeyWeakened => {
            let keys = database.collection::<Document>("keys");
            let weaker = doc! {"$set": {"scopes": ["metrics"]}};
            keys.update_one(of_key, weaker).await.unwrap();
        }
        Kind::TenantRevoked => {
            let revocations = database.collection::<Document>("revocations");
            let revocation = doc! {"_id": format!("r{n}"), "tenant": format!("t{n}")};
            revocations.insert_one(revocation).await.unwrap();
        }
        Kind::PolicyNarrowed => {
            let read = doc! {"tenant": "$claims.tenant", "level": "low"};
            store_policy(service, &format!("p{n}"), doc! {"read": read}).await;
        }
        Kind::PolicyDeleted => {
            let policies = database.collection::<Document>("policies");
            policies
                .delete_one(doc! {"_id": format!("p{n}")})
                .await
                .unwrap();
        }
        Kind::SubscriptionMoved => {
            let subscriptions = database.collection::<Document>("subscriptions");
            let away = doc! {"$set": {"tenant": "elsewhere"}};
            subscriptions
                .update_one(doc! {"_id": format!("o{n}")}, away)
                .await
                .unwrap();
        }
        // What is committed from then on, by the server's clock, is behind it.
        Kind::KeyExpired => {
            while server_time(service).await < end {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn server_time(service: &Service) -> DateTime {
    let said = service.database.run_command(doc! {"hello": 1}).await;
    *said.unwrap().get_datetime("localTime").unwrap()
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
    let expected = match kind {
        Kind::PolicyNarrowed => "deleted",
        Kind::KeyExpired => "credential_expired",
        _ => "forbidden",
    };
    assert_eq!(closed.text, expected, "{about}");
    let ended = messages.iter().filter(|one| one["type"] == "ended").count();
    assert_eq!(ended, 1, "{about}");
    events.len()
}
