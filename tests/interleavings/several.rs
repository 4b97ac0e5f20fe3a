//! The hand-over to a session for many subscriptions: one list for all of its channels, in commit order.

use std::{collections::BTreeSet, task::Poll};

use loom::future::block_on;

use super::{
    DELETED, Sender, check, frame,
    protocol::{ChannelId, Ending},
    push_entry,
    router::{
        opened::Opened,
        outbox::{End, Entry, Receiver, Taken},
    },
};

const A: ChannelId = ChannelId::FIRST;
const B: ChannelId = ChannelId::FIRST.next();

/// A part of what a session has got of a channel: the length of a frame and whether it was marked, a beginning (0) or an end
/// (nothing).
type Got = (Option<usize>, bool);

const BEGUN: Got = (Some(0), false);

/// Adds what entries hold for each of the two channels.
fn sort(entries: &[Entry], got: &mut [Vec<Got>; 2]) {
    for entry in entries {
        let (what, more) = match entry {
            Entry::ToSeveral(several) => {
                let to: BTreeSet<_> = several.to.iter().collect();
                assert!(!to.is_empty() && to.len() == several.to.len() && several.to.is_sorted());
                (Some(several.frame.bytes.len()), several.more)
            }
            Entry::Opened { .. } => BEGUN,
            Entry::End(_, end) => (None, end.more),
            Entry::Frame(..) => panic!("only sessions with one channel get these"),
        };
        for (of, got) in [A, B].into_iter().zip(got.iter_mut()) {
            if entry.is_for(of) {
                got.push((what, more));
            }
        }
    }
}

fn to_several(to: &[ChannelId], len: usize, more: bool) -> Entry {
    let mut entry = Entry::to_several(to.iter().copied().collect(), frame(len));
    if more {
        entry.mark_more();
    }
    entry
}

fn opened(channel: ChannelId) -> Entry {
    Entry::Opened {
        channel,
        catches_up: true,
        opened: Box::new(Opened),
    }
}

/// Takes what comes up to the end of the first channel. From its beginning on, the second is held back; what it was
/// passed over comes last.
fn take_with_a_beginning(receiver: &Receiver) -> [Vec<Got>; 2] {
    let mut got: [Vec<Got>; 2] = Default::default();
    let (mut taken, mut has_begun) = (Vec::new(), false);
    while !got[0].contains(&(None, false)) {
        let took = block_on(std::future::poll_fn(|cx| {
            receiver.poll_take(cx, 100, |id| has_begun && id == B, &mut taken)
        }));
        assert!(matches!(took, Taken::Entries { .. }));
        has_begun |= taken
            .iter()
            .any(|entry| matches!(entry, Entry::Opened { .. }));
        sort(&taken, &mut got);
        taken.clear();
    }
    assert!(
        got[1].len() <= 1,
        "more than its beginning came before its past: {got:?}"
    );
    while !receiver.take_passed(100, |id| id == B, &mut taken).1 {}
    sort(&taken, &mut got);
    got
}

#[test]
fn a_channel_that_catches_up_is_held_back_from_its_beginning_on() {
    check(
        "the beginning of a channel that catches up",
        Some(3),
        8,
        |sender: Sender| {
            for entry in [
                to_several(&[A], 1, false),
                opened(B),
                to_several(&[A, B], 2, false),
                // One change: two channels are told of it, and one ends.
                to_several(&[A], 3, true),
                to_several(&[B], 4, true),
                Entry::End(A, Box::new(DELETED)),
            ] {
                assert!(push_entry(&sender, entry));
            }
        },
        |receiver| take_with_a_beginning(&receiver),
        |(), [a, b]| {
            let of_a = [
                (Some(1), false),
                (Some(2), false),
                (Some(3), true),
                (None, false),
            ];
            assert_eq!(a, of_a);
            assert_eq!(b, [BEGUN, (Some(2), false), (Some(4), true)]);
        },
    );
}

/// Takes all of both channels up to the end of the second, and whatever is there of the first.
fn take_to_the_end_of_b(receiver: &Receiver) -> [Vec<Got>; 2] {
    let mut got: [Vec<Got>; 2] = Default::default();
    let mut taken = Vec::new();
    let is_over = |got: &[Vec<Got>; 2]| {
        let is_end = |(what, _): &Got| what.is_none();
        got[1].iter().any(is_end) && got[0].contains(&(Some(3), false))
    };
    while !is_over(&got) {
        let took = block_on(std::future::poll_fn(|cx| {
            receiver.poll_take(cx, 1, |_| false, &mut taken)
        }));
        assert!(matches!(took, Taken::Entries { .. }));
        sort(&taken, &mut got);
        taken.clear();
    }
    let nothing = block_on(std::future::poll_fn(|cx| {
        Poll::Ready(receiver.poll_take(cx, 1, |_| false, &mut taken))
    }));
    assert!(nothing.is_pending() && !receiver.has_ends());
    got
}

/// An end that drops what waits takes it from one channel, and nothing from the other, however far the session has come.
#[test]
fn an_end_that_drops_what_waits_leaves_the_other_channel_its_share() {
    check(
        "an end that drops what waits of one of two channels",
        Some(3),
        8,
        |sender: Sender| {
            for entry in [to_several(&[A, B], 1, false), to_several(&[B], 2, false)] {
                assert!(push_entry(&sender, entry));
            }
            let end = End {
                ending: Ending::Forbidden,
                drain: false,
                ..DELETED
            };
            sender.end_channel(B, end);
            assert!(push_entry(&sender, to_several(&[A], 3, false)));
        },
        |receiver| take_to_the_end_of_b(&receiver),
        |(), [a, b]| {
            assert_eq!(a, [(Some(1), false), (Some(3), false)]);
            let (end, before) = b.split_last().unwrap();
            assert_eq!(*end, (None, false));
            let all = [(Some(1), false), (Some(2), false)];
            assert_eq!(
                *before,
                all[..before.len()],
                "from the front on, and nothing behind the end"
            );
        },
    );
}
