//! Tests of the gaps that channels are told of.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bson::{DateTime, Document, RawDocumentBuf, Timestamp, doc};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Attach, AttachError, FeedBatch, FeedChange, FeedChangeKind, FromFeed, Operation, PastChange,
    PastChangeKind, Router, RouterHandle, Settings, Span,
    outbox::{Entry, Receiver, Taken},
};
use crate::{
    access::Caller,
    config,
    filter::{Limits, fault},
    position::{Cursor, DeploymentId, Position},
    protocol::{Dialect, Ending, GapReason},
    subscription::CompiledSubscription,
    telemetry::{Lag, Metrics},
};

pub(super) const HERE: DeploymentId = DeploymentId([7; 6]);

pub(super) fn at(time: u32) -> Position {
    Position::at(Timestamp { time, increment: 1 })
}

fn batch(time: u32, kind: FeedChangeKind) -> FromFeed {
    of(vec![change(time, kind)], time)
}

pub(super) fn change(time: u32, kind: FeedChangeKind) -> FeedChange {
    FeedChange {
        position: at(time),
        wall_time: DateTime::now(),
        kind,
    }
}

pub(super) fn of(changes: Vec<FeedChange>, time: u32) -> FromFeed {
    FromFeed::Batch(plain_batch(changes, time))
}

fn plain_batch(changes: Vec<FeedChange>, time: u32) -> FeedBatch {
    FeedBatch {
        reply: RawDocumentBuf::new(),
        changes,
        position: at(time),
        received_at: Instant::now(),
        unapplied: Lag::default().received(Instant::now(), Duration::ZERO, Instant::now()),
    }
}

async fn attach(handle: &RouterHandle, after: Option<Position>) -> Receiver {
    let (attach, receiver) = wish(handle, "a", after);
    handle.attach(attach).await.unwrap();
    receiver
}

pub(super) fn wish(handle: &RouterHandle, id: &str, after: Option<Position>) -> (Attach, Receiver) {
    let (outbox, receiver) = handle.outbox();
    let attach = Attach {
        id: id.to_owned(),
        caller: Arc::new(Caller::anybody()),
        outbox,
        dialect: Dialect::Tidegate,
        after: after.map(|position| Cursor {
            deployment: HERE,
            position,
        }),
        acknowledged: false,
        close_on_gap: false,
        remote: String::new(),
        closed: crate::router::registry::AliveGuard::new().1,
    };
    (attach, receiver)
}

async fn next(receiver: &Receiver) -> Value {
    let mut taken = Vec::new();
    let frames = std::future::poll_fn(|cx| receiver.poll_take(cx, 1, |_| false, &mut taken)).await;
    assert!(matches!(frames, Taken::Entries { .. }));
    let [Entry::Frame(_, frame)] = taken.as_slice() else {
        panic!("{taken:?}");
    };
    let text = frame.bytes.iter().position(|byte| *byte == b'{');
    serde_json::from_slice(&frame.bytes[text.unwrap()..]).unwrap()
}

pub(super) fn new_router() -> (Router, RouterHandle, mpsc::Sender<FromFeed>) {
    router_within(config::Limits::default())
}

fn router_within(limits: config::Limits) -> (Router, RouterHandle, mpsc::Sender<FromFeed>) {
    let settings = Settings {
        deployment: HERE,
        database: "d".to_owned(),
        narrows: true,
        quotas: config::Quotas::default(),
        limits,
        socket: config::Socket::default(),
        feed: config::Feed::default(),
    };
    Router::new(settings, 4, Arc::new(Metrics::default()))
}

pub(super) fn made(id: &str) -> FeedChangeKind {
    upserted(&doc! {"_id": id})
}

fn upserted(document: &Document) -> FeedChangeKind {
    let limits = Limits::from(&config::Limits::default());
    let document = RawDocumentBuf::try_from(document).unwrap();
    FeedChangeKind::SubscriptionStored(Box::new(CompiledSubscription::compile(document, &limits)))
}

/// Returns a running router that has known the subscription `a` since 5.
async fn router_with_one() -> (RouterHandle, mpsc::Sender<FromFeed>, JoinHandle<()>) {
    let (router, handle, feed) = new_router();
    let router = tokio::spawn(router.run());
    feed.send(batch(5, made("a"))).await.unwrap();
    handle.loaded(Duration::MAX).await;
    (handle, feed, router)
}

/// A gap begins before what is missing, so that a client may ask for it again, but not before its own delivery began.
#[tokio::test]
async fn a_gap_reaches_from_before_what_is_missing_or_from_where_delivery_starts() {
    let (handle, feed, router) = router_with_one().await;
    // The one that starts later comes first. Its frame must not be shared.
    let ahead = attach(&handle, Some(at(7))).await;
    let here = attach(&handle, None).await;
    let far_ahead = attach(&handle, Some(at(20))).await;

    let missed = || FeedChangeKind::Missed(GapReason::OversizedChange);
    feed.send(batch(9, missed())).await.unwrap();
    feed.send(batch(21, missed())).await.unwrap();

    let cursor = |time| Value::from(at(time).cursor(HERE));
    for (receiver, after) in [(&here, 5), (&ahead, 7)] {
        let gap = next(receiver).await;
        assert_eq!(
            (&gap["after"], &gap["cursor"]),
            (&cursor(after), &cursor(9)),
            "{after}"
        );
    }
    let gap = next(&far_ahead).await;
    assert_eq!((&gap["after"], &gap["cursor"]), (&cursor(20), &cursor(21)));
    drop((handle, feed));
    router.await.unwrap();
}

#[tokio::test]
async fn the_changes_of_one_batch_are_applied_in_their_order() {
    let (handle, feed, router) = router_with_one().await;
    let receiver = attach(&handle, None).await;
    let missed = FeedChangeKind::Missed;
    let reasons = [GapReason::OversizedChange, GapReason::UndecodableChange];
    let changes = reasons.iter().zip(8..);
    let changes = changes.map(|(reason, time)| change(time, missed(*reason)));
    feed.send(of(changes.collect(), 9)).await.unwrap();
    for (time, reason) in (8..).zip(reasons) {
        let gap = next(&receiver).await;
        assert_eq!(gap["cursor"], at(time).cursor(HERE));
        assert_eq!(gap["reason"], reason.token());
    }
    drop((handle, feed));
    router.await.unwrap();
}

/// A subscription is not to blame for what the filters of others took, and a third one is not concerned.
#[tokio::test]
async fn a_subscription_that_was_passed_over_stays_active_and_is_told_of_a_gap() {
    let (mut router, handle, _feed) = new_router();
    let known = vec![change(5, made("a")), change(6, made("b"))];
    router.apply_batch(plain_batch(known, 6)).await;
    let attach = |id, close_on_gap| {
        let (wish, receiver) = wish(&handle, id, None);
        (
            Attach {
                close_on_gap,
                ..wish
            },
            receiver,
        )
    };
    let (passed_over, told) = attach("a", false);
    let (impatient, ended) = attach("a", true);
    let (other, spared) = attach("b", false);
    for attach in [passed_over, impatient, other] {
        router.try_attach(attach).unwrap();
    }

    router.position = at(9);
    router.delivery.matched.undecided = vec![router.subscriptions.slot("a").unwrap()];
    router.pass_over_undecided(at(8)).await;

    let gap = next(&told).await;
    assert_eq!(gap["type"], "gap");
    assert_eq!(gap["reason"], "oversized_change");
    let cursor = |time| Value::from(at(time).cursor(HERE));
    assert_eq!((&gap["after"], &gap["cursor"]), (&cursor(8), &cursor(9)));
    let slot = router.subscriptions.slot("a").unwrap();
    assert_eq!(router.registry.of(slot).len(), 1);
    assert_eq!(router.subscriptions.unmatchable(), 0);
    assert_eq!(router.metrics.delivery.filters_undecided.get(), 1);
    let mut taken = Vec::new();
    let mut now = |receiver: &Receiver| {
        let cx = Context::from_waker(Waker::noop());
        receiver.poll_take(&cx, 1, |_| false, &mut taken)
    };
    assert!(now(&spared).is_pending());
    assert!(matches!(now(&ended), Poll::Ready(Taken::End(_))));
}

/// An event with which one filter panics is matched a second time, without that filter.
#[tokio::test]
async fn a_filter_that_is_too_expensive_beside_one_that_panics_is_told_too() {
    let (mut router, handle, _feed) = new_router();
    let elements: Vec<_> = (0..400)
        .map(|n| doc! {"$elemMatch": {"y": {"$gt": n}}})
        .collect();
    let filters = [
        doc! {"_id": "a", "filter": {"x": {"$all": elements}}},
        doc! {"_id": "b", "filter": {"x": {"$ne": fault::TEXT}}},
    ];
    let known = (5..).zip(filters);
    let known = known.map(|(time, document)| change(time, upserted(&document)));
    let known = known.collect();
    router.apply_batch(plain_batch(known, 6)).await;
    assert_eq!(router.subscriptions.counts(), [2, 0, 0]);
    let (attach, receiver) = wish(&handle, "a", None);
    router.try_attach(attach).unwrap();

    router.position = at(9);
    let mut values = vec![doc! {"y": 0}; 45_000];
    values.push(doc! {"y": 1_000});
    let event = RawDocumentBuf::try_from(&doc! {"x": values}).unwrap();
    let operation = Operation::event(Span::within(&event, &event).unwrap());
    let change = PastChange::new(at(9), DateTime::now(), PastChangeKind::Operation(operation));
    router.apply_event(&event, &change, at(8)).await;
    assert_eq!(router.subscriptions.unmatchable(), 2);
    assert_eq!(next(&receiver).await["type"], "updated");
}

/// Each of them holds a copy of its subscription while it catches up.
#[tokio::test]
async fn those_who_get_the_past_are_as_many_as_there_is_room_for_their_subscriptions() {
    let document = RawDocumentBuf::try_from(&doc! {"_id": "a"}).unwrap();
    let limits = config::Limits {
        subscriptions_bytes: 2 * document.as_bytes().len(),
        ..config::Limits::default()
    };
    let (mut router, handle, _feed) = router_within(limits);
    router
        .apply_batch(plain_batch(vec![change(5, made("a"))], 9))
        .await;
    let replay = |router: &mut Router| {
        let (attach, receiver) = wish(&handle, "a", Some(at(6)));
        let attached = router.try_attach(attach).map(|attached| attached.key);
        attached.map(|key| (key, receiver))
    };
    let (first, _outbox) = replay(&mut router).unwrap();
    let (second, _other) = replay(&mut router).unwrap();
    assert_eq!(replay(&mut router).unwrap_err(), AttachError::ReplaysFull);
    assert!(router.try_attach(wish(&handle, "a", None).0).is_ok());
    router.backlog_after(&[first], at(6));
    let (_, _outbox) = replay(&mut router).unwrap();
    assert_eq!(replay(&mut router).unwrap_err(), AttachError::ReplaysFull);
    router
        .registry
        .end_channel(second, Ending::ClientLeft, at(9));
    assert!(replay(&mut router).is_ok());
}
