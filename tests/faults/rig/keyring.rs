//! The keys of everyone in a world whose nodes ask for credentials, and the one who takes keys away.
//!
//! The operator's key stays. Each client has a key of its own, and gets another one when that is gone.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bson::{Document, doc};
use mongodb::Collection;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{node::http_client, publishers::refused, record::Notebook};

/// Time for one call. Another node is asked then.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two attempts of a call.
const PAUSE: Duration = Duration::from_millis(100);
/// The attempts to revoke a key before another one is chosen.
const ATTEMPTS: usize = 5;

/// A key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) text: String,
}

/// The keys of a world. It has none if the nodes ask for none. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Option<Arc<Keys>>);

struct Keys {
    operator: String,
    /// The document of the operator's key.
    document: Document,
    stored: Collection<Document>,
    nodes: Vec<SocketAddr>,
    /// The ids of the keys that may be taken away, by their clients.
    held: Mutex<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    /// Makes the operator's key, as an operator does: on the database.
    pub(crate) async fn make(
        program: &Path,
        uri: &str,
        stored: Collection<Document>,
        nodes: Vec<SocketAddr>,
    ) -> Result<Self> {
        let made = Command::new(program)
            .args(["key", "create", "--scope", "admin", "--json"])
            .args(["--database", &stored.namespace().db])
            .env("TIDEGATE_MONGODB_URI", uri)
            .output()
            .await?;
        ensure!(made.status.success(), "no key: {made:?}");
        let made: Value = serde_json::from_slice(&made.stdout)?;
        let text = |name: &str| made[name].as_str().map(str::to_owned);
        let id = text("id").context("an id")?;
        let document = stored.find_one(doc! {"_id": id}).await?;
        Ok(Self(Some(Arc::new(Keys {
            operator: text("key").context("a key")?,
            document: document.context("the operator's key")?,
            stored,
            nodes,
            held: Mutex::default(),
        }))))
    }

    /// Whether the nodes ask for credentials.
    pub(crate) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the operator's key, if nodes ask for one.
    pub(crate) fn operator(&self) -> Option<&str> {
        Some(&self.0.as_ref()?.operator)
    }

    /// Presents the operator's key with a request.
    pub(crate) fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match self.operator() {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Stores the operator's key again after it was dropped with everything else.
    pub(crate) async fn restore(&self) -> Result<()> {
        let Some(keys) = &self.0 else {
            return Ok(());
        };
        let one = doc! {"_id": keys.document.get_str("_id")?};
        let stored = keys.stored.replace_one(one, &keys.document).upsert(true);
        stored.await?;
        Ok(())
    }

    /// Makes a key for a client; `None` if no node can now. One that is `revocable` may be taken away at any time.
    pub(crate) async fn issue(&self, client: &str, revocable: bool) -> Option<Key> {
        let keys = self.0.as_ref()?;
        let http = http_client().ok()?;
        let scopes = ["events:read", "subscriptions:write"];
        let body = json!({"name": client, "scopes": scopes});
        for node in &keys.nodes {
            let request = http.post(format!("http://{node}/api/v1/keys")).json(&body);
            let Ok(Ok(answer)) = timeout(PATIENCE, self.authorize(request).send()).await else {
                continue;
            };
            if answer.status().as_u16() != 201 {
                continue;
            }
            let made: Value = answer.json().await.ok()?;
            let text = |name: &str| made[name].as_str().map(str::to_owned);
            let key = Key {
                id: text("id")?,
                text: text("key")?,
            };
            if revocable {
                keys.with_held(|held| held.insert(client.to_owned(), key.id.clone()));
            }
            return Some(key);
        }
        None
    }
}

impl Keys {
    fn with_held<T>(&self, f: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
        f(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Chooses any key that a client holds.
    fn choose(&self, random: &mut StdRng) -> Option<String> {
        self.with_held(|held| {
            let chosen = held.keys().nth(random.random_range(0..held.len().max(1)))?;
            held.remove(&chosen.clone())
        })
    }
}

/// Takes a random key away at random moments, straight in the database and through the nodes.
pub(crate) async fn revoke(
    keyring: Keyring,
    notebook: Notebook,
    seed: u64,
    stop: CancellationToken,
) -> Result<()> {
    let Some(keys) = keyring.0.clone() else {
        return Ok(());
    };
    let mut random = StdRng::seed_from_u64(seed);
    let http = http_client()?;
    while !stop.is_cancelled() {
        let pause = Duration::from_millis(random.random_range(200..1_500));
        stop.run_until_cancelled(sleep(pause)).await;
        let Some(id) = keys.choose(&mut random) else {
            continue;
        };
        let now = notebook.now();
        notebook.note(|notes| notes.revoking.insert(id.clone(), now));
        for _ in 0..ATTEMPTS {
            let way = random.random_range(0..=keys.nodes.len());
            let gone = if let Some(node) = keys.nodes.get(way) {
                let request = http.delete(format!("http://{node}/api/v1/keys/{id}"));
                match timeout(PATIENCE, keyring.authorize(request).send()).await {
                    Ok(Ok(answer)) if answer.status().is_success() => true,
                    // An earlier attempt may have done it.
                    Ok(Ok(answer)) if answer.status().as_u16() == 404 => true,
                    Ok(Ok(answer)) => {
                        refused(&notebook, way, "revoke", answer).await;
                        false
                    }
                    Ok(Err(_)) | Err(_) => false,
                }
            } else {
                let deleting = keys.stored.delete_one(doc! {"_id": &id}).into_future();
                matches!(timeout(PATIENCE, deleting).await, Ok(Ok(_)))
            };
            if gone {
                notebook.note(|notes| notes.acknowledged.revoked.insert(id.clone()));
                break;
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}
