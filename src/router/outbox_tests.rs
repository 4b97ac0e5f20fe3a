//! The hand-over between the router and one connection, one thread at a time.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::Instant;

use super::outbox::{
    Bounds, End, Entry, Pushed, Receiver, Size, Taken, backpressure::Room, outbox,
};
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

/// The channels of a session for many subscriptions.
const CHANNELS: usize = 4;

/// A step of a session that holds some of its channels back.
#[derive(Clone, Debug)]
enum Step {
    /// The router pushes a frame of so many bytes for these channels.
    Push(Vec<bool>, usize),
    /// The session takes frames of so many bytes; it holds these channels back.
    Take([bool; CHANNELS], usize),
    /// It takes what others were taken past, of one channel.
    TakePassed(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let some = prop::collection::vec(any::<bool>(), CHANNELS);
    prop_oneof![
        (some, 1usize..9).prop_map(|(to, bytes)| Step::Push(to, bytes)),
        (any::<[bool; CHANNELS]>(), 1usize..30).prop_map(|(back, bytes)| Step::Take(back, bytes)),
        (0..CHANNELS, 1usize..30).prop_map(|(channel, bytes)| Step::TakePassed(channel, bytes)),
    ]
}

fn ids() -> [ChannelId; CHANNELS] {
    let mut id = ChannelId::FIRST;
    std::array::from_fn(|_| {
        let next = id.next();
        std::mem::replace(&mut id, next)
    })
}

/// A frame that can be told from others by its time.
fn numbered(number: u32, bytes: usize) -> Arc<Frame> {
    let at = Position::at(bson::Timestamp {
        time: number,
        increment: 0,
    });
    Arc::new(Frame::new(vec![0; bytes].into(), at, None))
}

proptest! {
    /// Whatever is held back when, each channel gets what was pushed for it, in order and once, and nothing is left
    /// over.
    #[test]
    fn what_others_are_taken_past_is_neither_lost_nor_moved(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let wide = Bounds { frames: 10_000, bytes: 1 << 20 };
        let (sender, receiver) = outbox(wide);
        let mut pushed: [Vec<Position>; CHANNELS] = Default::default();
        let mut taken: [Vec<Position>; CHANNELS] = Default::default();
        let mut number = 0;
        let number_of = |id: ChannelId| ids().iter().position(|known| *known == id).unwrap();
        let mut note = |entries: Vec<Entry>| {
            for entry in entries {
                let Entry::ToSeveral(several) = entry else { panic!("{entry:?}") };
                assert!(!several.to.is_empty() && several.to.is_sorted(), "{several:?}");
                for id in several.to {
                    taken[number_of(id)].push(several.frame.position);
                }
            }
        };
        let settle = [Step::Take([false; CHANNELS], usize::MAX), Step::Take([false; CHANNELS], usize::MAX)];
        let passed = (0..CHANNELS).map(|channel| Step::TakePassed(channel, usize::MAX));
        let cx = Context::from_waker(Waker::noop());
        for step in steps.into_iter().chain(passed).chain(settle) {
            let mut out = Vec::new();
            match step {
                Step::Push(to, bytes) => {
                    let to: Vec<usize> = (0..CHANNELS).filter(|at| to[*at]).collect();
                    if to.is_empty() {
                        continue;
                    }
                    number += 1;
                    let frame = numbered(number, bytes);
                    for channel in &to {
                        pushed[*channel].push(frame.position);
                    }
                    let to = to.into_iter().map(|at| ids()[at]).collect();
                    prop_assert!(sender.push_entry(Entry::to_several(to, frame)).is_ok());
                }
                Step::Take(back, bytes) => {
                    let polled = receiver.poll_take(&cx, bytes, |id| back[number_of(id)], &mut out);
                    prop_assert!(polled.is_pending() || !out.is_empty());
                }
                Step::TakePassed(channel, bytes) => {
                    receiver.take_passed(bytes, |id| number_of(id) == channel, &mut out);
                }
            }
            note(out);
        }
        prop_assert_eq!(taken, pushed);
        prop_assert_eq!(sender.len(), 0);
        receiver.holds(0);
        prop_assert_eq!(sender.held(), 0);
    }
}
