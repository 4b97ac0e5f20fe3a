//! Answers kept for a day, so that a repeated request has its effect once.
//!
//! A key is reserved before the work and holds the answer after it. A reservation is leased by the
//! server's clock: when a node dies half way, the same request may take it over later, and finds the same
//! [`Seed`], from which it derives the same ids. What the first attempt stored is then there already, and
//! nothing happens twice.

use std::time::Duration;

use bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};
use mongodb::options::ReturnDocument;

use super::{IDEMPOTENCY, Store, StoreError};

/// How long a key is kept, from its first use. Migration 0003 has the same number as a TTL.
const KEPT: Duration = Duration::from_hours(24);
/// How long a reservation is safe from being taken over.
pub const LEASE: Duration = Duration::from_mins(1);
/// An answer with a larger body is not stored: a document holds 16 MiB.
const ANSWER_LIMIT: usize = 12 << 20;

/// What a key stands for.
#[derive(Debug)]
pub enum Begun {
    /// Nothing yet, or an attempt that was given up: do the work, then finish or abandon.
    Fresh(Reservation),
    /// It was done; this was the answer.
    Replay(StoredAnswer),
    /// The key was used with another body.
    OtherBody,
    /// The work is being done by another request.
    Running,
}

/// The right to do the work behind a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    key: String,
    holder: [u8; 16],
    /// The same at every attempt for this key and body.
    pub seed: Seed,
}

/// What ids are derived from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed {
    /// Random bytes.
    pub bytes: [u8; 16],
    /// When the key was first used, by the server's clock.
    pub created: DateTime,
}

/// An answer as it was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to the answer.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Store {
    /// Reserves `scope_key` for a request whose body has this hash, or says what became of it.
    pub async fn begin(&self, scope_key: &str, body_hash: [u8; 32]) -> Result<Begun, StoreError> {
        self.begin_with_lease(scope_key, body_hash, LEASE).await
    }

    /// [`Store::begin`] with a lease of another length.
    pub async fn begin_with_lease(
        &self,
        scope_key: &str,
        body_hash: [u8; 32],
        lease: Duration,
    ) -> Result<Begun, StoreError> {
        let holder: [u8; 16] = rand::random();
        let update = reserve(body_hash, holder, lease);
        // Two first requests at once: the server reports the loser's insert as a duplicate.
        let found = match self.reserve(scope_key, &update).await {
            Err(StoreError::Duplicate) => self.reserve(scope_key, &update).await?,
            answer => answer?,
        };
        read(scope_key, &found, body_hash, holder).ok_or(StoreError::Unexpected(
            "a document in idempotency cannot be read",
        ))
    }

    async fn reserve(&self, key: &str, update: &[Document]) -> Result<Document, StoreError> {
        let keys = self.database().collection::<Document>(IDEMPOTENCY);
        let modify = keys
            .find_one_and_update(doc! {"_id": key}, update.to_vec())
            .upsert(true)
            .return_document(ReturnDocument::After)
            .max_time(self.server_limit());
        self.bounded(modify)
            .await?
            .ok_or(StoreError::Unexpected("an upsert returned no document"))
    }

    /// Keeps the answer for whoever repeats the request. One that is too large is not kept: then the
    /// work may be done again, with the same seed.
    pub async fn finish(
        &self,
        reservation: Reservation,
        answer: &StoredAnswer,
    ) -> Result<(), StoreError> {
        if answer.body.len() > ANSWER_LIMIT {
            return self.abandon(reservation).await;
        }
        let headers: Vec<Bson> = answer
            .headers
            .iter()
            .map(|(name, value)| Bson::from(vec![name.clone(), value.clone()]))
            .collect();
        let set = doc! {
            "state": "done",
            "answer": {
                "status": i32::from(answer.status),
                "headers": headers,
                "body": binary(&answer.body),
            },
        };
        self.settle(&reservation, doc! {"$set": set}).await
    }

    /// Gives the reservation up. Something may have been done already, so the key keeps its body and its
    /// seed: the same request may try again at once, another body is still refused.
    pub async fn abandon(&self, reservation: Reservation) -> Result<(), StoreError> {
        let past = DateTime::from_millis(0);
        self.settle(&reservation, doc! {"$set": {"leaseUntil": past}})
            .await
    }

    /// Changes the document while it is ours; where another attempt took over, its word counts.
    async fn settle(&self, reservation: &Reservation, update: Document) -> Result<(), StoreError> {
        let keys = self.database().collection::<Document>(IDEMPOTENCY);
        let ours = doc! {"_id": &reservation.key, "holder": binary(&reservation.holder)};
        self.bounded(keys.update_one(ours, update)).await?;
        Ok(())
    }
}

/// An update that makes the document ours if it is free: new, older than it is kept, or given up by an
/// attempt with the same body.
fn reserve(body_hash: [u8; 32], holder: [u8; 16], lease: Duration) -> Vec<Document> {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let now = "$$NOW";
    let body = binary(&body_hash);
    let mine = |seed: Bson, created: Bson| {
        doc! {
            "_id": "$_id",
            "body": body.clone(),
            "seed": seed,
            "createdAt": created,
            "state": "running",
            "holder": binary(&holder),
            "leaseUntil": {"$add": [now, millis(lease)]},
        }
    };
    let expired = doc! {"$lte": [
        {"$ifNull": ["$createdAt", DateTime::from_millis(0)]},
        {"$subtract": [now, millis(KEPT)]},
    ]};
    let given_up = doc! {"$and": [
        {"$eq": ["$state", "running"]},
        {"$eq": ["$body", body.clone()]},
        {"$lte": ["$leaseUntil", now]},
    ]};
    vec![doc! {"$replaceWith": {"$switch": {
        "branches": [
            {"case": expired, "then": mine(binary(&rand::random::<[u8; 16]>()), now.into())},
            {"case": given_up, "then": mine("$seed".into(), "$createdAt".into())},
        ],
        "default": "$$ROOT",
    }}}]
}

fn read(key: &str, found: &Document, body_hash: [u8; 32], holder: [u8; 16]) -> Option<Begun> {
    if found.get_binary_generic("body").ok()?.as_slice() != body_hash {
        return Some(Begun::OtherBody);
    }
    if let Ok(answer) = found.get_document("answer") {
        return read_answer(answer).map(Begun::Replay);
    }
    if found.get_binary_generic("holder").ok()?.as_slice() != holder {
        return Some(Begun::Running);
    }
    let seed = Seed {
        bytes: found
            .get_binary_generic("seed")
            .ok()?
            .as_slice()
            .try_into()
            .ok()?,
        created: *found.get_datetime("createdAt").ok()?,
    };
    Some(Begun::Fresh(Reservation {
        key: key.to_owned(),
        holder,
        seed,
    }))
}

fn read_answer(answer: &Document) -> Option<StoredAnswer> {
    let text = |value: Option<&Bson>| value.and_then(Bson::as_str).map(ToOwned::to_owned);
    let header = |item: &Bson| {
        let pair = item.as_array()?;
        Some((text(pair.first())?, text(pair.get(1))?))
    };
    Some(StoredAnswer {
        status: u16::try_from(answer.get_i32("status").ok()?).ok()?,
        headers: answer
            .get_array("headers")
            .ok()?
            .iter()
            .map(header)
            .collect::<Option<_>>()?,
        body: answer.get_binary_generic("body").ok()?.clone(),
    })
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    })
}
