//! Row policies on every way to a caller: sockets, replays, pages and dry runs, against the server's own `find`.
//!
//! `TEST_TIDEGATE_DELIVERED_PAIRS=N` makes a longer run.

use std::{collections::BTreeSet, env, time::Instant};

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tidegate::{
    config::Auth,
    filter::Filter,
    internal::{Claims, Policy},
};

use super::{
    harness::pool,
    policy_inputs,
    random::Random,
    support::{Service, Socket, admin_key},
};

const EVENTS: usize = 150;
/// Subscriptions, each with a policy, claims and a filter of its own.
const BOUND: usize = 25;
/// Dry runs for each subscription.
const DRY_RUNS: usize = 4;
/// Requests at a time.
const AT_ONCE: usize = 8;

type Numbers = BTreeSet<i64>;

/// A tenant's subscription, bound to a policy and claims.
struct Bound {
    number: usize,
    key: String,
    query: Document,
    user: Document,
}

#[derive(Default)]
struct Tally {
    pairs: usize,
    received: usize,
    subscriptions: usize,
    unsatisfied: usize,
    differences: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_gets_on_any_way_is_what_the_server_finds_with_its_policy() {
    let number = |name: &str, otherwise: usize| {
        let given = env::var(name).ok();
        given.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let pairs = number("TEST_TIDEGATE_DELIVERED_PAIRS", 5_000);
    let seed = number("TEST_TIDEGATE_SEED", 20_261_130) as u64;
    let (mut random, mut tally) = (Random::new(seed), Tally::default());
    let began = Instant::now();
    while tally.pairs < pairs && tally.differences.len() < 10 {
        round(&mut random, &mut tally).await;
    }
    println!(
        "seed {seed}: {} pairs ({} received), {} subscriptions, {} unsatisfied, {} differences, {:.1} s",
        tally.pairs,
        tally.received,
        tally.subscriptions,
        tally.unsatisfied,
        tally.differences.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(tally.differences.is_empty(), "{:#?}", tally.differences);
    assert!(
        tally.received > tally.pairs / 100,
        "hardly anything matches"
    );
}

async fn round(random: &mut Random, tally: &mut Tally) {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    // Its backlog holds next to nothing, so replays there read the oplog.
    let mut config = service.config.clone();
    config.feed.window_bytes = 1;
    let other = Service::on(config).await;
    let admin = admin_key(&service.config);
    let documents: Vec<_> = (0..EVENTS)
        .map(|n| event(n, policy_inputs::document(random)))
        .collect();
    let pool = pool(&documents);
    let mut all = Vec::new();
    for number in 0..BOUND {
        match bind(&service, &admin, number, random, &pool).await {
            Some(bound) => all.push(bound),
            None => tally.unsatisfied += 1,
        }
    }
    let everything = json!({"filter": {}});
    let (_, made) = send(&service, &admin, "POST", "/subscriptions", Some(everything)).await;
    let everything = made["id"].as_str().expect("an id").to_owned();
    let (_, page) = send(&service, &admin, "GET", "/events", None).await;
    let cursor = page["cursor"].as_str().expect("a cursor").to_owned();
    let mut operator = connect(&service, &admin, &everything, "").await;
    let mut others = connect(&other, &admin, &everything, "").await;
    let live: Vec<_> = stream::iter(&all)
        .map(|bound| bound.connect(&service, ""))
        .buffered(AT_ONCE)
        .collect()
        .await;

    let events = service.database.collection::<Document>("events");
    events.insert_many(&documents).await.expect("an insert");
    let last = doc! {"id": "last", "source": "/s", "type": "last", "data": {}, "n": number(EVENTS)};
    events.insert_one(last).await.expect("an insert");
    // All that can be delivered at all.
    let seen = numbers_up_to_last(&mut operator).await;
    numbers_up_to_last(&mut others).await;
    assert!(seen.len() > EVENTS / 2);

    let after = format!("?after={cursor}");
    let mut replayed = Vec::new();
    for node in [&service, &other] {
        let sockets: Vec<_> = stream::iter(&all)
            .map(|bound| bound.connect(node, &after))
            .buffered(AT_ONCE)
            .collect()
            .await;
        replayed.push(sockets);
    }
    let mut ways = Vec::new();
    for bound in &all {
        let page = read_all(
            &service,
            bound,
            &format!("/subscriptions/{}/events", bound.id()),
        )
        .await;
        let filter = Bson::from(bound.user.clone())
            .into_canonical_extjson()
            .to_string();
        let filter =
            percent_encoding::utf8_percent_encode(&filter, percent_encoding::NON_ALPHANUMERIC);
        let found = read_all(&service, bound, &format!("/events?filter={filter}")).await;
        ways.push((page, found));
        dry_runs(&service, bound, &documents, &seen, random, tally).await;
    }
    // Everything that is to come comes before the end.
    let subscriptions = service.database.collection::<Document>("subscriptions");
    subscriptions.delete_many(doc! {}).await.expect("a delete");
    let mut streams = vec![live];
    streams.append(&mut replayed);
    for sockets in streams {
        for (socket, bound) in sockets.into_iter().zip(&all) {
            let received = numbers_to_the_end(socket).await;
            compare(&service, bound, "socket or replay", &seen, received, tally).await;
        }
    }
    for ((page, found), bound) in ways.into_iter().zip(&all) {
        compare(
            &service,
            bound,
            "page of the subscription",
            &seen,
            page,
            tally,
        )
        .await;
        compare(&service, bound, "page of events", &seen, found, tally).await;
    }
    tally.subscriptions += all.len();
    service.stop().await;
    other.stop().await;
}

impl Bound {
    fn id(&self) -> String {
        format!("s{}", self.number)
    }

    async fn connect(&self, node: &Service, query: &str) -> Socket {
        connect(node, &self.key, &self.id(), query).await
    }
}

fn event(n: usize, mut document: Document) -> Document {
    for (name, value) in [
        ("id", n.to_string()),
        ("source", "/s".to_owned()),
        ("type", "t".to_owned()),
    ] {
        document.insert(name, value);
    }
    for name in [
        "_id",
        "ts",
        "storedAt",
        "time",
        "specversion",
        "subject",
        "datacontenttype",
        "dataschema",
    ] {
        document.remove(name);
    }
    document.insert("n", number(n));
    document
}

/// Makes a policy, a key and a subscription that is bound to both. `None` if the claims do not satisfy the policy: then
/// nothing opens.
async fn bind(
    service: &Service,
    admin: &str,
    number: usize,
    random: &mut Random,
    pool: &[Bson],
) -> Option<Bound> {
    let name = format!("p{number}");
    let (policy, stored) = loop {
        let template = policy_inputs::template(random, pool);
        let stored = doc! {"_id": &name, "read": template};
        if let Ok(policy) = Policy::read(&raw(&stored)) {
            break (policy, stored);
        }
    };
    let user = loop {
        let user = policy_inputs::user(random, pool);
        if Filter::parse(&raw(&user)).is_ok() {
            break user;
        }
    };
    let claims = policy_inputs::claims(random);
    let policies = service.database.collection::<Document>("policies");
    policies.insert_one(stored).await.expect("an insert");
    let body =
        json!({"scopes": ["events:read", "subscriptions:read"], "tenant": "a", "policy": &name});
    let (status, made) = send(service, admin, "POST", "/keys", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    let keys = service.database.collection::<Document>("keys");
    let of_key = doc! {"_id": made["id"].as_str().expect("an id")};
    keys.update_one(of_key, doc! {"$set": {"claims": &claims}})
        .await
        .expect("an update");
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let id = format!("s{number}");
    let document =
        doc! {"_id": &id, "filter": &user, "tenant": "a", "policy": &name, "claims": &claims};
    subscriptions.insert_one(document).await.expect("an insert");
    let key = made["key"].as_str().expect("a key").to_owned();
    let path = format!("/subscriptions/{id}/connections");
    service
        .until("the subscription is applied", async || {
            send(service, admin, "GET", &path, None).await.0 == 200
        })
        .await;
    let bound = policy.bind(Some("a"), &Claims::read(&raw(&claims)));
    let opened = open(service, &key, &id, "").await;
    let Ok(bound) = bound else {
        let status = match &opened {
            Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
            _ => 0,
        };
        assert_eq!(status, 403, "{claims}");
        let (status, _) = send(service, &key, "GET", "/events", None).await;
        assert_eq!(status, 403, "{claims}");
        return None;
    };
    opened.expect("a socket").leave().await;
    Some(Bound {
        number,
        key,
        query: bound.query(),
        user,
    })
}

fn number(n: usize) -> i64 {
    i64::try_from(n).expect("a small number")
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("raw bytes")
}

/// Compares what came with what the server finds, among all that can be delivered.
async fn compare(
    service: &Service,
    bound: &Bound,
    way: &str,
    seen: &Numbers,
    received: Numbers,
    tally: &mut Tally,
) {
    let expected = found(service, bound, seen).await;
    tally.pairs += seen.len();
    tally.received += received.len();
    if received != expected {
        let (query, user) = (&bound.query, &bound.user);
        let missing: Vec<_> = expected.difference(&received).collect();
        let excess: Vec<_> = received.difference(&expected).collect();
        tally.differences.push(format!(
            "{way}: policy {query} user {user}: missing {missing:?}, too much {excess:?}"
        ));
    }
}

async fn found(service: &Service, bound: &Bound, seen: &Numbers) -> Numbers {
    let events = service.database.collection::<Document>("events");
    let query = doc! {"$and": [bound.query.clone(), bound.user.clone()]};
    let found: Vec<Document> = events
        .find(query)
        .await
        .expect("a find")
        .try_collect()
        .await
        .expect("events");
    let numbers = found
        .iter()
        .map(|event| event.get_i64("n").expect("a number"));
    numbers.filter(|n| seen.contains(n)).collect()
}

async fn dry_runs(
    service: &Service,
    bound: &Bound,
    documents: &[Document],
    seen: &Numbers,
    random: &mut Random,
    tally: &mut Tally,
) {
    let expected = found(service, bound, seen).await;
    for _ in 0..DRY_RUNS {
        let n = random.below(documents.len());
        let event = Bson::from(documents[n].clone()).into_canonical_extjson();
        let path = format!("/subscriptions/{}/match", bound.id());
        let (status, answer) = send(
            service,
            &bound.key,
            "POST",
            &path,
            Some(json!({"event": event})),
        )
        .await;
        let number = number(n);
        if status != 200 || !seen.contains(&number) {
            continue;
        }
        tally.pairs += 1;
        if answer["matches"] != expected.contains(&number) {
            let (query, user) = (&bound.query, &bound.user);
            tally.differences.push(format!(
                "dry run: policy {query} user {user} event {}: {answer}",
                documents[n]
            ));
        }
    }
}

/// Returns the numbers of all events on all pages.
async fn read_all(service: &Service, bound: &Bound, path: &str) -> Numbers {
    let joint = if path.contains('?') { '&' } else { '?' };
    let (mut numbers, mut after) = (Numbers::new(), String::new());
    loop {
        let page = format!("{path}{joint}limit=40{after}");
        let (status, page) = send(service, &bound.key, "GET", &page, None).await;
        assert_eq!(status, 200, "{page} {}", bound.user);
        let items = page["items"].as_array().expect("items").iter();
        numbers.extend(items.map(|event| event["n"].as_i64().expect("a number")));
        match page["nextCursor"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return numbers,
        }
    }
}

async fn numbers_up_to_last(socket: &mut Socket) -> Numbers {
    let mut numbers = Numbers::new();
    loop {
        let message = socket.message().await;
        if message["type"] == "event" {
            numbers.insert(message["event"]["n"].as_i64().expect("a number"));
            if message["event"]["type"] == "last" {
                return numbers;
            }
        }
    }
}

async fn numbers_to_the_end(mut socket: Socket) -> Numbers {
    let (messages, closed) = socket.rest().await;
    assert_eq!(closed.text, "deleted", "{messages:?}");
    let events: Vec<_> = messages
        .iter()
        .filter(|one| one["type"] == "event")
        .collect();
    let numbers: Numbers = events
        .iter()
        .map(|one| one["event"]["n"].as_i64().expect("a number"))
        .collect();
    assert_eq!(numbers.len(), events.len(), "an event came twice");
    numbers
}

async fn send(
    service: &Service,
    key: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let request = service
        .http
        .request(method, service.url(path))
        .bearer_auth(key);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn open(
    service: &Service,
    key: &str,
    id: &str,
    query: &str,
) -> Result<Socket, tungstenite::Error> {
    let offer = format!("tidegate.v1, tidegate.bearer.{key}");
    let path = format!("/api/v1/subscriptions/{id}/events{query}");
    Socket::open(service.address, &path, Some(&offer)).await
}

async fn connect(service: &Service, key: &str, id: &str, query: &str) -> Socket {
    let mut socket = open(service, key, id, query).await.expect("a socket");
    assert_eq!(socket.message().await["type"], "connected");
    socket
}
