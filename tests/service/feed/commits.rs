//! The order of commits, as the test's own bare change stream shows it, and the messages that a connection must get for
//! it.

use bson::{Bson, Document, RawDocumentBuf};
use futures_util::StreamExt as _;
use mongodb::{
    Database,
    change_stream::{
        ChangeStream,
        event::{ChangeStreamEvent, OperationType, ResumeToken},
    },
    options::FullDocumentType,
};
use tidegate::{filter::Filter, position::Position};
use tokio::time::timeout;

use super::listener::Told;
use crate::support::DEADLINE;

/// One commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) position: Position,
    operation: OperationType,
    collection: String,
    id: Option<Bson>,
    document: Option<Document>,
}

/// All commits to one database since the log was opened.
pub(crate) struct CommitLog {
    stream: ChangeStream<ChangeStreamEvent<Document>>,
    pub(crate) commits: Vec<Commit>,
}

impl CommitLog {
    pub(crate) async fn open(database: &Database) -> Self {
        let stream = database
            .watch()
            .full_document(FullDocumentType::WhenAvailable)
            .await
            .unwrap();
        Self {
            stream,
            commits: Vec::new(),
        }
    }

    /// Reads on until a commit for which `last` holds.
    pub(crate) async fn read_until(&mut self, last: impl Fn(&Commit) -> bool) {
        loop {
            let next = timeout(DEADLINE, self.stream.next());
            let event = next.await.expect("a commit in time").unwrap().unwrap();
            self.commits.push(commit(event));
            if self.commits.last().is_some_and(&last) {
                return;
            }
        }
    }

    /// Reads on until this subscription is deleted.
    pub(crate) async fn read_until_deleted(&mut self, subscription: &str) {
        self.read_until(|commit| commit.deletes(subscription)).await;
    }
}

impl Commit {
    /// Whether it is the insert of an event.
    pub(crate) fn is_event(&self) -> bool {
        self.collection == "events" && self.operation == OperationType::Insert
    }

    fn concerns(&self, subscription: &str) -> bool {
        let id = self.id.as_ref().and_then(Bson::as_str);
        self.collection == "subscriptions" && id == Some(subscription)
    }

    fn deletes(&self, subscription: &str) -> bool {
        self.concerns(subscription) && self.operation == OperationType::Delete
    }

    /// Returns the filter of the subscription from this commit on; `None` if it matches nothing.
    fn filter(&self) -> Option<Filter> {
        let document = self.document.as_ref()?;
        if document.get_str("status").is_ok_and(|s| s == "paused") {
            return None;
        }
        let filter = document.get_document("filter").cloned().unwrap_or_default();
        Filter::parse(&RawDocumentBuf::try_from(&filter).unwrap()).ok()
    }

    fn matches(&self, filter: Option<&Filter>) -> bool {
        let document = RawDocumentBuf::try_from(self.document.as_ref().unwrap()).unwrap();
        filter.is_some_and(|filter| filter.matches(&document))
    }
}

/// Lists the messages that a connection of `subscription` must get from `from` on, in order: events by the filter in
/// force at their commit, every change of the subscription, and its end.
pub(crate) fn expected(commits: &[Commit], subscription: &str, from: Position) -> Vec<Told> {
    let mut filter = None;
    let mut told = Vec::new();
    for commit in commits {
        let kind = if commit.is_event() && commit.matches(filter.as_ref()) {
            "event"
        } else if commit.deletes(subscription) {
            filter = None;
            "ended"
        } else if commit.concerns(subscription) {
            filter = commit.filter();
            "updated"
        } else {
            continue;
        };
        if commit.position > from {
            told.push((kind.to_owned(), commit.position));
        }
    }
    told
}

/// Reads the position of a token, as the service does.
pub(crate) fn position(token: &ResumeToken) -> Position {
    Position::from_token_data(&data(token)).unwrap()
}

/// Returns a token's hex text.
pub(crate) fn data(token: &ResumeToken) -> String {
    let token = bson::serialize_to_document(token).unwrap();
    token.get_str("_data").unwrap().to_owned()
}

fn commit(event: ChangeStreamEvent<Document>) -> Commit {
    Commit {
        position: position(&event.id),
        operation: event.operation_type,
        collection: event.ns.and_then(|ns| ns.coll).unwrap_or_default(),
        id: event.document_key.and_then(|key| key.get("_id").cloned()),
        document: event.full_document,
    }
}
