//! The hand-over between the router and one connection, one thread at a time.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use super::outbox::{Bounds, End, Pushed, Receiver, Size, Taken, backpressure::Room, outbox};
use crate::{
    position::Position,
    protocol::{ChannelId, Ending, Frame},
};

const BOUNDS: Bounds = Bounds {
    frames: 2,
    bytes: 100,
};

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn frame(len: usize) -> Arc<Frame> {
    Arc::new(Frame::new(vec![0; len].into(), Position::START, None))
}

fn take(receiver: &Receiver) -> Poll<Taken> {
    let mut out = Vec::new();
    receiver.poll_take(
        &Context::from_waker(Waker::noop()),
        usize::MAX,
        |_| false,
        &mut out,
    )
}

fn deleted() -> End {
    End {
        ending: Ending::Deleted,
        position: Position::START,
        drain: true,
        more: false,
    }
}

#[test]
fn frames_and_bytes_are_bounded_but_one_frame_always_fits() {
    let (sender, receiver) = outbox(BOUNDS);
    assert!(matches!(
        sender.push(ChannelId::FIRST, &frame(500)),
        Pushed::Queued(_)
    ));
    assert!(matches!(
        sender.push(ChannelId::FIRST, &frame(1)),
        Pushed::Full
    ));
    assert_eq!(take(&receiver), Poll::Ready(Taken::Entries { bytes: 500 }));
    assert!(matches!(
        sender.push(ChannelId::FIRST, &frame(40)),
        Pushed::Queued(_)
    ));
    assert!(matches!(
        sender.push(ChannelId::FIRST, &frame(40)),
        Pushed::Queued(_)
    ));
    assert!(matches!(
        sender.push(ChannelId::FIRST, &frame(1)),
        Pushed::Full
    ));
}

#[test]
fn the_end_comes_once_and_leaves_what_waits() {
    let (sender, receiver) = outbox(BOUNDS);
    sender.push(ChannelId::FIRST, &frame(10));
    assert!(sender.end(deleted()));
    assert!(!sender.end(End {
        ending: Ending::Shutdown,
        ..deleted()
    }));
    assert!(matches!(
        sender.push(ChannelId::FIRST, &frame(1)),
        Pushed::Closed
    ));
    assert_eq!(take(&receiver), Poll::Ready(Taken::End(deleted())));
    assert_eq!(receiver.drain().len(), 1, "last words are still to be had");
    assert_eq!(take(&receiver), Poll::Pending);
}

#[test]
fn what_is_refused_between_stop_and_end_is_known() {
    let (sender, receiver) = outbox(BOUNDS);
    sender.push(ChannelId::FIRST, &frame(10));
    receiver.stop();
    assert!(!receiver.missed());
    assert!(matches!(
        sender.push(ChannelId::FIRST, &frame(1)),
        Pushed::Closed
    ));
    assert!(receiver.missed());
    assert_eq!(receiver.drain().len(), 1, "what waited before is kept");
}

#[tokio::test]
async fn a_waiting_sender_asks_the_receiver() {
    let (sender, receiver) = outbox(BOUNDS);
    let asked = poll_fn(|cx| receiver.poll_asked(cx));
    sender.push(ChannelId::FIRST, &frame(100));
    let (room, ()) = tokio::join!(sender.room(Size::of(&frame(10)), deadline()), async {
        asked.await;
        receiver.stop();
    });
    assert_eq!(room, Room::Closed);
}

#[tokio::test(start_paused = true)]
async fn full_is_not_slow_until_the_socket_refuses_afterwards() {
    let (sender, receiver) = outbox(BOUNDS);
    receiver.refused();
    sender.push(ChannelId::FIRST, &frame(100));
    assert_eq!(
        sender.room(Size::of(&frame(10)), deadline()).await,
        Room::Unserved,
        "an old refusal says nothing"
    );
    let waiting = tokio::spawn({
        let sender = sender.clone();
        async move { sender.room(Size::of(&frame(10)), deadline()).await }
    });
    tokio::task::yield_now().await;
    receiver.refused();
    assert_eq!(waiting.await.unwrap(), Room::Refused);
    let waiting = tokio::spawn(async move { sender.room(Size::of(&frame(10)), deadline()).await });
    tokio::task::yield_now().await;
    assert_eq!(take(&receiver), Poll::Ready(Taken::Entries { bytes: 100 }));
    assert_eq!(waiting.await.unwrap(), Room::Free);
}

#[tokio::test]
async fn a_receiver_that_is_gone_frees_the_sender() {
    let (sender, receiver) = outbox(BOUNDS);
    sender.push(ChannelId::FIRST, &frame(100));
    let waiting = tokio::spawn(async move { sender.room(Size::of(&frame(10)), deadline()).await });
    tokio::task::yield_now().await;
    drop(receiver);
    assert_eq!(waiting.await.unwrap(), Room::Closed);
}
