//! Every interleaving of the router and one session at the hand-over between them.
//!
//! The outbox is the one place where two tasks share memory. Its code is compiled here once more, with
//! a lock that loom watches: loom runs each of these scenarios again and again until every order in
//! which the two threads can take the lock and wake each other was tried. A wake-up that is lost shows as a thread that
//! waits for ever, which loom reports.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

/// The part of the router that the two threads share, with its lock as loom sees it.
#[path = "../src/router"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "it is the crate's own, in part"
)]
mod router {
    mod lock {
        pub(super) use loom::sync::{Mutex, MutexGuard};
    }
    pub(crate) mod opened {
        #[derive(Debug)]
        pub(crate) struct Opened;
    }
    pub(crate) mod outbox;
}
mod position {
    pub(crate) use tidegate::position::Position;
}
mod protocol {
    pub(crate) use tidegate::protocol::{ChannelId, Ending, Frame, FrameKind};
}

#[path = "interleavings/several.rs"]
mod several;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use loom::{future::block_on, model::Builder, thread};

use self::{
    position::Position,
    protocol::{ChannelId, Ending, Frame},
    router::outbox::{
        Bounds, End, Entry, Pushed, Receiver, Sender, Size, Taken,
        backpressure::{Room, WaitFor},
        outbox as new_outbox,
    },
};

const DELETED: End = End {
    ending: Ending::Deleted,
    position: Position::START,
    drain: true,
    more: false,
};

/// Runs the router and a session in every interleaving with at most so many switches between the threads where neither
/// has to wait (`None`: with any number). Checks what both return.
fn check<R: 'static, C: 'static>(
    name: &str,
    switches: Option<usize>,
    frames: usize,
    router: fn(Sender) -> R,
    session: fn(Receiver) -> C,
    expected: fn(R, C),
) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let mut model = Builder::new();
    model.preemption_bound = switches;
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = new_outbox(Bounds {
            frames,
            bytes: 1_000,
        });
        let session = thread::spawn(move || session(receiver));
        let got = router(sender);
        expected(got, session.join().unwrap());
    });
    let runs = runs.load(Ordering::Relaxed);
    println!("{name}: {runs} interleavings");
    assert!(runs > 1, "there was nothing to interleave");
}

/// A frame that is known by its length.
fn frame(len: usize) -> Arc<Frame> {
    Arc::new(Frame::new(vec![0; len].into(), Position::START, None))
}

/// Pushes; the hand-over is complete with it.
fn push(sender: &Sender, len: usize) -> bool {
    push_to(sender, ChannelId::FIRST, len)
}

fn push_to(sender: &Sender, channel: ChannelId, len: usize) -> bool {
    match sender.push(channel, &frame(len)) {
        Pushed::Queued(waker) => {
            if let Some(waker) = waker {
                waker.wake();
            }
            true
        }
        Pushed::Full | Pushed::Closed => false,
    }
}

/// Waits for a session, as the router does.
fn wait(sender: &Sender, wait_for: WaitFor) -> Room {
    let wait = sender.begin_wait(wait_for);
    block_on(poll_fn(|cx| sender.poll_wait(wait, cx)))
}

/// Returns the lengths of the frames; a channel's end has none.
fn lengths(entries: &[Entry]) -> Vec<usize> {
    let length = |entry: &Entry| match entry {
        Entry::Frame(_, frame) => frame.bytes.len(),
        Entry::ToSeveral(several) => several.frame.bytes.len(),
        Entry::Opened { .. } | Entry::End(..) => 0,
    };
    entries.iter().map(length).collect()
}

/// Takes whatever comes until the end; returns the lengths of all frames, last words among them.
fn take_all(receiver: &Receiver) -> (Vec<usize>, End) {
    let mut taken = Vec::new();
    loop {
        let took = block_on(poll_fn(|cx| {
            receiver.poll_take(cx, 1, |_| false, &mut taken)
        }));
        if let Taken::End(end) = took {
            taken.extend(receiver.drain());
            return (lengths(&taken), end);
        }
    }
}

#[test]
fn every_frame_comes_once_in_order_and_then_the_end() {
    check(
        "frames, then the end",
        Some(3),
        8,
        |sender| {
            assert!(push(&sender, 1));
            assert!(push(&sender, 2));
            assert!(sender.end(DELETED));
            assert!(!sender.end(DELETED), "it is decided once");
            assert!(!push(&sender, 3), "nothing behind the end");
        },
        |receiver| take_all(&receiver),
        |(), got| assert_eq!(got, (vec![1, 2], DELETED)),
    );
}

/// Pushes an entry for several channels; the hand-over is complete with it.
fn push_entry(sender: &Sender, entry: Entry) -> bool {
    match sender.push_entry(entry) {
        Ok(waker) => {
            if let Some(waker) = waker {
                waker.wake();
            }
            true
        }
        Err(_) => false,
    }
}

/// Takes frames for one of two channels, while the other one is held back, up to the end of the first; then what
/// the second was taken past. Returns the lengths for each.
fn take_past_one(receiver: &Receiver) -> [Vec<usize>; 2] {
    let (first, second) = (ChannelId::FIRST, ChannelId::FIRST.next());
    let mut taken = Vec::new();
    while !taken.iter().any(Entry::is_end) {
        let took = block_on(poll_fn(|cx| {
            receiver.poll_take(cx, 1, |id| id == second, &mut taken)
        }));
        assert!(matches!(took, Taken::Entries { .. }));
    }
    assert!(
        taken
            .iter()
            .all(|entry| entry.is_for(first) && !entry.is_for(second))
    );
    let mut late = Vec::new();
    while !receiver.take_passed(1, |id| id == second, &mut late).1 {}
    assert!(
        late.iter()
            .all(|entry| entry.is_for(second) && !entry.is_for(first))
    );
    [lengths(&taken), lengths(&late)]
}

#[test]
fn one_channel_is_taken_past_another_one_and_nothing_is_lost() {
    check(
        "two channels, of which one is held back",
        Some(3),
        8,
        |sender| {
            let (first, second) = (ChannelId::FIRST, ChannelId::FIRST.next());
            for (to, len) in [
                (&[first, second][..], 1),
                (&[second], 2),
                (&[first, second], 3),
            ] {
                let to = to.iter().copied().collect();
                assert!(push_entry(&sender, Entry::to_several(to, frame(len))));
            }
            push_entry(&sender, Entry::End(first, Box::new(DELETED)));
        },
        |receiver| take_past_one(&receiver),
        |(), got| assert_eq!(got, [vec![1, 3, 0], vec![1, 2, 3]]),
    );
}

#[test]
fn a_router_that_waits_for_room_gets_it() {
    check(
        "a full outbox that is served",
        Some(3),
        1,
        |sender| {
            for len in [1, 2] {
                if !push(&sender, len) {
                    assert_eq!(
                        wait(&sender, WaitFor::Room(Size::of(&frame(len)))),
                        Room::Free
                    );
                    assert!(push(&sender, len));
                }
            }
            sender.end(DELETED);
        },
        |receiver| take_all(&receiver),
        |(), got| assert_eq!(got, (vec![1, 2], DELETED)),
    );
}

/// Takes a frame; the socket refuses from then on. Tries whenever it is woken.
fn take_one_and_refuse(receiver: &Receiver) -> End {
    let mut taken = Vec::new();
    if let Taken::End(end) = block_on(poll_fn(|cx| {
        receiver.poll_take(cx, 1, |_| false, &mut taken)
    })) {
        receiver.close();
        return end;
    }
    let end = block_on(poll_fn(|cx| {
        receiver.refused();
        receiver.poll_end(cx)
    }));
    receiver.close();
    end
}

#[test]
fn a_socket_that_refuses_is_known_to_the_router_that_waits() {
    check(
        "a full outbox that is refused",
        Some(3),
        1,
        |sender| {
            let mut pushed = 0;
            for len in 1..=3 {
                if push(&sender, len) {
                    pushed += 1;
                    continue;
                }
                match wait(&sender, WaitFor::Room(Size::of(&frame(len)))) {
                    Room::Free => assert!(pushed == 1 && push(&sender, len)),
                    other => {
                        assert_eq!(other, Room::Refused);
                        break;
                    }
                }
                pushed += 1;
            }
            sender.end(End {
                ending: Ending::SlowConsumer,
                drain: false,
                ..DELETED
            });
            pushed
        },
        |receiver| take_one_and_refuse(&receiver),
        |pushed, end| {
            assert!(pushed <= 2, "one was taken, one waits");
            assert_eq!(end.ending, Ending::SlowConsumer);
        },
    );
}

#[test]
fn who_holds_too_much_lets_go_or_is_known_to_refuse() {
    check(
        "too much on the node",
        Some(2),
        8,
        |sender| {
            assert!(push(&sender, 1));
            assert!(push(&sender, 2));
            let room = wait(&sender, WaitFor::LessHeld(sender.held()));
            assert!(matches!(room, Room::Free | Room::Refused), "{room:?}");
            sender.end(End {
                drain: false,
                ..DELETED
            });
            block_on(poll_fn(|cx| sender.poll_emptied(cx)));
            assert_eq!(sender.held(), 0);
        },
        |receiver| take_one_and_refuse(&receiver),
        |(), end| assert_eq!(end.ending, Ending::Deleted),
    );
}

#[test]
fn a_connection_that_leaves_frees_the_router() {
    check(
        "a full outbox that is dropped",
        None,
        1,
        |sender| {
            let first = push(&sender, 1);
            if first && !push(&sender, 2) {
                assert_eq!(
                    wait(&sender, WaitFor::Room(Size::of(&frame(2)))),
                    Room::Closed
                );
            }
        },
        drop,
        |(), ()| {},
    );
}

#[test]
fn a_frame_that_finds_nobody_is_known_as_missed() {
    check(
        "a session that stops while the router decides",
        None,
        8,
        |sender| {
            let pushed = push(&sender, 1);
            sender.end(DELETED);
            pushed
        },
        |receiver| {
            receiver.stop();
            let end = block_on(poll_fn(|cx| receiver.poll_end(cx)));
            assert_eq!(end, DELETED, "the verdict comes to who has stopped");
            (lengths(&receiver.drain()), receiver.missed())
        },
        |pushed, got| {
            let expected = if pushed {
                (vec![1], false)
            } else {
                (vec![], true)
            };
            assert_eq!(got, expected);
        },
    );
}

#[test]
fn a_channel_s_end_comes_behind_its_last_words_and_leaves_the_other_channel_alone() {
    const SECOND: ChannelId = ChannelId::FIRST.next();
    check(
        "the end of one of two channels",
        Some(3),
        8,
        |sender| {
            assert!(push_to(&sender, SECOND, 1));
            sender.end_channel(SECOND, DELETED);
            assert!(push(&sender, 2));
            assert!(sender.end(DELETED));
        },
        |receiver| take_all(&receiver),
        |(), got| assert_eq!(got, (vec![1, 0, 2], DELETED)),
    );
}

/// A session that catches up on both channels waits for ends alone: the end of a channel must wake it.
#[test]
fn the_end_of_a_channel_that_catches_up_is_known_to_it() {
    check(
        "a channel that ends while it replays",
        None,
        8,
        |sender| sender.end_channel(ChannelId::FIRST, DELETED),
        |receiver| {
            block_on(poll_fn(|cx| {
                assert!(receiver.poll_end(cx).is_pending(), "the session goes on");
                match receiver.end_of(ChannelId::FIRST) {
                    Some(end) => std::task::Poll::Ready(end),
                    None => std::task::Poll::Pending,
                }
            }))
        },
        |(), end| assert_eq!(end, DELETED),
    );
}
