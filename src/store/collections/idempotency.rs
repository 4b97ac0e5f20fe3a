//! The collection `idempotency`: answers kept for a day, so that a repeated request has its effect once.
//!
//! A key is reserved before the work, and holds the answer after it. A reservation is leased by the
//! server's clock. If a node dies half way, the same request may take the reservation over later. It finds
//! the same [`Seed`] and derives the same ids from it. So what the first attempt stored is already there,
//! and nothing happens twice.

use std::{ops::RangeInclusive, time::Duration};

use bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};
use mongodb::options::ReturnDocument;

use crate::store::{IDEMPOTENCY, Store, StoreError, unreadable::is_of_a_clock};

/// Time for which a key is kept, from its first use. Migration 0003 has the same number as a TTL.
const KEY_LIFETIME: Duration = Duration::from_hours(24);
/// Time for which no other request can take a reservation over.
pub const RESERVATION_LEASE: Duration = Duration::from_mins(1);
/// Attempts of a request that meets another first request, or an unreadable document.
const ATTEMPTS: usize = 4;
/// An answer with a larger body is not stored: a document holds 16 MiB.
const MOST_ANSWER_BYTES: usize = 12 << 20;

/// The state in which a request finds its key.
#[derive(Debug)]
pub enum KeyState {
    /// The key is new, or an attempt was given up: do the work, then finish or abandon it.
    Reserved(Reservation),
    /// The work was done, with this answer.
    Answered(StoredAnswer),
    /// The key was used with another body.
    OtherBody,
    /// Another request is doing the work.
    Running,
}

/// The right to do the work behind a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    key: String,
    holder: [u8; 16],
    /// The seed for ids: the same at every attempt for this key and body.
    pub seed: Seed,
}

/// A seed from which ids are derived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed {
    /// Random bytes.
    pub bytes: [u8; 16],
    /// The time of the key's first use, by the server's clock.
    pub created: DateTime,
}

/// An answer as it was sent.
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
    /// Reserves `scope_key` for a request whose body has this hash, unless it is taken.
    pub async fn reserve(
        &self,
        scope_key: &str,
        body_hash: [u8; 32],
    ) -> Result<KeyState, StoreError> {
        self.reserve_with_lease(scope_key, body_hash, RESERVATION_LEASE)
            .await
    }

    /// [`Store::reserve`] with a lease of another length.
    pub async fn reserve_with_lease(
        &self,
        scope_key: &str,
        body_hash: [u8; 32],
        lease: Duration,
    ) -> Result<KeyState, StoreError> {
        let holder: [u8; 16] = rand::random();
        let update = reserve(body_hash, holder, lease);
        for _ in 0..ATTEMPTS {
            let found = match self.write_reservation(scope_key, &update).await {
                // Two first requests at once: the server reports the loser's insert as a duplicate.
                Err(StoreError::Duplicate) => continue,
                answer => answer?,
            };
            match read(scope_key, &found, body_hash, holder) {
                Some(begun) => return Ok(begun),
                None => self.discard(scope_key, found).await?,
            }
        }
        Err(StoreError::Duplicate)
    }

    /// Removes a document that no node has written, unless it has changed.
    async fn discard(&self, key: &str, found: Document) -> Result<(), StoreError> {
        self.note_unreadable(IDEMPOTENCY, key, "no node writes such a reservation");
        let keys = self.database().collection::<Document>(IDEMPOTENCY);
        let same = doc! {"_id": key, "$expr": {"$eq": ["$$ROOT", {"$literal": found}]}};
        self.with_deadline(keys.delete_one(same)).await?;
        Ok(())
    }

    async fn write_reservation(
        &self,
        key: &str,
        update: &[Document],
    ) -> Result<Document, StoreError> {
        let keys = self.database().collection::<Document>(IDEMPOTENCY);
        let modify = keys
            .find_one_and_update(doc! {"_id": key}, update.to_vec())
            .upsert(true)
            .return_document(ReturnDocument::After)
            .max_time(self.server_limit());
        self.with_deadline(modify)
            .await?
            .ok_or(StoreError::Unexpected("an upsert returned no document"))
    }

    /// Stores the answer for repeated requests. One that is too large is not stored: then the work may be done
    /// again, with the same seed.
    pub async fn finish(
        &self,
        reservation: Reservation,
        answer: &StoredAnswer,
    ) -> Result<(), StoreError> {
        if answer.body.len() > MOST_ANSWER_BYTES {
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

    /// Gives the reservation up. Part of the work may be done, so the key keeps its body and its seed: the same
    /// request may try again at once, and another body is still refused.
    pub async fn abandon(&self, reservation: Reservation) -> Result<(), StoreError> {
        let past = DateTime::from_millis(0);
        self.settle(&reservation, doc! {"$set": {"leaseUntil": past}})
            .await
    }

    /// Changes the document if the reservation still holds. If another attempt took over, its result counts.
    async fn settle(&self, reservation: &Reservation, update: Document) -> Result<(), StoreError> {
        let keys = self.database().collection::<Document>(IDEMPOTENCY);
        let ours = doc! {"_id": &reservation.key, "holder": binary(&reservation.holder)};
        self.with_deadline(keys.update_one(ours, update)).await?;
        Ok(())
    }
}

/// Returns an update that reserves the document if it is free: new, expired, or given up by an attempt with the
/// same body.
fn reserve(body_hash: [u8; 32], holder: [u8; 16], lease: Duration) -> Vec<Document> {
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
        {"$subtract": [now, millis(KEY_LIFETIME)]},
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

/// Reads the state of a key, for a request with this body. `None` if no node has written the document: other
/// programs may write anything.
fn read(key: &str, found: &Document, body_hash: [u8; 32], holder: [u8; 16]) -> Option<KeyState> {
    let body: [u8; 32] = bytes(found, "body")?;
    let held_by: [u8; 16] = bytes(found, "holder")?;
    let seed = Seed {
        bytes: bytes(found, "seed")?,
        created: time(found, "createdAt")?,
    };
    let lease = time(found, "leaseUntil")?;
    let is_kept =
        lease.timestamp_millis() <= seed.created.timestamp_millis() + millis(2 * KEY_LIFETIME);
    let begun = match found.get_str("state").ok()? {
        "done" => KeyState::Answered(read_answer(found.get_document("answer").ok()?)?),
        "running" if !is_kept => return None,
        "running" if held_by != holder => KeyState::Running,
        "running" => KeyState::Reserved(Reservation {
            key: key.to_owned(),
            holder,
            seed,
        }),
        _ => return None,
    };
    Some(if body == body_hash {
        begun
    } else {
        KeyState::OtherBody
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn bytes<const N: usize>(found: &Document, name: &str) -> Option<[u8; N]> {
    let bytes = found.get_binary_generic(name).ok()?;
    bytes.as_slice().try_into().ok()
}

fn time(found: &Document, name: &str) -> Option<DateTime> {
    let time = *found.get_datetime(name).ok()?;
    is_of_a_clock(time).then_some(time)
}

/// Reads an answer. Only those are stored that are no failure of the service.
fn read_answer(answer: &Document) -> Option<StoredAnswer> {
    const STATUSES: RangeInclusive<u16> = 200..=499;
    let text = |value: Option<&Bson>| value.and_then(Bson::as_str).map(ToOwned::to_owned);
    let header = |item: &Bson| {
        let pair = item.as_array()?;
        let (name, value) = (text(pair.first())?, text(pair.get(1))?);
        let named = |byte: u8| byte == b'-' || byte.is_ascii_alphanumeric();
        let worded = |byte: u8| matches!(byte, b' '..=b'~');
        let sound = !name.is_empty() && name.bytes().all(named) && value.bytes().all(worded);
        sound.then_some((name, value))
    };
    let status = u16::try_from(answer.get_i32("status").ok()?).ok()?;
    Some(StoredAnswer {
        status: STATUSES.contains(&status).then_some(status)?,
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
