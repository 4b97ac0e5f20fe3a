//! Audited writes while primaries step down: an act and its entry are there together, or neither is.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc};
use futures_util::TryStreamExt as _;
use reqwest::Method;
use serde_json::json;
use tidegate::config::{Auth, Config, Quotas};
use tokio::time::{Instant, sleep};

use crate::{
    rig::faults::Fault,
    suite::empty_world,
    support::{DEADLINE, Service, admin_key},
};

const WRITERS: usize = 6;
const STEP_DOWNS: usize = 4;
/// Writes that are acknowledged between two of them.
const BETWEEN: usize = 60;

/// The acts on each subscription: a request, the status of its acknowledgement, and its name in the audit.
const ACTS: [(Method, u16, &str); 3] = [
    (Method::PUT, 201, "subscription.create"),
    (Method::PATCH, 200, "subscription.change"),
    (Method::DELETE, 204, "subscription.delete"),
];

/// Creates subscriptions and changes each; every second one is deleted. No request is repeated. Returns the acts that were
/// acknowledged, and the number of those that were not.
async fn write(
    service: Arc<Service>,
    key: String,
    writer: usize,
    (stop, acknowledged): (Arc<AtomicBool>, Arc<AtomicUsize>),
) -> (Vec<(String, &'static str)>, usize) {
    let (mut known, mut unknown) = (Vec::new(), 0);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("w{writer}-{n}");
        let acts = if n % 2 == 0 { &ACTS[..] } else { &ACTS[..2] };
        for (method, status, act) in acts {
            let url = service.url(&format!("/subscriptions/{id}"));
            let request = service.http.request(method.clone(), url).bearer_auth(&key);
            let request = match *method {
                Method::PUT => request.json(&json!({"filter": {}, "name": "made"})),
                Method::PATCH => request
                    .header("content-type", "application/merge-patch+json")
                    .body(r#"{"name": "changed"}"#),
                _ => request,
            };
            match request.send().await {
                Ok(answer) if answer.status() == *status => {
                    known.push((id.clone(), *act));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    unknown += 1;
                    // While there is no primary, everything is refused at once.
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    (known, unknown)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_and_its_entry_are_one_through_elections() {
    let (mut world, _turn) = empty_world(0).await;
    let service = Service::on(Config {
        mongodb_uri: format!("{}&heartbeatFrequencyMS=500", world.cluster.uri()),
        database: "audited".to_owned(),
        auth: Auth::Required,
        quotas: Quotas::NONE,
        ..Config::default()
    })
    .await;
    let key = admin_key(&service.config);
    let service = Arc::new(service);
    let (stop, acknowledged) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let shared = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(write(Arc::clone(&service), key.clone(), writer, shared))
        })
        .collect();
    for _ in 0..STEP_DOWNS {
        until_acknowledged(&acknowledged).await;
        Fault::StepDown.inject(&mut world).await.unwrap();
    }
    until_acknowledged(&acknowledged).await;
    stop.store(true, Ordering::Relaxed);
    let (mut known, mut unknown) = (Vec::new(), 0);
    for writer in writers {
        let (acts, lost) = writer.await.unwrap();
        known.extend(acts);
        unknown += lost;
    }
    println!("{} acts were acknowledged, {unknown} not", known.len());

    let entries = entries(&service).await;
    for (id, act) in known {
        let count = entries.get(&(id.clone(), act.to_owned()));
        assert_eq!(count, Some(&1), "{act} of {id} was acknowledged");
    }
    assert_every_entry_has_its_act(&service, &entries).await;
    Arc::into_inner(service).unwrap().stop().await;
    world.stop().await.unwrap();
}

/// Waits until so many more writes are acknowledged.
async fn until_acknowledged(acknowledged: &AtomicUsize) {
    let (begun, before) = (Instant::now(), acknowledged.load(Ordering::Relaxed));
    while acknowledged.load(Ordering::Relaxed) < before + BETWEEN {
        assert!(begun.elapsed() < DEADLINE, "nothing is acknowledged");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the number of entries of each act on each subscription.
async fn entries(service: &Service) -> HashMap<(String, String), usize> {
    let audit = service.database.collection::<Document>("audit");
    let of_subscriptions = doc! {"act": {"$in": ACTS.map(|(_, _, act)| act).to_vec()}};
    let mut found = audit.find(of_subscriptions).await.unwrap();
    let mut entries = HashMap::new();
    while let Some(entry) = found.try_next().await.unwrap() {
        let text = |field| entry.get_str(field).unwrap().to_owned();
        *entries.entry((text("target"), text("act"))).or_default() += 1;
    }
    entries
}

/// Compares the entries with what is stored: each act is done once at most, and the last of them shows.
async fn assert_every_entry_has_its_act(
    service: &Service,
    entries: &HashMap<(String, String), usize>,
) {
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let mut found = subscriptions.find(doc! {}).await.unwrap();
    let mut stored = HashMap::new();
    while let Some(document) = found.try_next().await.unwrap() {
        let text = |field| document.get_str(field).unwrap().to_owned();
        stored.insert(text("_id"), text("name"));
    }
    let mut ids: Vec<&String> = entries
        .keys()
        .map(|(id, _)| id)
        .chain(stored.keys())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let counts = ACTS.map(|(_, _, act)| {
            let count = entries.get(&(id.clone(), act.to_owned()));
            count.copied().unwrap_or(0)
        });
        assert!(counts.iter().all(|count| *count <= 1), "{id}: {counts:?}");
        let expected = match counts {
            [1, 0, 0] => Some("made"),
            [1, 1, 0] => Some("changed"),
            [1, _, 1] => None,
            _ => panic!("{id}: {counts:?} without a creation"),
        };
        assert_eq!(
            stored.get(id).map(String::as_str),
            expected,
            "{id}: {counts:?}"
        );
    }
}
