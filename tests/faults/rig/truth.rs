//! The commits, in commit order: read from the database's own log at the end, with a bare change stream of the driver
//! that nothing disturbs.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use bson::{Document, Timestamp, doc};
use mongodb::{
    Client,
    change_stream::event::{ChangeStreamEvent, OperationType},
    options::FullDocumentType,
};
use tidegate::position::Position;

use super::record::{KINDS, Kinds, LAST, Version};

/// A commit that matters to somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Commit {
    pub(crate) at: Position,
    pub(crate) what: What,
}

/// The kinds of commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Event {
        number: u64,
        kind: usize,
    },
    /// A subscription was made or changed.
    Stored {
        id: String,
        version: Version,
    },
    Deleted {
        id: String,
    },
    /// The collection of subscriptions was removed with everything in it.
    AllDeleted,
    /// The collection of events was removed.
    EventsDropped,
    KeyStored {
        id: String,
    },
    KeyDeleted {
        id: String,
    },
    /// The collection of keys was removed with everything in it.
    AllKeysDeleted,
}

/// Reads all commits from `since` on up to the last event.
pub(crate) async fn read(client: &Client, database: &str, since: Timestamp) -> Result<Vec<Commit>> {
    // The whole cluster is watched, because a stream of one database ends when that is dropped.
    let mut stream = client
        .watch()
        .pipeline([doc! {"$match": {"ns.db": database}}])
        .start_at_operation_time(since)
        .full_document(FullDocumentType::WhenAvailable)
        .batch_size(5_000)
        .await?;
    let mut commits = Vec::new();
    let mut images = Images::default();
    loop {
        let Some(change) = stream.next_if_any().await? else {
            if !stream.is_alive() {
                bail!("the stream of the truth ended before the last event");
            }
            continue;
        };
        let data = serde_json::to_value(&change.id)?;
        let at = Position::from_token_data(data["_data"].as_str().context("a token")?)?;
        let Some(what) = images.read_change(change)? else {
            continue;
        };
        let is_last = matches!(what, What::Event { kind: LAST, .. });
        commits.push(Commit { at, what });
        if is_last {
            return Ok(commits);
        }
    }
}

/// The subscriptions as they were last seen. Just after their collection was made anew, the server keeps no images of
/// changes.
#[derive(Default)]
struct Images(HashMap<String, Document>);

impl Images {
    fn read_change(&mut self, change: ChangeStreamEvent<Document>) -> Result<Option<What>> {
        let names = |name: &str| change.ns.as_ref().and_then(|ns| ns.coll.as_deref()) == Some(name);
        let replaces =
            |name: &str| change.to.as_ref().and_then(|ns| ns.coll.as_deref()) == Some(name);
        Ok(match change.operation_type {
            OperationType::Insert if names("events") => {
                let event = change.full_document.context("an event")?;
                Some(read_event(&event).with_context(|| format!("an event: {event}"))?)
            }
            OperationType::Insert | OperationType::Update | OperationType::Replace
                if names("subscriptions") =>
            {
                let stored = self.image(&change)?;
                Some(
                    read_subscription(stored)
                        .with_context(|| format!("a subscription: {stored}"))?,
                )
            }
            OperationType::Delete if names("subscriptions") => {
                let id = id_of(change)?;
                Some(What::Deleted { id })
            }
            OperationType::Drop | OperationType::Rename
                if names("subscriptions") || replaces("subscriptions") =>
            {
                Some(What::AllDeleted)
            }
            OperationType::Drop | OperationType::Rename if names("events") => {
                Some(What::EventsDropped)
            }
            OperationType::Insert if names("keys") => {
                let id = id_of(change)?;
                Some(What::KeyStored { id })
            }
            OperationType::Delete if names("keys") => {
                let id = id_of(change)?;
                Some(What::KeyDeleted { id })
            }
            OperationType::Drop | OperationType::Rename if names("keys") => {
                Some(What::AllKeysDeleted)
            }
            _ => None,
        })
    }

    fn image(&mut self, change: &ChangeStreamEvent<Document>) -> Result<&Document> {
        let key = change.document_key.as_ref().context("a key")?;
        let image = self.0.entry(key.get_str("_id")?.to_owned()).or_default();
        if let Some(document) = &change.full_document {
            image.clone_from(document);
        } else if let Some(update) = &change.update_description {
            image.extend(update.updated_fields.clone());
        }
        Ok(image)
    }
}

fn id_of(change: ChangeStreamEvent<Document>) -> Result<String> {
    let key = change.document_key.context("a key")?;
    Ok(key.get_str("_id")?.to_owned())
}

fn read_event(event: &Document) -> Option<What> {
    let number = event.get_document("data").ok()?.get("n")?;
    let number = number.as_i64().or_else(|| number.as_i32().map(i64::from))?;
    let kind = event.get_str("type").ok()?;
    Some(What::Event {
        number: u64::try_from(number).ok()?,
        kind: KINDS.iter().position(|name| *name == kind)?,
    })
}

fn read_subscription(stored: &Document) -> Option<What> {
    let kinds = stored
        .get_document("filter")
        .ok()?
        .get_document("type")
        .ok()?;
    let kinds = kinds.get_array("$in").ok()?;
    let version = Version {
        number: stored.get_str("name").ok()?.parse().ok()?,
        kinds: Kinds::of_names(kinds.iter().filter_map(|kind| kind.as_str()))?,
        active: stored.get_str("status").unwrap_or("active") == "active",
    };
    let id = stored.get_str("_id").ok()?.to_owned();
    Some(What::Stored { id, version })
}
