//! Tickets: a browser opens one stream with what somebody else may do.

use bson::{DateTime, Document, doc};
use futures_util::{TryStreamExt as _, future::join_all};
use serde_json::{Value, json};
use tungstenite::Error;

use tidegate::config::Auth;

use super::{admin_key, make, publish, refusal, send, start, subscribe};
use crate::support::{Events, Service, Socket, key_for};

const READING: [&str; 2] = ["events:read", "subscriptions:read"];

async fn reader(service: &Service, admin: &str) -> (String, String) {
    make(service, admin, json!({"scopes": READING})).await
}

/// Makes a ticket for a subscription. Returns the answer.
async fn ticket(service: &Service, key: &str, id: &str) -> Value {
    let body = Some(json!({"subscription": id}));
    let (status, made) = send(service, key, "POST", "/tickets", body).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// Opens a socket at the address of a ticket.
async fn open_with(service: &Service, ticket: &Value) -> Result<Socket, Error> {
    let url = ticket["url"].as_str().unwrap();
    Socket::open(service.address, url, None).await
}

async fn connect_with(service: &Service, ticket: &Value) -> Socket {
    let mut socket = open_with(service, ticket).await.unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    socket
}

/// Opens a stream of server-sent events at an address. Returns the answer.
async fn stream(service: &Service, path: &str, key: Option<&str>) -> reqwest::Response {
    let url = format!("http://{}{path}", service.address);
    let mut request = service.http.get(url).header("accept", "text/event-stream");
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.unwrap()
}

async fn counted(service: &Service, admin: &str, outcome: &str) -> u64 {
    let url = format!("http://{}/metrics", service.address);
    let shown = service.http.get(url).bearer_auth(admin).send().await;
    let shown = shown.unwrap().text().await.unwrap();
    let name = format!("tidegate_tickets_total{{outcome=\"{outcome}\"}} ");
    let line = shown.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_stream() {
    let (service, admin) = start().await;
    let sibling = service.sibling().await;
    let id = subscribe(&service, &admin).await;
    let (_, key) = reader(&service, &admin).await;
    let made = ticket(&service, &key, &id).await;
    let text = made["ticket"].as_str().unwrap();
    assert!(text.len() == 42 && text.starts_with("tgt_"), "{text}");
    let url = format!("/api/v1/subscriptions/{id}/events?ticket={text}");
    assert_eq!(made["url"], url);
    let mut socket = connect_with(&sibling, &made).await;
    for node in [&service, &sibling] {
        assert_eq!(refusal(open_with(node, &made).await), 401);
        assert_eq!(stream(node, &url, None).await.status(), 401);
    }
    let made = ticket(&sibling, &key, &id).await;
    let url = made["url"].as_str().unwrap();
    let mut events = Events::of(stream(&service, url, None).await);
    assert_eq!(events.next().await.unwrap().name, "connected");
    assert_eq!(refusal(open_with(&service, &made).await), 401);
    publish(&service, &admin, 1).await;
    assert_eq!(socket.event().await["n"], 1);
    assert_eq!(events.next().await.unwrap().name, "event");
    assert_eq!(counted(&sibling, &admin, "taken").await, 1);
    assert_eq!(counted(&service, &admin, "taken").await, 1);
    assert_eq!(counted(&service, &admin, "made").await, 1);
    let stored = service.database.collection::<Document>("tickets");
    assert_eq!(stored.count_documents(doc! {}).await.unwrap(), 0);
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_present_a_ticket_at_once_on_two_nodes_one_is_let_in() {
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        // The others are refused, and come fast and from one address.
        config.quotas = tidegate::config::Quotas::NONE;
    })
    .await;
    let admin = admin_key(&service.config);
    let sibling = service.sibling().await;
    let id = subscribe(&service, &admin).await;
    let (_, key) = reader(&service, &admin).await;
    for _ in 0..100 {
        let made = ticket(&service, &key, &id).await;
        let nodes = [&service, &sibling, &service, &sibling];
        let opened = join_all(nodes.map(|node| open_with(node, &made))).await;
        let mut answers: Vec<_> = opened.into_iter().map(refusal).collect();
        answers.sort_unstable();
        assert_eq!(answers, [101, 401, 401, 401]);
    }
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_soon_and_with_what_it_comes_from() {
    let lifetime = std::time::Duration::from_secs(1);
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        config.tickets.lifetime = lifetime;
    })
    .await;
    let admin = admin_key(&service.config);
    let id = subscribe(&service, &admin).await;
    let made = ticket(&service, &admin, &id).await;
    let end = made["expiresAt"].as_str().unwrap();
    let end = DateTime::parse_rfc3339_str(end).unwrap();
    service
        .until("it has ended", async || DateTime::now() > end)
        .await;
    assert_eq!(refusal(open_with(&service, &made).await), 401);
    assert_eq!(counted(&service, &admin, "unknown").await, 1);
    service.stop().await;

    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let soon = DateTime::from_millis(DateTime::now().timestamp_millis() + 20_000);
    let shown = soon.try_to_rfc3339_string().unwrap();
    let body = json!({"scopes": READING, "expiresAt": shown});
    let (_, key) = make(&service, &admin, body).await;
    let made = ticket(&service, &key, &id).await;
    let time = |shown: &Value| DateTime::parse_rfc3339_str(shown.as_str().unwrap()).unwrap();
    assert_eq!(time(&made["expiresAt"]), soon);
    let mut socket = connect_with(&service, &made).await;
    let expiring = socket.message().await;
    assert_eq!(expiring["type"], "expiring", "{expiring}");
    assert_eq!(time(&expiring["expiresAt"]), soon);
    // The one who made it may put the end off.
    let refresh = json!({"type": "refresh", "token": key}).to_string();
    socket.say(&refresh).await;
    assert_eq!(socket.message().await["type"], "refreshed");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ticket_comes_from_takes_it_away() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let (key_id, key) = reader(&service, &admin).await;
    let before = ticket(&service, &key, &id).await;
    let mut socket = connect_with(&service, &before).await;
    let made = ticket(&service, &key, &id).await;
    let path = format!("/keys/{key_id}");
    assert_eq!(send(&service, &admin, "DELETE", &path, None).await.0, 204);
    assert_eq!(refusal(open_with(&service, &made).await), 401);
    socket.assert_ends(4511, "forbidden").await;
    assert_eq!(counted(&service, &admin, "revoked").await, 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_are_not_stored_are_looked_for_so_often_and_no_more() {
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        config.quotas.connects_per_second = 5;
    })
    .await;
    let admin = admin_key(&service.config);
    let sibling = service.sibling().await;
    let id = subscribe(&service, &admin).await;
    let (_, key) = reader(&service, &admin).await;
    let gone = ticket(&service, &key, &id).await;
    connect_with(&service, &gone).await.leave().await;
    let own = ticket(&service, &key, &id).await;
    let other = ticket(&sibling, &key, &id).await;
    let too_many = async || {
        let asked = join_all((0..20).map(|_| open_with(&service, &gone))).await;
        let answers: Vec<_> = asked.into_iter().map(refusal).collect();
        assert!(
            answers.iter().all(|one| matches!(one, 401 | 429)),
            "{answers:?}"
        );
        answers.contains(&429)
    };
    service.until("some are not looked for", too_many).await;
    // Those that this node has made are, and no other is lost by that.
    connect_with(&service, &own).await.leave().await;
    let opens = async || match open_with(&service, &other).await {
        Ok(_) => true,
        refused => {
            assert_eq!(refusal(refused), 429);
            false
        }
    };
    service.until("another node's is taken", opens).await;
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_for_many_subscriptions_takes_one_read_of_them() {
    let (service, admin) = start().await;
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(subscribe(&service, &admin).await);
    }
    // As a program stores one.
    let own_id = bson::oid::ObjectId::new();
    let stored = service.database.collection::<Document>("subscriptions");
    let inserted = stored.insert_one(doc! {"_id": own_id, "filter": {}});
    inserted.await.unwrap();
    ids.push(own_id.to_hex());
    let profiling = service.database.run_command(doc! {"profile": 2});
    profiling.await.unwrap();
    let body = Some(json!({"subscriptions": ids}));
    let (status, made) = send(&service, &admin, "POST", "/tickets", body).await;
    assert_eq!(status, 201, "{made}");
    let profiling = service.database.run_command(doc! {"profile": 0});
    profiling.await.unwrap();
    let profile = service.database.collection::<Document>("system.profile");
    let of_subscriptions = format!("{}.subscriptions", service.config.database);
    let reads = profile
        .find(doc! {"ns": of_subscriptions, "op": "query"})
        .await;
    let reads: Vec<Document> = reads.unwrap().try_collect().await.unwrap();
    let names = |read: &&Document| ids.iter().any(|id| read.to_string().contains(id));
    assert_eq!(reads.iter().filter(names).count(), 1, "{reads:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_for_its_subscriptions_as_far_as_its_maker_sees_them() {
    let (service, admin) = start().await;
    let (a, b) = (
        subscribe(&service, &admin).await,
        subscribe(&service, &admin).await,
    );
    let (_, key) = reader(&service, &admin).await;
    let other = async |made: &Value, id: &str| {
        let text = made["ticket"].as_str().unwrap();
        let path = format!("/api/v1/subscriptions/{id}/events?ticket={text}");
        Socket::open(service.address, &path, None).await
    };
    let for_a = ticket(&service, &key, &a).await;
    assert_eq!(refusal(other(&for_a, &b).await), 404);
    let body = Some(json!({"subscriptions": [a, b]}));
    for id in [&a, &b] {
        let (status, made) = send(&service, &key, "POST", "/tickets", body.clone()).await;
        assert_eq!(status, 201, "{made}");
        let url = made["url"].as_str().unwrap();
        assert!(url.starts_with("/api/v1/socket?ticket=tgt_"), "{url}");
        let mut socket = other(&made, id).await.unwrap();
        let connected = socket.message().await;
        assert_eq!(connected["subscription"]["id"], id.as_str());
    }
    // It is no more than its maker: who loses sight of a subscription loses the socket.
    let scopes = json!({"scopes": ["subscriptions:own", "events:read"]});
    let (_, own) = make(&service, &admin, scopes).await;
    let mine = subscribe(&service, &own).await;
    let made = ticket(&service, &own, &mine).await;
    let mut socket = connect_with(&service, &made).await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let away = doc! {"$set": {"owner": "key:other"}};
    let given = subscriptions.update_one(doc! {"_id": &mine}, away);
    given.await.unwrap();
    socket.assert_ends(4511, "forbidden").await;
    for (key, id, status) in [(&own, &a, 404), (&own, &mine, 404), (&key, &mine, 201)] {
        let body = Some(json!({"subscription": id}));
        assert_eq!(
            send(&service, key, "POST", "/tickets", body).await.0,
            status
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_for_nothing_else() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let (_, key) = reader(&service, &admin).await;
    let made = ticket(&service, &key, &id).await;
    let text = made["ticket"].as_str().unwrap();
    let page = format!("/subscriptions/{id}/events?ticket={text}");
    let asking = format!("/whoami?ticket={text}");
    for (bearer, path, status) in [
        (text, "/whoami", 401),
        (text, "/subscriptions", 401),
        ("", &*asking, 401),
        ("", &*page, 401),
        (&*key, &*asking, 400),
        (&*key, &*page, 400),
    ] {
        let answer = send(&service, bearer, "GET", path, None).await;
        assert_eq!(answer.0, status, "{path}: {}", answer.1);
    }
    // Nor beside another credential.
    let url = made["url"].as_str().unwrap();
    assert_eq!(stream(&service, url, Some(&key)).await.status(), 400);
    let offer = format!("tidegate.v1, tidegate.bearer.{key}");
    let beside = Socket::open(service.address, url, Some(&offer)).await;
    assert_eq!(refusal(beside), 400);
    let twice = format!("{url}&ticket={text}");
    assert_eq!(stream(&service, &twice, None).await.status(), 400);
    for wrong in ["", "tgt_", &key, &text[..41]] {
        let path = format!("/api/v1/subscriptions/{id}/events?ticket={wrong}");
        assert_eq!(stream(&service, &path, None).await.status(), 401, "{wrong}");
    }
    // None of these has taken it.
    connect_with(&service, &made).await.leave().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_checked() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    for (body, pointer) in [
        (json!([]), "#"),
        (json!({}), "#/subscription"),
        (json!({"subscription": 5}), "#/subscription"),
        (json!({"subscription": id, "x": 1}), "#/x"),
        (json!({"subscriptions": []}), "#/subscriptions"),
        (json!({"subscriptions": vec!["a"; 101]}), "#/subscriptions"),
        (json!({"subscriptions": ["a", 5]}), "#/subscriptions/1"),
        (
            json!({"subscription": id, "subscriptions": [id]}),
            "#/subscriptions",
        ),
    ] {
        let (status, problem) =
            send(&service, &admin, "POST", "/tickets", Some(body.clone())).await;
        assert_eq!(status, 422, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let unknown = Some(json!({"subscriptions": [id, "nobody"]}));
    let (status, problem) = send(&service, &admin, "POST", "/tickets", unknown).await;
    assert_eq!(
        (status, &problem["type"]),
        (404, &json!("/problems/subscription-not-found"))
    );
    let (_, publisher) = make(&service, &admin, json!({"scopes": ["events:publish"]})).await;
    let body = json!({"subscription": id});
    let forbidden = send(&service, &publisher, "POST", "/tickets", Some(body.clone())).await;
    assert_eq!(forbidden.0, 403);
    let request = service.http.post(service.url("/tickets"));
    let request = request.header("idempotency-key", "k").bearer_auth(&admin);
    assert_eq!(request.json(&body).send().await.unwrap().status(), 400);
    let request = service
        .http
        .post(service.url("/tickets"))
        .bearer_auth(&admin);
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_has_to_prove_itself_a_ticket_is_made_and_not_looked_at() {
    let service = Service::start().await;
    if key_for(service.address).is_some() {
        // All nodes of this run ask for credentials.
        return service.stop().await;
    }
    let id = service.subscribe(json!({})).await;
    let made = service.post("/tickets", json!({"subscription": id})).await;
    for _ in 0..2 {
        connect_with(&service, &made).await.leave().await;
    }
    // Nor does it let anybody in where everybody has to.
    let mut config = service.config.clone();
    config.auth = Auth::Required;
    let guarded = Service::on(config).await;
    assert_eq!(refusal(open_with(&guarded, &made).await), 401);
    guarded.stop().await;
    service.stop().await;
}
