//! Programs that make, change and delete subscriptions, over HTTP and straight in the database. Only its maker changes
//! a subscription, so its versions have an order.

mod pool;

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use bson::{Document, doc};
use mongodb::Collection;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::pool::Offer;
pub(crate) use self::pool::Pool;
use super::{
    keyring::Keyring,
    node::http_client,
    publishers::refused,
    record::{Kinds, LAST, Notebook, TICK, Version},
};

/// The subscriptions that a writer keeps.
const KEPT: usize = 6;
/// The pause between two attempts of a call.
const PAUSE: Duration = Duration::from_millis(100);
/// The attempts of a call before its outcome counts as unknown.
const ATTEMPTS: usize = 5;
/// Time for one call.
const PATIENCE: Duration = Duration::from_secs(12);

/// A writer's way to the subscriptions.
#[derive(Clone, Debug)]
pub(crate) enum Path {
    Http {
        node: usize,
        front: SocketAddr,
        keyring: Keyring,
    },
    Direct(Collection<Document>),
}

/// A writer at work.
pub(crate) struct Writer {
    path: Path,
    name: String,
    http: Client,
    notebook: Notebook,
    pool: Pool,
    random: StdRng,
    kept: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    id: String,
    version: Version,
    stable: bool,
}

/// The knowledge after a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Gone,
    Unknown,
}

impl Writer {
    pub(crate) fn new(path: Path, notebook: Notebook, pool: Pool, seed: u64) -> Result<Self> {
        let name = match &path {
            Path::Http { node, .. } => format!("http{node}"),
            Path::Direct(_) => "direct".to_owned(),
        };
        Ok(Self {
            path,
            name,
            http: http_client()?,
            notebook,
            pool,
            random: StdRng::seed_from_u64(seed),
            kept: Vec::new(),
        })
    }

    /// Writes until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.act().await;
            let pause = Duration::from_millis(self.random.random_range(50..400));
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    async fn act(&mut self) {
        if self.kept.len() < KEPT {
            return self.create().await;
        }
        let chosen = self.random.random_range(0..self.kept.len());
        if self.random.random_bool(0.3) {
            let kept = self.kept.swap_remove(chosen);
            self.delete(&kept).await;
        } else if !self.kept[chosen].stable {
            self.change(chosen).await;
        }
    }

    async fn create(&mut self) {
        let number = self.notebook.number();
        let stable = self.random.random_bool(0.3);
        let version = Version {
            number: 1,
            kinds: self.kinds(),
            active: true,
        };
        let name = format!("{}-{number}", self.name);
        let Some(id) = self.try_create(&name, version).await else {
            return;
        };
        self.notebook
            .note(|notes| notes.acknowledged.created.insert(id.clone()));
        self.pool.offer(Offer {
            id: id.clone(),
            stable,
        });
        self.kept.push(Kept {
            id,
            version,
            stable,
        });
    }

    /// Creates a subscription. Returns the id, if it is known to be stored.
    async fn try_create(&self, name: &str, version: Version) -> Option<String> {
        match &self.path {
            Path::Direct(subscriptions) => {
                let document = stored(name, version);
                for _ in 0..ATTEMPTS {
                    let inserting = subscriptions.insert_one(&document).into_future();
                    match timeout(PATIENCE, inserting).await {
                        Ok(Ok(_)) => return Some(name.to_owned()),
                        // An earlier attempt may have been stored. Then nobody will use that subscription.
                        Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
                    }
                }
                None
            }
            Path::Http { node, front, .. } => {
                let body = json!({"name": version.number.to_string(), "filter": filter(version)});
                for _ in 0..ATTEMPTS {
                    // The key stays the same, so the subscription is made once, however often this is tried.
                    let request = self.request(*front, Method::POST, "").json(&body);
                    let request = request.header("idempotency-key", format!("{name:?}"));
                    match request.send().await {
                        Ok(answer) if answer.status().as_u16() == 201 => {
                            let made: Value = answer.json().await.ok()?;
                            return made["id"].as_str().map(str::to_owned);
                        }
                        Ok(answer) => refused(&self.notebook, *node, "create", answer).await,
                        Err(_) => {}
                    }
                    sleep(PAUSE).await;
                }
                None
            }
        }
    }

    async fn change(&mut self, chosen: usize) {
        let Kept { id, version, .. } = self.kept[chosen].clone();
        let next = Version {
            number: version.number + 1,
            kinds: self.kinds(),
            active: !version.active || self.random.random_bool(0.8),
        };
        match self.try_change(&id, version, next).await {
            Outcome::Done => self.kept[chosen].version = next,
            Outcome::Gone => drop(self.kept.swap_remove(chosen)),
            // Its version is unknown now, so it stays as it is until it is deleted.
            Outcome::Unknown => self.kept[chosen].stable = true,
        }
    }

    async fn try_change(&self, id: &str, version: Version, next: Version) -> Outcome {
        match &self.path {
            Path::Direct(subscriptions) => {
                let name = version.number.to_string();
                let mut change = stored(id, next);
                change.remove("_id");
                let query = doc! {"_id": id, "name": name};
                let updating = subscriptions
                    .update_one(query, doc! {"$set": change})
                    .into_future();
                match timeout(PATIENCE, updating).await {
                    Ok(Ok(updated)) if updated.matched_count == 1 => Outcome::Done,
                    Ok(Ok(_)) => Outcome::Gone,
                    Ok(Err(_)) | Err(_) => Outcome::Unknown,
                }
            }
            Path::Http { node, front, .. } => {
                let status = if next.active { "active" } else { "paused" };
                let name = next.number.to_string();
                let body = json!({"name": name, "filter": filter(next), "status": status});
                let request = self.request(*front, Method::PATCH, id).json(&body);
                self.outcome(*node, "change", request).await
            }
        }
    }

    async fn delete(&mut self, kept: &Kept) {
        self.pool.withdraw(&kept.id);
        for attempt in 0..ATTEMPTS {
            let outcome = match &self.path {
                Path::Direct(subscriptions) => {
                    let deleting = subscriptions
                        .delete_one(doc! {"_id": &kept.id})
                        .into_future();
                    match timeout(PATIENCE, deleting).await {
                        Ok(Ok(deleted)) if deleted.deleted_count == 1 => Outcome::Done,
                        Ok(Ok(_)) => Outcome::Gone,
                        Ok(Err(_)) | Err(_) => Outcome::Unknown,
                    }
                }
                Path::Http { node, front, .. } => {
                    let request = self.request(*front, Method::DELETE, &kept.id);
                    self.outcome(*node, "delete", request).await
                }
            };
            match outcome {
                // This may be the answer to an earlier attempt.
                Outcome::Gone if attempt == 0 => return,
                Outcome::Done | Outcome::Gone => {
                    let id = kept.id.clone();
                    self.notebook
                        .note(|notes| notes.acknowledged.deleted.insert(id));
                    return;
                }
                Outcome::Unknown => sleep(PAUSE).await,
            }
        }
    }

    async fn outcome(&self, node: usize, call: &'static str, request: RequestBuilder) -> Outcome {
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Outcome::Done,
            Ok(answer) if answer.status().as_u16() == 404 => Outcome::Gone,
            Ok(answer) => {
                refused(&self.notebook, node, call, answer).await;
                Outcome::Unknown
            }
            Err(_) => Outcome::Unknown,
        }
    }

    fn request(&self, front: SocketAddr, method: Method, id: &str) -> RequestBuilder {
        let slash = if id.is_empty() { "" } else { "/" };
        let url = format!("http://{front}/api/v1/subscriptions{slash}{id}");
        let request = self.http.request(method, url);
        match &self.path {
            Path::Http { keyring, .. } => keyring.authorize(request),
            Path::Direct(_) => request,
        }
    }

    fn kinds(&mut self) -> Kinds {
        // Every kind but the ticks, at random, and always the last event.
        Kinds(self.random.random_range(0u8..1 << LAST) & !(1 << TICK) | 1 << LAST)
    }
}

/// Writes the filter as it is stored and sent.
fn filter(version: Version) -> Value {
    json!({"type": {"$in": version.kinds.names()}})
}

/// Makes the document as another program would write it.
pub(crate) fn stored(id: &str, version: Version) -> Document {
    doc! {
        "_id": id,
        "name": version.number.to_string(),
        "filter": {"type": {"$in": version.kinds.names()}},
        "status": if version.active { "active" } else { "paused" },
    }
}

/// Sets every paused subscription to active, once nobody else writes any more.
pub(crate) async fn resume_all(subscriptions: &Collection<Document>) -> Result<()> {
    let mut paused = subscriptions.find(doc! {"status": "paused"}).await?;
    while paused.advance().await? {
        let document = paused.deserialize_current()?;
        let number: u64 = document.get_str("name")?.parse()?;
        let key = doc! {"_id": document.get_str("_id")?};
        let change = doc! {"status": "active", "name": (number + 1).to_string()};
        subscriptions.update_one(key, doc! {"$set": change}).await?;
    }
    Ok(())
}
