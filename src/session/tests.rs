//! Whatever races: one ending of a session and of a channel, told last, with a cursor up to which nothing is missing.

mod exploration;
mod invariants;
mod world;

use proptest::prelude::*;

use self::{
    invariants::{check_end, check_now},
    world::{Kind, Step, World},
};
use crate::{
    protocol::Ending,
    router::{outbox::Bounds, registry::Closes},
};

/// The most sessions in a large world.
const CLIENTS: usize = 24;
/// The most channels on one of them.
const CHANNELS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    use Ending::{
        BadMessage, ClientLeft, Expired, HeartbeatMissed, InternalError, Overloaded, ProtocolError,
        Resync, Shutdown,
    };
    let kind = prop::sample::select(vec![Kind::Live, Kind::EndsOnGap, Kind::Replays]);
    let decided = prop::sample::select(vec![Shutdown, Overloaded]);
    let of_channel = prop::sample::select(vec![Expired, Resync, Overloaded]);
    let found = vec![
        BadMessage,
        ClientLeft,
        HeartbeatMissed,
        InternalError,
        ProtocolError,
    ];
    let (client, channel) = (0..CLIENTS, 0..CHANNELS);
    prop_oneof![
        3 => (0u8..4, kind.clone()).prop_map(|(of, kind)| Step::Open(of, kind)),
        2 => (0u8..4, kind.clone()).prop_map(|(of, kind)| Step::OpenMany(of, kind)),
        4 => (client.clone(), 0u8..4, kind).prop_map(|(at, of, kind)| Step::OpenChannel(at, of, kind)),
        2 => Just(Step::Pass),
        5 => (0u8..4).prop_map(Step::Route),
        3 => (0u8..4).prop_map(Step::RouteRun),
        1 => Just(Step::Gap),
        1 => (0u8..4).prop_map(Step::Delete),
        1 => (0usize..4).prop_map(Step::Stop),
        1 => (client.clone(), decided).prop_map(|(at, ending)| Step::Decide(at, ending)),
        3 => client.clone().prop_map(Step::Hear),
        1 => (0u8..4).prop_map(Step::Recreate),
        2 => (client.clone(), channel.clone(), of_channel)
            .prop_map(|(at, channel, ending)| Step::DecideChannel(at, channel, ending)),
        2 => (client.clone(), channel.clone()).prop_map(|(at, channel)| Step::Answer(at, channel)),
        2 => (client.clone(), channel.clone()).prop_map(|(at, channel)| Step::Deliver(at, channel)),
        3 => (client.clone(), channel).prop_map(|(at, channel)| Step::Ack(at, channel)),
        2 => client.clone().prop_map(Step::Ping),
        8 => (client.clone(), 1usize..40).prop_map(|(at, bytes)| Step::Take(at, bytes)),
        8 => (client.clone(), 1usize..40).prop_map(|(at, bytes)| Step::Write(at, bytes)),
        2 => (client.clone(), prop::sample::select(found)).prop_map(|(at, e)| Step::Find(at, e)),
        3 => client.clone().prop_map(Step::Look),
        1 => client.clone().prop_map(Step::Revoke),
        1 => Just(Step::Expire),
        2 => client.prop_map(Step::Refresh),
    ]
}

/// Whether a step can be taken in a world: there is what it is about, and room for what it opens.
fn is_possible(step: Step, world: &World) -> bool {
    let channels = |at: usize| world.clients.get(at).map(|client| client.channels.len());
    match step {
        Step::Open(..) | Step::OpenMany(..) => world.clients.len() < CLIENTS,
        Step::OpenChannel(at, ..) => {
            let many = |at: usize| world.clients[at].closes == Closes::Alone;
            channels(at).is_some_and(|channels| many(at) && channels < CHANNELS)
        }
        Step::DecideChannel(at, channel, _)
        | Step::Answer(at, channel)
        | Step::Deliver(at, channel)
        | Step::Ack(at, channel) => channels(at).is_some_and(|channels| channel < channels),
        Step::Decide(at, _)
        | Step::Hear(at)
        | Step::Ping(at)
        | Step::Take(at, _)
        | Step::Write(at, _)
        | Step::Find(at, _)
        | Step::Look(at)
        | Step::Revoke(at)
        | Step::Refresh(at) => at < world.clients.len(),
        Step::Pass
        | Step::Route(_)
        | Step::RouteRun(_)
        | Step::Gap
        | Step::Delete(_)
        | Step::Recreate(_)
        | Step::Stop(_)
        | Step::Expire => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn last_words_are_true_whatever_races(
        steps in prop::collection::vec(step(), 0..300),
        credentials in any::<bool>(),
    ) {
        let bounds = Bounds { frames: 6, bytes: 60 };
        let mut world = if credentials {
            World::with_credentials(bounds)
        } else {
            World::new(bounds)
        };
        for step in steps {
            if !is_possible(step, &world) {
                continue;
            }
            world.apply(step);
            check_now(&world);
        }
        world.settle();
        check_end(&world);
    }
}
