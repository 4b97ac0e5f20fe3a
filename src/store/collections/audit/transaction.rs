//! Transactions: writes together with their entries.
//!
//! A transaction that another one is in the way of is repeated, until the caller's deadline. One that no server can take
//! is repeated once, like any write of the driver.

use std::{collections::HashSet, time::Duration};

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::{
    ClientSession,
    error::{
        Error, IndexedWriteError, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    },
};

use super::{
    super::documents::{Change, Written, refused_items},
    Act, Actor, Told, changed_names,
};
use crate::{
    store::{
        AUDIT, Store, StoreError,
        client::{
            availability::jittered, deadline::operation_time, error::is_unavailable, read::collect,
        },
    },
    subscription::DocumentKey,
};

/// The pause before another attempt at a transaction that met another one.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// The most documents in one transaction, besides their entries.
const MOST_DOCUMENTS: usize = 1_000;

/// The writes of one transaction, with what the audit says of them.
#[derive(Debug)]
enum Work<'w> {
    /// A change of one document, and the names of the fields that it sets.
    Change(&'w Change, &'w [String]),
    /// New documents.
    Inserts(&'w [&'w RawDocumentBuf]),
}

/// An act to be audited.
#[derive(Debug)]
struct Audited<'w> {
    collection: &'w str,
    work: Work<'w>,
    act: Act,
    by: &'w Actor,
}

/// The end of an attempt, if the work itself did not fail.
#[derive(Debug)]
enum Outcome {
    /// All of it is written: a changed document, as it is now or was.
    Written(Option<RawDocumentBuf>),
    /// There is no document to change.
    NotFound,
    /// One of several documents is refused. Nothing is written.
    Refused(IndexedWriteError),
    /// The audit failed. Nothing is written.
    Unaudited(Error),
}

impl Store {
    /// Writes one document and its entry in the audit: both, or neither. Returns the document as it is now; of one that is
    /// deleted, its `_id` and whose it was; `None` if the query found none, which leaves no entry.
    pub(in crate::store::collections) async fn audited(
        &self,
        collection: &str,
        change: Change,
        act: Act,
        changed: Vec<String>,
        by: &Actor,
    ) -> Result<Option<Written>, StoreError> {
        let audited = Audited {
            collection,
            work: Work::Change(&change, &changed),
            act,
            by,
        };
        let mut session = self.session().await?;
        let outcome = self.with_deadline(self.transact(&mut session, &audited));
        let document = match outcome.await? {
            Outcome::Written(document) => document,
            Outcome::NotFound => None,
            Outcome::Unaudited(error) => return Err(self.not_audited(error)),
            Outcome::Refused(_) => return Err(StoreError::Unexpected("one refusal of several")),
        };
        let operation_time = operation_time(&session)?;
        Ok(document.map(|document| Written {
            operation_time,
            document,
        }))
    }

    /// Stores new documents, each with its entry in the audit: both, or neither. A refused one does not stop the others.
    /// Returns the cluster time of the last write, and the errors of those that are refused.
    pub(in crate::store::collections) async fn audited_inserts(
        &self,
        collection: &str,
        documents: &[&RawDocumentBuf],
        act: Act,
        by: &Actor,
    ) -> Result<(Timestamp, Vec<IndexedWriteError>), StoreError> {
        let mut session = self.session().await?;
        let inserting = self.insert_parts(&mut session, collection, documents, act, by);
        let refused = self.with_deadline(inserting).await?;
        let refused = refused.map_err(|error| self.not_audited(error))?;
        Ok((operation_time(&session)?, refused))
    }

    /// Inserts documents in as few transactions as their refusals allow: a refused one ends its transaction, of which the
    /// others are then two smaller ones. Returns the refusals, or the failure of the audit alone.
    async fn insert_parts(
        &self,
        session: &mut ClientSession,
        collection: &str,
        documents: &[&RawDocumentBuf],
        act: Act,
        by: &Actor,
    ) -> Result<Result<Vec<IndexedWriteError>, Error>, Error> {
        let mut refused: Vec<IndexedWriteError> = Vec::new();
        // The first of them is the last here.
        let mut parts: Vec<Vec<usize>> = (0..documents.len())
            .collect::<Vec<_>>()
            .chunks(MOST_DOCUMENTS)
            .rev()
            .map(<[usize]>::to_vec)
            .collect();
        while let Some(part) = parts.pop() {
            let inserted: Vec<&RawDocumentBuf> = part.iter().map(|at| documents[*at]).collect();
            let audited = Audited {
                collection,
                work: Work::Inserts(&inserted),
                act,
                by,
            };
            let error = match self.transact(session, &audited).await? {
                Outcome::Refused(error) => error,
                Outcome::Unaudited(error) => return Ok(Err(error)),
                Outcome::Written(_) | Outcome::NotFound => continue,
            };
            let Some((before, [first, after @ ..])) = part.split_at_checked(error.index) else {
                return Err(Error::custom("a refusal of none of the documents"));
            };
            let taken = match error.code {
                DUPLICATE => self.taken_among(collection, documents, after).await?,
                _ => HashSet::new(),
            };
            let (gone, rest): (Vec<usize>, Vec<usize>) =
                after.iter().partition(|at| taken.contains(*at));
            refused.extend([*first].into_iter().chain(gone).map(|at| {
                let mut error = error.clone();
                error.index = at;
                error
            }));
            let left = [rest, before.to_vec()].into_iter();
            parts.extend(left.filter(|part| !part.is_empty()));
        }
        Ok(Ok(refused))
    }

    /// Returns those of the documents at `among` whose `_id` is taken. When a request is sent again, all of them are: each
    /// need not be tried alone.
    async fn taken_among(
        &self,
        collection: &str,
        documents: &[&RawDocumentBuf],
        among: &[usize],
    ) -> Result<HashSet<usize>, Error> {
        let key = |at: &usize| DocumentKey::of(documents[*at]);
        let ids: Vec<Bson> = among.iter().filter_map(|at| key(at).to_bson()).collect();
        let collection = self.database().collection::<RawDocumentBuf>(collection);
        let find = collection
            .find(doc! {"_id": {"$in": ids}})
            .projection(doc! {"_id": 1})
            .max_time(self.server_limit());
        let found = collect(find.batch().await?).await?;
        let found: HashSet<DocumentKey> =
            found.iter().map(|found| DocumentKey::of(found)).collect();
        let is_found = |at: &usize| found.contains(&key(at));
        Ok(among.iter().copied().filter(is_found).collect())
    }

    /// Repeats the transaction while others are in its way. The caller's deadline ends it. If no server can take it, the
    /// caller hears of it soon.
    async fn transact(
        &self,
        session: &mut ClientSession,
        audited: &Audited<'_>,
    ) -> Result<Outcome, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            session.start_transaction().await?;
            let outcome = match self.write_all(session, audited).await {
                Ok(Outcome::Written(document)) => {
                    commit(session).await.map(|()| Outcome::Written(document))
                }
                nothing => {
                    // What cannot be aborted now, the server ends by itself.
                    if let Err(error) = session.abort_transaction().await {
                        tracing::debug!(%error, "cannot abort a transaction");
                    }
                    nothing
                }
            };
            match &outcome {
                Err(error) | Ok(Outcome::Unaudited(error))
                    if error.contains_label(TRANSIENT_TRANSACTION_ERROR)
                        && (attempts == 1 || !is_unavailable(error)) =>
                {
                    tokio::time::sleep(jittered(RETRY_PAUSE)).await;
                }
                _ => return outcome,
            }
        }
    }

    async fn write_all(
        &self,
        session: &mut ClientSession,
        audited: &Audited<'_>,
    ) -> Result<Outcome, Error> {
        let Audited {
            collection, work, ..
        } = audited;
        let (written, entries) = match work {
            Work::Change(change, changed) => {
                let Some(document) = self.change(collection, change, session).await? else {
                    return Ok(Outcome::NotFound);
                };
                let entries = vec![audited.entry(&document, changed.to_vec())];
                (Some(document), entries)
            }
            Work::Inserts(documents) => {
                let collection = self.database().collection::<RawDocumentBuf>(collection);
                let insert = collection.insert_many(documents.iter().copied());
                let refused = refused_items(insert.session(&mut *session).await)?;
                if let Some(refused) = refused.into_iter().next() {
                    return Ok(Outcome::Refused(refused));
                }
                let entry = |document: &&RawDocumentBuf| {
                    audited.entry(document, changed_names(None, document))
                };
                (None, documents.iter().map(entry).collect())
            }
        };
        let audit = self.database().collection::<Document>(AUDIT);
        let insert = match &*entries {
            [entry] => audit.insert_one(entry).session(session).await.map(drop),
            all => audit.insert_many(all).session(session).await.map(drop),
        };
        Ok(match insert {
            Ok(()) => Outcome::Written(written),
            Err(error) => Outcome::Unaudited(error),
        })
    }

    /// Returns the error of an act that the audit could not take: it is not done, whatever the reason, and may be tried
    /// again.
    fn not_audited(&self, error: Error) -> StoreError {
        let error: Result<(), _> = Err(error.into());
        match self.note_missing_right(error) {
            Err(StoreError::Other(error)) => StoreError::Unavailable(error),
            Err(StoreError::Refused { detail }) => {
                StoreError::Unavailable(Box::new(Error::custom(detail)))
            }
            Err(StoreError::Duplicate) => {
                StoreError::Unavailable(Box::new(Error::custom("the entry exists already")))
            }
            Err(error) => error,
            Ok(()) => StoreError::Unexpected("a failure that is none"),
        }
    }
}

/// The server's code for an `_id` that is taken.
const DUPLICATE: i32 = 11_000;

/// Commits, and asks again while the server does not know whether it has.
async fn commit(session: &mut ClientSession) -> Result<(), Error> {
    loop {
        match session.commit_transaction().await {
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                tokio::time::sleep(jittered(RETRY_PAUSE)).await;
            }
            outcome => return outcome,
        }
    }
}

impl Audited<'_> {
    fn entry(&self, document: &RawDocument, changed: Vec<String>) -> Document {
        let told = Told {
            by: self.by,
            act: self.act,
            changed,
        };
        told.entry(document)
    }
}
