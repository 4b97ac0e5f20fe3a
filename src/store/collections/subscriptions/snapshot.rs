//! A snapshot of all subscriptions and credentials at one point in time.

use std::time::Duration;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt as _;
use mongodb::{ClientSession, options::ReadConcern, raw_batch_cursor::RawBatch};
use tokio::sync::mpsc;

use crate::{
    access::{CredentialKind, Credentials, CredentialsChange},
    store::{SUBSCRIPTIONS, Store, StoreError},
};

/// Attempts at a snapshot, each at a newer time, before the caller gets the error.
const ATTEMPTS: u32 = 5;
/// Pause before another attempt, so that the majority's point can move on (error 246).
const PAUSE: Duration = Duration::from_millis(50);

/// Documents in one reply: enough that requests cost little, few enough that the receiver works while the next
/// ones are read.
const BATCH_DOCUMENTS: u32 = 10_000;

/// A batch of documents of a snapshot, as the server sent them.
#[derive(Debug)]
pub struct SubscriptionBatch(RawBatch);

impl SubscriptionBatch {
    /// Shows each of them to `visit`.
    pub fn each(&self, mut visit: impl FnMut(&RawDocument)) -> Result<(), StoreError> {
        for item in self.0.doc_slices()? {
            if let RawBsonRef::Document(document) = item.map_err(mongodb::error::Error::from)? {
                visit(document);
            }
        }
        Ok(())
    }
}

impl Store {
    /// Reads all subscriptions at one point in time and sends them, in no particular order, to the channel that
    /// `start` returns. Returns the cluster time of the snapshot: later changes are not in it.
    ///
    /// Calls `start` again if the server lost the point in time half way (errors 239 and 246). Then the
    /// batches sent before are void. A collection that does not exist is empty.
    pub async fn load_subscriptions(
        &self,
        mut start: impl FnMut() -> mpsc::Sender<SubscriptionBatch>,
    ) -> Result<Timestamp, StoreError> {
        self.load(|| Credentials::new(true), |_| start()).await
    }

    /// Does the same, and gives `start` all credentials of that time, which come before the subscriptions. They are
    /// read into what `none` returns.
    pub(crate) async fn load(
        &self,
        none: impl Fn() -> Credentials,
        mut start: impl FnMut(Credentials) -> mpsc::Sender<SubscriptionBatch>,
    ) -> Result<Timestamp, StoreError> {
        let mut attempt = 1;
        loop {
            match self.read_snapshot(none(), &mut start).await {
                Err(error) if error.is_snapshot_lost() && attempt < ATTEMPTS => {
                    tracing::info!(attempt, %error, "reading the subscriptions again at a newer time");
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn read_snapshot(
        &self,
        mut credentials: Credentials,
        start: &mut impl FnMut(Credentials) -> mpsc::Sender<SubscriptionBatch>,
    ) -> Result<Timestamp, StoreError> {
        // Ask for the time, rather than taking it from the answer: that has none if the collection is
        // missing. A collection that is missing now had nothing at this time.
        let time = self.ping().await?;
        let session = self.client().start_session().snapshot(true);
        let mut session = self.with_deadline(session.snapshot_time(time)).await?;
        for kind in CredentialKind::ALL {
            let taker = Taker::Credentials(kind, &mut credentials);
            self.read_all(kind.collection(), &mut session, taker)
                .await?;
        }
        let to = start(credentials);
        self.read_all(SUBSCRIPTIONS, &mut session, Taker::Subscriptions(&to))
            .await?;
        Ok(time)
    }

    /// Reads all documents of a collection at the session's time, batch by batch.
    async fn read_all(
        &self,
        collection: &str,
        session: &mut ClientSession,
        mut taker: Taker<'_>,
    ) -> Result<(), StoreError> {
        let collection = self.database().collection::<RawDocumentBuf>(collection);
        // The client's own concern (majority) would override the session's.
        let find = collection
            .find(doc! {})
            .batch_size(BATCH_DOCUMENTS)
            .read_concern(ReadConcern::snapshot())
            .session(&mut *session);
        let mut cursor = self.with_deadline(find.batch()).await?;
        let mut batches = cursor.stream(session);
        while let Some(batch) = self.with_deadline(batches.try_next()).await? {
            taker.take(SubscriptionBatch(batch)).await?;
        }
        Ok(())
    }
}

/// The receiver of the documents of a collection.
enum Taker<'a> {
    Subscriptions(&'a mpsc::Sender<SubscriptionBatch>),
    Credentials(CredentialKind, &'a mut Credentials),
}

impl Taker<'_> {
    async fn take(&mut self, batch: SubscriptionBatch) -> Result<(), StoreError> {
        match self {
            Self::Subscriptions(to) => {
                let sent = to.send(batch).await;
                sent.map_err(|_| StoreError::Unexpected("nobody receives the subscriptions"))
            }
            Self::Credentials(kind, credentials) => batch.each(|document| {
                let stored = CredentialsChange::Stored(*kind, document.to_owned());
                credentials.apply(&stored);
            }),
        }
    }
}
