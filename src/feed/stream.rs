//! One change stream, read in raw batches, whose resume token is known at every moment.
//!
//! Resuming is not left to the driver, which may resume from nowhere and lose events in silence. A stream is opened
//! with an explicit start, read until its first error, and never repaired. While there is much to read, the next
//! reply is fetched while this one is worked through.

use std::time::Duration;

use bson::{Document, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};
use futures_util::TryStreamExt as _;
use mongodb::{Database, error::Error, raw_batch_cursor::RawBatchCursor};
use tokio::{task::JoinError, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    decode::position_of,
    failure::{self, Remedy},
    pipeline::{self, StreamStart},
};
use crate::{position::Position, store::brief};

/// Options of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// The time for which the server holds an idle request.
    pub(super) max_await: Duration,
    /// Changes in one reply at most.
    pub(super) batch_size: u32,
    /// True to leave out everything that can be large, to step over a change that is too large.
    pub(super) keys_only: bool,
}

/// The time beyond `max_await` after which a connection without a reply is taken for dead.
const REPLY_GRACE: Duration = Duration::from_secs(10);

/// The reason why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("{}", brief(.0))]
    Driver(#[from] Error),
    #[error("the server did not answer within {0:?}")]
    Silent(Duration),
    #[error("the server closed the cursor")]
    Closed,
    #[error("the reply is not that of a change stream: {0}")]
    Malformed(&'static str),
}

impl StreamError {
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Driver(error) => failure::remedy(error),
            Self::Silent(_) | Self::Closed | Self::Malformed(_) => Remedy::Reopen,
        }
    }

    /// Whether the database is in trouble. A server that closes an idle cursor is not.
    pub(super) fn is_trouble(&self) -> bool {
        !matches!(self, Self::Closed)
    }

    /// Returns the server's words about a missing right, if one is missing.
    pub(super) fn missing_right(&self) -> Option<String> {
        match self {
            Self::Driver(error) if failure::is_forbidden(error) => Some(brief(error)),
            _ => None,
        }
    }

    /// Returns the metric's label. There is a bounded number of them.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Driver(error) => failure::cause(error),
            Self::Silent(_) => "silent",
            Self::Closed => "closed",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// A reply this large usually means that more is waiting: the next one is fetched ahead.
const MUCH: usize = 64 * 1024;

/// An open change stream.
pub(super) struct ChangeStream {
    state: State,
    patience: Duration,
}

enum State {
    Idle(Box<RawBatchCursor>),
    /// The next reply is being fetched.
    Asked(AbortOnDropHandle<Asked>),
    /// The last reply was an error.
    Over,
}

/// A reply, with the cursor that it came from.
type Asked = Result<(Box<RawBatchCursor>, Reply), StreamError>;

/// One reply of the server.
pub(super) struct Reply {
    pub(super) document: RawDocumentBuf,
}

impl ChangeStream {
    /// Opens a stream over this service's collections in `database`.
    pub(super) async fn open(
        database: &Database,
        start: &StreamStart,
        options: Options,
    ) -> Result<Self, StreamError> {
        let pipeline = pipeline::of_changes(database.name(), start, options.keys_only);
        Self::open_with(database, pipeline, options).await
    }

    /// Opens a stream of the deletes of subscriptions: their keys alone.
    pub(super) async fn open_of_deletes(
        database: &Database,
        from: Timestamp,
        options: Options,
    ) -> Result<Self, StreamError> {
        let pipeline = pipeline::of_deletes(database.name(), from);
        Self::open_with(database, pipeline, options).await
    }

    async fn open_with(
        database: &Database,
        pipeline: Vec<Document>,
        options: Options,
    ) -> Result<Self, StreamError> {
        let patience = options.max_await + REPLY_GRACE;
        let opening = database
            .aggregate(pipeline)
            .max_await_time(options.max_await)
            .batch_size(options.batch_size)
            .batch();
        let cursor = timeout(patience, opening)
            .await
            .map_err(|_| StreamError::Silent(patience))??;
        let state = State::Idle(Box::new(cursor));
        Ok(Self { state, patience })
    }

    /// Returns the next reply: changes, or none after `max_await`. Nothing comes after an error, or if this is
    /// dropped before it is done.
    pub(super) async fn next(&mut self) -> Result<Reply, StreamError> {
        let asked = match std::mem::replace(&mut self.state, State::Over) {
            State::Idle(cursor) => ask(cursor, self.patience).await,
            State::Asked(asking) => asking.await.unwrap_or_else(unanswered),
            State::Over => Err(StreamError::Closed),
        };
        let (cursor, reply) = asked?;
        self.state = if reply.document.as_bytes().len() < MUCH {
            State::Idle(cursor)
        } else {
            let asking = tokio::spawn(ask(cursor, self.patience));
            State::Asked(AbortOnDropHandle::new(asking))
        };
        Ok(reply)
    }
}

async fn ask(mut cursor: Box<RawBatchCursor>, patience: Duration) -> Asked {
    let next = timeout(patience, cursor.try_next()).await;
    match next.map_err(|_| StreamError::Silent(patience))?? {
        Some(batch) => {
            let document = batch.as_raw_document().to_owned();
            Ok((cursor, Reply { document }))
        }
        None => Err(StreamError::Closed),
    }
}

/// Returns the error of a fetching task that gave no reply, or goes on with its panic.
fn unanswered(error: JoinError) -> Asked {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime is ending.
        Err(_) => Err(StreamError::Closed),
    }
}

impl Reply {
    fn cursor(&self) -> Result<&RawDocument, StreamError> {
        self.document
            .get_document("cursor")
            .map_err(|_| StreamError::Malformed("no cursor"))
    }

    /// Returns the changes, in order.
    pub(super) fn changes(&self) -> Result<Vec<&RawDocument>, StreamError> {
        let cursor = self.cursor()?;
        let batch = cursor
            .get_array("nextBatch")
            .or_else(|_| cursor.get_array("firstBatch"));
        batch
            .map_err(|_| StreamError::Malformed("no batch"))?
            .into_iter()
            .map(|item| match item {
                Ok(RawBsonRef::Document(change)) => Ok(change),
                _ => Err(StreamError::Malformed("a change that is no document")),
            })
            .collect()
    }

    /// Returns the token and position of the stream after this reply, even if it held nothing for this service.
    pub(super) fn token(&self) -> Option<(&RawDocument, Position)> {
        let token = self
            .cursor()
            .ok()?
            .get_document("postBatchResumeToken")
            .ok()?;
        Some((token, position_of(token)?))
    }

    /// Returns how old its changes are by the server's own clock; zero if it has none. The stream was at `before`
    /// until this reply.
    pub(super) fn age(&self, before: Position) -> Result<Duration, StreamError> {
        if self.changes()?.is_empty() {
            return Ok(Duration::ZERO);
        }
        let position = self.token().map_or(before, |(_, position)| position);
        let now = self.operation_time().map_or(0, |time| time.time);
        let seconds = now.saturating_sub(position.cluster_time().time);
        Ok(Duration::from_secs(seconds.into()))
    }

    /// Returns the server's newest operation at the time of the reply.
    fn operation_time(&self) -> Option<Timestamp> {
        self.document.get_timestamp("operationTime").ok()
    }
}
