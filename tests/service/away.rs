//! The database is unavailable: requests are refused at once, sockets stay, and nothing is lost.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidegate::{config::Config, mongod::Cluster};

use crate::{
    support::{Service, Socket, database_name, key_for, options},
    trouble::requests,
};

/// Longer than a test waits for anything, so that a request that waits this long fails the test.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Starts three members, and a node on them whose requests would wait for a server for ever.
async fn start() -> (Cluster, Service) {
    let cluster = Cluster::start(options()).await.unwrap();
    let mut config = Config {
        mongodb_uri: cluster.uri() + "&serverSelectionTimeoutMS=3600000",
        database: database_name(),
        ..Config::default()
    };
    config.limits.database_timeout = FOR_EVER;
    config.feed.ready_lag = Duration::from_millis(200);
    let service = Service::on(config).await;
    (cluster, service)
}

async fn database(service: &Service) -> Value {
    let (_, health) = service.send("GET", "/health", None).await;
    health["parts"]["database"].clone()
}

/// Takes the majority away, and the primary with it. Returns the members that are gone.
async fn lose_majority(cluster: &mut Cluster) -> [usize; 2] {
    let primary = cluster.primary().await.unwrap();
    let gone = [primary, (primary + 1) % 3];
    for member in gone {
        cluster.kill(member).await;
    }
    gone
}

/// Sends all requests at once, with and without a key. Each must be refused by the one problem for this.
async fn assert_refused(service: &Service, id: &str) {
    let sent = requests(id).into_iter().flat_map(|(method, path, body)| {
        ["", "key"].map(|key| {
            let shows_events = method == "GET" && path.contains("/events");
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = service.http.request(method, service.url(&path));
            if let Some(body) = &body {
                request = request.json(body);
            }
            if !key.is_empty() {
                request = request.header("idempotency-key", format!("{key}-{path}"));
            }
            let path = path.clone();
            async move { (path, shows_events, request.send().await.unwrap()) }
        })
    });
    let asks = key_for(service.address).is_some();
    for (path, shows_events, answer) in join_all(sent).await {
        assert_eq!(answer.status(), 503, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        let problem: Value = answer.json().await.unwrap();
        // With credentials a node that is behind shows no events, whatever the reason.
        if asks && shows_events && problem["type"] == "/problems/not-ready" {
            continue;
        }
        assert_eq!(problem["type"], "/problems/database-unavailable", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_refuses_requests_at_once_and_keeps_sockets() {
    let (mut cluster, service) = start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut before = service.connect(&id).await;
    service.publish("a", json!(1)).await;
    let cursor = before.message().await["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let gone = lose_majority(&mut cluster).await;

    // The node does not know yet: these wait for a server, and end once it does.
    assert_refused(&service, &id).await;
    service
        .until("away", async || {
            database(&service).await["status"] == "away"
        })
        .await;
    assert_refused(&service, &id).await;
    let told = database(&service).await;
    assert!(
        told["since"].is_string() && told["detail"].is_string(),
        "{told}"
    );
    assert_eq!(service.status("/live").await, 200);
    service
        .until("not ready", async || service.status("/ready").await == 503)
        .await;
    // The router needs no database for the list of connections, nor for new connections.
    assert_eq!(
        service
            .status(&format!("/subscriptions/{id}/connections"))
            .await,
        200
    );
    let mut meanwhile = service.connect(&id).await;
    let mut resumed = service.open(&id, &format!("?after={cursor}")).await;
    assert_eq!(resumed.message().await["recovered"], true);
    let unknown = service.status("/subscriptions/unknown/connections").await;
    assert_eq!(unknown, 503, "it cannot be told that there is none");

    for member in gone {
        cluster.restart(member).await.unwrap();
    }
    service
        .until("back", async || database(&service).await["status"] == "up")
        .await;
    assert_eq!(service.status(&format!("/subscriptions/{id}")).await, 200);
    service.publish("a", json!(2)).await;
    let sockets: [&mut Socket; 3] = [&mut before, &mut meanwhile, &mut resumed];
    for socket in sockets {
        assert_eq!(
            socket.event().await,
            json!(2),
            "nothing before, nothing lost"
        );
    }
    service
        .until("ready", async || service.status("/ready").await == 200)
        .await;
    service.assert_books_balance().await;
    service.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_used_while_the_database_went_away_works_when_it_is_back() {
    let (mut cluster, service) = start().await;
    let post = async |body: Value| {
        let request = service.http.post(service.url("/events"));
        let request = request.header("idempotency-key", "k").json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let gone = lose_majority(&mut cluster).await;
    let event = json!({"type": "once"});
    assert_eq!(post(event.clone()).await, 503);
    for member in gone {
        cluster.restart(member).await.unwrap();
    }
    service
        .until("published", async || post(event.clone()).await == 202)
        .await;
    assert_eq!(post(event.clone()).await, 202);
    let stored = service.get("/events?type=once").await;
    assert_eq!(stored["items"].as_array().unwrap().len(), 1, "{stored}");
    service.stop().await;
    cluster.stop().await;
}

/// Durable, so that a connection without a cursor needs the database.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_position_is_refused_and_not_guessed() {
    let (mut cluster, service) = start().await;
    let body = json!({"filter": {}, "durable": true});
    let (status, _) = service.send("PUT", "/subscriptions/kept", Some(body)).await;
    assert_eq!(status, 201);
    let gone = lose_majority(&mut cluster).await;
    let path = "/api/v1/subscriptions/kept/events";
    match Socket::open(service.address, path, None).await {
        Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("connected: {:?}", other.map(|socket| socket.subprotocol)),
    }
    for member in gone {
        cluster.restart(member).await.unwrap();
    }
    service
        .until("connected", async || {
            Socket::open(service.address, path, None).await.is_ok()
        })
        .await;
    service.stop().await;
    cluster.stop().await;
}
