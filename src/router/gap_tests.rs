//! What connections are told where events may be missing.

use std::{sync::Arc, time::Instant};

use bson::{DateTime, RawDocumentBuf, Timestamp, doc};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Attach, Batch, Change, ChangeKind, Compiled, Counted, FromFeed, Router, RouterHandle, Settings,
    filter_limits,
    outbox::{Receiver, Taken},
};
use crate::{
    config,
    position::{Cursor, DeploymentId, Position},
    protocol::{Dialect, GapReason},
    telemetry::Metrics,
};

const HERE: DeploymentId = DeploymentId([7; 6]);

fn at(time: u32) -> Position {
    Position::at(Timestamp { time, increment: 1 })
}

fn batch(time: u32, kind: ChangeKind) -> FromFeed {
    of(vec![change(time, kind)], time)
}

fn change(time: u32, kind: ChangeKind) -> Change {
    Change::new(at(time), DateTime::now(), kind)
}

fn of(changes: Vec<Change>, time: u32) -> FromFeed {
    FromFeed::Batch(Batch {
        reply: RawDocumentBuf::new(),
        changes,
        position: at(time),
        received_at: Instant::now(),
        counted: Counted::default(),
        unapplied: None,
    })
}

async fn attach(handle: &RouterHandle, after: Option<Position>) -> Receiver {
    let (outbox, receiver) = handle.outbox();
    let attach = Attach {
        id: "a".to_owned(),
        outbox,
        dialect: Dialect::Tidegate,
        after: after.map(|position| Cursor {
            deployment: HERE,
            position,
        }),
        acknowledged: false,
        close_on_gap: false,
        remote: String::new(),
        gone: crate::receipts::life().1,
    };
    handle.attach(attach).await.unwrap();
    receiver
}

async fn next(receiver: &Receiver) -> Value {
    let mut taken = Vec::new();
    let frames = std::future::poll_fn(|cx| receiver.poll_take(cx, 1, &mut taken)).await;
    assert!(matches!(frames, Taken::Frames { .. }));
    let text = taken[0].bytes.iter().position(|byte| *byte == b'{');
    serde_json::from_slice(&taken[0].bytes[text.unwrap()..]).unwrap()
}

/// A router that runs and knows the subscription `a` since 5.
async fn router_with_one() -> (RouterHandle, mpsc::Sender<FromFeed>, JoinHandle<()>) {
    let settings = Settings {
        deployment: HERE,
        database: "d".to_owned(),
        limits: config::Limits::default(),
        socket: config::Socket::default(),
        feed: config::Feed::default(),
    };
    let (limits, metrics) = (
        filter_limits(&settings.limits),
        Arc::new(Metrics::default()),
    );
    let (router, handle, feed) = Router::new(settings, 4, metrics);
    let router = tokio::spawn(router.run());
    let document = RawDocumentBuf::try_from(&doc! {"_id": "a"}).unwrap();
    let made = ChangeKind::Upserted(Box::new(Compiled::read(document, &limits)));
    feed.send(batch(5, made)).await.unwrap();
    handle.loaded(std::time::Duration::MAX).await;
    (handle, feed, router)
}

/// A gap reaches from before what is missing, so that a client may ask for it again, but not from
/// before where its own delivery starts.
#[tokio::test]
async fn a_gap_reaches_from_before_what_is_missing_or_from_where_delivery_starts() {
    let (handle, feed, router) = router_with_one().await;
    // The one that starts later comes first, and must not have its frame shared.
    let ahead = attach(&handle, Some(at(7))).await;
    let here = attach(&handle, None).await;
    let far_ahead = attach(&handle, Some(at(20))).await;

    let missed = || ChangeKind::Missed(GapReason::OversizedChange);
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
    let missed = ChangeKind::Missed;
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
