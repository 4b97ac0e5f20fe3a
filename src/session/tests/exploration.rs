//! Every order in which things can happen, in a small world.
//!
//! Breadth first: from each state that was reached, every step that can happen is taken, up to a
//! depth. States that differ in nothing that matters are looked at once. In each the invariants are
//! checked, and that from there all comes to a good end.

use std::collections::HashMap;

use super::{
    invariants::{check_end, check_now},
    world::{Kind, State, Step, World},
};
use crate::{
    protocol::Ending,
    router::{outbox::Bounds, registry::Closes},
};

/// `EXPLORE_DEPTH` overrides it; each step more takes about four times as long.
const DEPTH: usize = 6;
/// Every outbox is full with two frames.
const BOUNDS: Bounds = Bounds {
    frames: 2,
    bytes: 100,
};

/// The size of a small world.
#[derive(Clone, Copy)]
struct Size {
    clients: usize,
    /// The channels of each; one is a client that closes with it.
    channels: usize,
    /// True if clients hang on credentials, which end and are revoked.
    credentials: bool,
}

const TWO_CLIENTS: Size = Size {
    clients: 2,
    channels: 1,
    credentials: false,
};
const TWO_CHANNELS: Size = Size {
    clients: 1,
    channels: 2,
    credentials: false,
};
const ONE_CREDENTIAL: Size = Size {
    clients: 1,
    channels: 1,
    credentials: true,
};
const TWO_CHANNELS_ON_A_CREDENTIAL: Size = Size {
    clients: 1,
    channels: 2,
    credentials: true,
};

fn beginning(size: Size) -> World {
    if size.credentials {
        World::with_credentials(BOUNDS)
    } else {
        World::new(BOUNDS)
    }
}

fn replay(path: &[Step], size: Size) -> World {
    let mut world = beginning(size);
    for step in path {
        world.apply(*step);
    }
    world
}

/// Returns everything that can happen next.
fn possible(world: &World, size: Size) -> Vec<Step> {
    let mut steps = vec![
        Step::Route(0),
        Step::Gap,
        Step::Delete(0),
        Step::Recreate(0),
        Step::Stop(usize::MAX),
    ];
    if size.channels == 1 {
        steps.push(Step::RouteRun(0));
    }
    if world.registry.next_credential_end().is_some() {
        steps.push(Step::Expire);
    }
    let is_there = |subscription| world.position(subscription).is_some();
    let open = if size.channels > 1 {
        Step::OpenMany
    } else {
        Step::Open
    };
    if world.clients.len() < size.clients {
        if is_there(0) {
            for kind in [Kind::Live, Kind::EndsOnGap, Kind::Replays] {
                steps.push(open(0, kind));
            }
        }
        // Another subscription.
        if is_there(1) {
            steps.push(open(1, Kind::Live));
        }
    }
    let channels = || world.clients.iter().flat_map(|client| &client.channels);
    if channels().any(|channel| channel.subscription == 1) {
        steps.extend([Step::Route(1), Step::Delete(1)]);
    }
    for (at, client) in world.clients.iter().enumerate() {
        if client.found.is_some() {
            steps.push(Step::Hear(at));
        }
        if size.credentials && client.revoked_at.is_none() {
            steps.extend([Step::Revoke(at), Step::Refresh(at)]);
        }
        if client.state == State::Running {
            steps.extend([Step::Take(at, 1), Step::Find(at, Ending::HeartbeatMissed)]);
            if client.channels.iter().any(|channel| !channel.replaying) {
                steps.push(Step::Ping(at));
            }
            if client.closes == Closes::Alone && client.channels.len() < size.channels {
                let kinds = [Kind::Live, Kind::Replays];
                let kinds = kinds.into_iter().filter(|_| is_there(1));
                steps.extend(kinds.map(|kind| Step::OpenChannel(at, 1, kind)));
            }
        }
        for (number, channel) in client.channels.iter().enumerate() {
            if channel.answer.is_some() {
                steps.push(Step::Deliver(at, number));
            } else if channel.replaying {
                steps.push(Step::Answer(at, number));
            }
            if client.closes == Closes::Alone && channel.decided.is_none() {
                steps.push(Step::DecideChannel(at, number, Ending::Resync));
                steps.push(Step::DecideChannel(at, number, Ending::Overloaded));
            }
            if client.has_unacknowledged(number) {
                steps.push(Step::Ack(at, number));
            }
        }
        if client.state == State::Asking {
            steps.push(Step::Look(at));
        }
        if !client.outbound.is_empty() {
            steps.extend([Step::Write(at, 2), Step::Write(at, 1_000)]);
        }
    }
    steps
}

/// The states, each with those that can follow it; the first is the beginning.
#[derive(Default)]
struct Graph {
    by_digest: HashMap<u64, usize>,
    paths: Vec<Vec<Step>>,
    next: Vec<Vec<usize>>,
}

impl Graph {
    /// Returns the number of a state, and whether it is new.
    fn add(&mut self, world: &World, path: Vec<Step>) -> (usize, bool) {
        let fresh = self.paths.len();
        let number = *self.by_digest.entry(world.digest()).or_insert(fresh);
        if number == fresh {
            self.paths.push(path);
            self.next.push(Vec::new());
        }
        (number, number == fresh)
    }

    /// Returns the number of orders in which so many steps can happen.
    fn orders(&self, depth: usize) -> u128 {
        let mut reached = HashMap::from([(0, 1u128)]);
        for _ in 0..depth {
            let mut further = HashMap::new();
            for (state, orders) in reached {
                for next in &self.next[state] {
                    *further.entry(*next).or_default() += orders;
                }
            }
            reached = further;
        }
        reached.values().sum()
    }
}

/// Shows the steps that lead to a failure.
struct Shown<'p>(&'p [Step]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}", self.0);
        }
    }
}

/// Takes every order of events in a world of a size, and checks all of them.
fn explore(size: Size, at_least: u128) {
    let depth = std::env::var("EXPLORE_DEPTH").map_or(DEPTH, |text| text.parse().unwrap());
    let mut graph = Graph::default();
    graph.add(&beginning(size), Vec::new());
    let (mut at, mut steps) = (0, 0u64);
    while at < graph.paths.len() {
        let path = graph.paths[at].clone();
        let _shown = Shown(&path);
        let mut settled = replay(&path, size);
        let possible = possible(&settled, size);
        settled.settle();
        check_end(&settled);
        if path.len() < depth {
            for step in possible {
                let mut longer = path.clone();
                longer.push(step);
                let world = replay(&longer, size);
                let shown = Shown(&longer);
                check_now(&world);
                drop(shown);
                steps += 1;
                let (number, _) = graph.add(&world, longer);
                graph.next[at].push(number);
            }
        }
        at += 1;
    }
    let orders = graph.orders(depth);
    println!("{at} states, {steps} steps between them, {orders} orders of {depth} steps");
    assert!(orders > at_least, "the world is too small: {orders}");
}

#[test]
fn every_order_of_events_in_a_small_world_keeps_the_invariants() {
    explore(TWO_CLIENTS, 500_000);
}

#[test]
fn every_order_of_events_with_two_channels_on_a_session_keeps_the_invariants() {
    explore(TWO_CHANNELS, 500_000);
}

#[test]
fn every_order_of_events_with_credentials_keeps_the_invariants() {
    explore(ONE_CREDENTIAL, 500_000);
}

#[test]
fn every_order_of_events_with_two_channels_on_a_credential_keeps_the_invariants() {
    explore(TWO_CHANNELS_ON_A_CREDENTIAL, 500_000);
}
