//! Whatever races on a session for many subscriptions: each handle is exactly a channel of its own.
//!
//! The router, the session and all between them are the real ones, but nothing runs by itself: a test decides, step by
//! step, who has its turn. [`client`] is the client at the other end. It judges every message as it comes.

mod client;
mod world;

use proptest::prelude::*;

use self::world::{Step, World, runtime};

/// `EXPLORE_MANY_DEPTH` overrides it; each step more takes about ten times as long.
const DEPTH: u32 = 3;

/// The handles of a client, and its subscriptions: the first two match the same events.
const HANDLES: u8 = 2;

/// Returns everything that can be done next, in a small world.
fn alphabet() -> Vec<Step> {
    let mut steps = vec![
        Step::Session,
        Step::Router,
        Step::Read,
        Step::Event(0),
        Step::Delete(0),
        Step::Rename(0),
    ];
    for handle in 0..HANDLES {
        steps.extend([
            Step::Subscribe(handle, 0, false),
            Step::Subscribe(handle, 0, true),
            Step::Unsubscribe(handle),
        ]);
    }
    steps
}

/// Shows the steps that lead to a failure.
struct Shown<'s>(&'s [Step]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}", self.0);
        }
    }
}

fn run(steps: &[Step]) {
    let _shown = Shown(steps);
    let mut world = World::new();
    for step in steps {
        world.apply(*step);
    }
    world.settle();
    world.check();
}

#[test]
fn every_order_of_events_on_a_session_for_many_keeps_the_invariants() {
    let depth = std::env::var("EXPLORE_MANY_DEPTH").map_or(DEPTH, |text| text.parse().unwrap());
    let _running = runtime().enter();
    let alphabet = alphabet();
    let size = alphabet.len();
    let orders = size.pow(depth);
    let mut steps = Vec::new();
    for order in 0..orders {
        steps.clear();
        let mut rest = order;
        for _ in 0..depth {
            steps.push(alphabet[rest % size]);
            rest /= size;
        }
        // It begins with something that is live and something that is asked for.
        let mut whole = vec![Step::Subscribe(0, 0, false), Step::Session, Step::Router];
        whole.extend(&steps);
        run(&whole);
    }
    println!("{orders} orders of {depth} steps");
}

fn step() -> impl Strategy<Value = Step> {
    let (handle, subscription) = (0u8..4, 0u8..3);
    prop_oneof![
        6 => Just(Step::Session),
        4 => Just(Step::Router),
        6 => Just(Step::Read),
        5 => subscription.clone().prop_map(Step::Event),
        2 => subscription.clone().prop_map(Step::Rename),
        1 => subscription.clone().prop_map(Step::Delete),
        1 => Just(Step::Gap),
        4 => (handle.clone(), subscription, any::<bool>())
            .prop_map(|(handle, of, past)| Step::Subscribe(handle, of, past)),
        3 => handle.prop_map(Step::Unsubscribe),
        1 => Just(Step::Ahead),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn each_handle_is_a_channel_of_its_own_whatever_races(steps in prop::collection::vec(step(), 0..80)) {
        let _running = runtime().enter();
        run(&steps);
    }
}
