//! Tests of the ends of credentials: a timer that is late lets nothing through, and a refresh counts in its place.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bson::{Binary, DateTime, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use tokio::sync::mpsc;

use super::{
    Attached, FeedChange, FeedChangeKind, FromFeed, RefreshError, RouterHandle,
    gap_tests::{at, change, made, new_router, of, wish},
    observe::{EndedRight, Observed, ObserverInbox, ObserverInput},
    outbox::{End, Receiver, Taken},
    registry::AliveGuard,
};
use crate::{
    access::{
        Caller, Credential, CredentialKind, CredentialsChange, KeyText, Refusal, Scope, Scopes,
        TokenIdentity,
    },
    protocol::{Ending, GapReason},
};

/// A router that knows the subscription `a`, and a key that ends in an hour.
struct Node {
    handle: RouterHandle,
    feed: mpsc::Sender<FromFeed>,
    key: KeyText,
    end: DateTime,
}

fn later(hours: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + hours * 3_600_000)
}

fn stored(key: &KeyText, more: Document) -> FeedChangeKind {
    let hash = Binary {
        subtype: BinarySubtype::Generic,
        bytes: key.hash().to_vec(),
    };
    let scopes = ["events:read", "subscriptions:read"];
    let mut document = doc! {"_id": key.id(), "hash": hash, "scopes": scopes.as_slice()};
    document.extend(more);
    let document = RawDocumentBuf::try_from(&document).unwrap();
    FeedChangeKind::Credentials(CredentialsChange::Stored(CredentialKind::Key, document))
}

impl Node {
    async fn start() -> Self {
        Self::start_observed().await.0
    }

    /// Starts it with an observer.
    async fn start_observed() -> (Self, Observer) {
        let (mut router, handle, feed) = new_router();
        let (requests, received) = mpsc::channel(1);
        let inbox = ObserverInbox::new(router.observe(), received);
        let observer = Observer {
            inbox,
            _requests: requests,
        };
        tokio::spawn(router.run());
        let (key, end) = (KeyText::mint(), later(1));
        let node = Self {
            handle,
            feed,
            key,
            end,
        };
        node.apply(4, made("a")).await;
        node.key_ends(5, end).await;
        (node, observer)
    }

    async fn apply(&self, time: u32, kind: FeedChangeKind) {
        self.apply_late(change(time, kind), time).await;
    }

    async fn apply_late(&self, change: FeedChange, time: u32) {
        self.feed.send(of(vec![change], time)).await.unwrap();
        while self.handle.progress().position < at(time) {
            tokio::task::yield_now().await;
        }
    }

    async fn key_ends(&self, time: u32, end: DateTime) {
        self.apply(time, stored(&self.key, doc! {"expiresAt": end}))
            .await;
    }

    fn caller(&self) -> Caller {
        self.handle.credentials().authenticate(&self.key).unwrap()
    }

    async fn attach(&self) -> (Attached, Receiver) {
        let (mut attach, receiver) = wish(&self.handle, "a", None);
        attach.caller = Arc::new(self.caller());
        (self.handle.attach(attach).await.unwrap(), receiver)
    }
}

/// Returns the end of a session for which nothing else waits.
fn end(receiver: &Receiver) -> Option<End> {
    let mut taken = Vec::new();
    let cx = Context::from_waker(Waker::noop());
    match receiver.poll_take(&cx, 1, |_| false, &mut taken) {
        Poll::Ready(Taken::End(end)) => {
            assert!(receiver.drain().is_empty(), "something waits");
            Some(end)
        }
        Poll::Ready(Taken::Entries { .. }) => panic!("{taken:?}"),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_timer_that_is_late_lets_nothing_through() {
    let missed = || FeedChangeKind::Missed(GapReason::OversizedChange);
    let gone = || FeedChangeKind::AllSubscriptionsDeleted;
    for (kind, name) in [
        (made("a"), "updated"),
        (missed(), "gap"),
        (gone(), "deleted"),
    ] {
        let node = Node::start().await;
        let (_, receiver) = node.attach().await;
        assert_eq!(receiver.credential_end(), Some(node.end.timestamp_millis()));
        let late = FeedChange {
            wall_time: node.end,
            ..change(9, kind)
        };
        node.apply_late(late, 9).await;
        let end = end(&receiver).expect(name);
        assert_eq!(end.ending, Ending::CredentialExpired, "{name}");
        assert_eq!(end.position, at(5), "{name}: it stands before the change");
    }
}

#[tokio::test]
async fn a_document_that_was_committed_behind_the_end_puts_it_off_no_more() {
    let node = Node::start().await;
    let (_, receiver) = node.attach().await;
    node.key_ends(6, later(2)).await;
    assert_eq!(end(&receiver), None);
    let moved = receiver.credential_end().unwrap();
    assert!(moved > node.end.timestamp_millis());
    let late = FeedChange {
        wall_time: DateTime::from_millis(moved),
        ..change(7, stored(&node.key, doc! {}))
    };
    node.apply_late(late, 7).await;
    assert_eq!(end(&receiver).unwrap().ending, Ending::CredentialExpired);
}

#[tokio::test]
async fn a_refresh_before_the_end_wins_and_one_behind_it_finds_the_session_ended() {
    let node = Node::start().await;
    let (attached, receiver) = node.attach().await;
    let session = attached.key.session;
    let refreshed = node.handle.refresh(session, node.caller()).await.unwrap();
    assert_eq!(refreshed.expires_at, Some(node.end));
    assert_eq!(refreshed.may_ack.to_vec(), [(attached.key.id, false)]);
    let late = FeedChange {
        wall_time: node.end,
        ..change(9, made("a"))
    };
    node.apply_late(late, 9).await;
    let refreshed = node.handle.refresh(session, node.caller()).await;
    assert_eq!(refreshed.map(drop), Err(RefreshError::Ended));
    assert_eq!(end(&receiver).unwrap().ending, Ending::CredentialExpired);
    assert_eq!(end(&receiver), None, "it ends once");
}

#[tokio::test]
async fn a_proof_that_was_taken_away_meanwhile_is_refused_and_another_caller_ends_the_session() {
    let node = Node::start().await;
    let (attached, receiver) = node.attach().await;
    let session = attached.key.session;
    let narrowed = Caller {
        scopes: Scopes::of(&[Scope::EventsRead]),
        ..node.caller()
    };
    let stranger = Caller {
        owner: Some("key:other".into()),
        ..node.caller()
    };
    let unknown = Caller {
        credential: Credential::Key {
            id: "key_other".into(),
            hash: [0; 32],
            not_after: None,
        },
        ..node.caller()
    };
    let refused = node.handle.refresh(session, unknown).await.map(drop);
    assert_eq!(refused, Err(RefreshError::Refused(Refusal::Unknown)));
    assert_eq!(end(&receiver), None);
    for fresh in [narrowed, stranger] {
        let (attached, receiver) = node.attach().await;
        let forbidden = node.handle.refresh(attached.key.session, fresh).await;
        assert_eq!(forbidden.map(drop), Err(RefreshError::Forbidden));
        assert_eq!(end(&receiver).unwrap().ending, Ending::Forbidden);
    }
}

/// A session that is no longer registered asks this while its end waits for a replay.
#[tokio::test(start_paused = true)]
async fn who_is_registered_no_more_hears_of_a_revocation_too() {
    let node = Node::start().await;
    let caller = node.caller();
    let mut refused = Box::pin(node.handle.stopping_or_refused(&caller));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(refused.as_mut().poll(&mut cx).is_pending());
    node.apply(6, stored(&node.key, doc! {"scopes": ["events:read"]}))
        .await;
    assert_eq!(refused.await, Some(Refusal::Changed));
    node.key_ends(7, later(1)).await;
    let stopping = node.handle.stop(0);
    stopping.await;
    node.apply(8, made("b")).await;
    let waited = node.handle.stopping_or_refused(&caller);
    let waited = tokio::time::timeout(Duration::from_mins(1), waited).await;
    assert_eq!(waited, Ok(None));
}

/// A session's task that closes its socket as soon as it is told.
struct Prompt(Mutex<Option<AliveGuard>>);

impl Wake for Prompt {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

/// An observer whom nobody asks.
struct Observer {
    inbox: ObserverInbox<()>,
    _requests: mpsc::Sender<()>,
}

impl Observer {
    async fn next_ended(&mut self) -> EndedRight {
        loop {
            match self.inbox.next().await {
                Some(ObserverInput::Observed(Observed::Ended(ended))) => return ended,
                Some(_) => {}
                None => panic!("the router has ended"),
            }
        }
    }
}

fn of_token() -> Caller {
    let token = TokenIdentity {
        issuer: "main".into(),
        subject: "42".into(),
        jti: Some("j".into()),
        kid: None,
        issued_at: None,
        signed_by: [0; 32],
    };
    Caller {
        credential: Credential::Token(Box::new(token)),
        ..Caller::anybody()
    }
}

#[tokio::test]
async fn a_socket_that_closes_as_soon_as_its_session_is_told_is_counted() {
    let document = |fields| RawDocumentBuf::try_from(&fields).unwrap();
    for case in ["key", "keys", "revocation"] {
        let (node, mut observer) = Node::start_observed().await;
        let (change, caller) = match case {
            "key" => {
                let key = document(doc! {"_id": node.key.id()});
                let deleted = CredentialsChange::Deleted(CredentialKind::Key, key);
                (deleted, node.caller())
            }
            "keys" => (
                CredentialsChange::AllDeleted(CredentialKind::Key),
                node.caller(),
            ),
            _ => {
                let revocation = document(doc! {"_id": "r", "jti": "j"});
                let made = CredentialsChange::Stored(CredentialKind::Revocation, revocation);
                (made, of_token())
            }
        };
        let (mut attach, receiver) = wish(&node.handle, "a", None);
        let (alive, closed) = AliveGuard::new();
        attach.caller = Arc::new(caller);
        attach.closed = closed.clone();
        node.handle.attach(attach).await.unwrap();
        let prompt = Waker::from(Arc::new(Prompt(Mutex::new(Some(alive)))));
        let cx = Context::from_waker(&prompt);
        let waiting = receiver.poll_take(&cx, 1, |_| false, &mut Vec::new());
        assert!(waiting.is_pending() && !closed.is_closed(), "{case}");
        node.apply(9, FeedChangeKind::Credentials(change)).await;
        let ended = observer.next_ended().await;
        assert!(closed.is_closed(), "{case}");
        assert_eq!(ended.closed.len(), 1, "{case}");
    }
}
