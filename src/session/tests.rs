//! Whatever races: one ending, told last, with a cursor up to which nothing is missing.

mod exploration;
mod invariants;
mod world;

use proptest::prelude::*;

use self::{
    invariants::{check_end, check_now},
    world::{Kind, Step, World},
};
use crate::{protocol::Ending, router::outbox::Bounds};

/// Connections in a large world at most.
const CLIENTS: usize = 24;

fn step() -> impl Strategy<Value = Step> {
    use Ending::{
        BadMessage, ClientLeft, Expired, HeartbeatMissed, InternalError, Overloaded, ProtocolError,
        Resync, Shutdown,
    };
    let kind = prop::sample::select(vec![Kind::Live, Kind::EndsOnGap, Kind::Replays]);
    let decided = prop::sample::select(vec![Expired, Shutdown, Resync, Overloaded]);
    let found = vec![
        BadMessage,
        ClientLeft,
        HeartbeatMissed,
        InternalError,
        ProtocolError,
    ];
    let client = 0..CLIENTS;
    prop_oneof![
        4 => (0u8..4, kind).prop_map(|(subscription, kind)| Step::Open(subscription, kind)),
        2 => Just(Step::Pass),
        5 => (0u8..4).prop_map(Step::Route),
        3 => (0u8..4).prop_map(Step::RouteRun),
        1 => Just(Step::Gap),
        1 => (0u8..4).prop_map(Step::Delete),
        1 => (0usize..4).prop_map(Step::Stop),
        1 => (client.clone(), decided).prop_map(|(at, ending)| Step::Decide(at, ending)),
        3 => client.clone().prop_map(Step::Hear),
        1 => (0u8..4).prop_map(Step::Recreate),
        2 => client.clone().prop_map(Step::Answer),
        2 => client.clone().prop_map(Step::Deliver),
        2 => client.clone().prop_map(Step::Ping),
        8 => (client.clone(), 1usize..40).prop_map(|(at, bytes)| Step::Take(at, bytes)),
        8 => (client.clone(), 1usize..40).prop_map(|(at, bytes)| Step::Write(at, bytes)),
        2 => (client.clone(), prop::sample::select(found)).prop_map(|(at, e)| Step::Find(at, e)),
        3 => client.prop_map(Step::Look),
    ]
}

/// The connection that a step is about.
fn about(step: Step) -> Option<usize> {
    match step {
        Step::Decide(at, _)
        | Step::Hear(at)
        | Step::Answer(at)
        | Step::Deliver(at)
        | Step::Ping(at)
        | Step::Take(at, _)
        | Step::Write(at, _)
        | Step::Find(at, _)
        | Step::Look(at) => Some(at),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn last_words_are_true_whatever_races(steps in prop::collection::vec(step(), 0..300)) {
        let mut world = World::new(Bounds { frames: 6, bytes: 60 });
        for step in steps {
            let open = matches!(step, Step::Open(..)) && world.clients.len() == CLIENTS;
            if open || about(step).is_some_and(|at| at >= world.clients.len()) {
                continue;
            }
            world.apply(step);
            check_now(&world);
        }
        world.settle();
        check_end(&world);
    }
}
