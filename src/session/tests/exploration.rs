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
use crate::{protocol::Ending, router::outbox::Bounds};

/// Deeper by `EXPLORE_DEPTH`; each step more takes about four times as long.
const DEPTH: usize = 6;
const CLIENTS: usize = 2;
/// Every outbox is full with two frames.
const BOUNDS: Bounds = Bounds {
    frames: 2,
    bytes: 100,
};

fn replay(path: &[Step]) -> World {
    let mut world = World::new(BOUNDS);
    for step in path {
        world.apply(*step);
    }
    world
}

/// Everything that can happen next.
fn possible(world: &World) -> Vec<Step> {
    let mut steps = vec![
        Step::Route(0),
        Step::RouteRun(0),
        Step::Gap,
        Step::Delete(0),
        Step::Recreate(0),
        Step::Stop(usize::MAX),
    ];
    let is_there = |subscription| world.position(subscription).is_some();
    if world.clients.len() < CLIENTS && is_there(0) {
        for kind in [Kind::Live, Kind::EndsOnGap, Kind::Replays] {
            steps.push(Step::Open(0, kind));
        }
    }
    // Another subscription.
    if world.clients.len() < CLIENTS && is_there(1) {
        steps.push(Step::Open(1, Kind::Live));
    }
    if world.clients.iter().any(|client| client.subscription == 1) {
        steps.extend([Step::Route(1), Step::Delete(1)]);
    }
    for (at, client) in world.clients.iter().enumerate() {
        if client.found.is_some() {
            steps.push(Step::Hear(at));
        }
        if client.state == State::Running {
            steps.extend([Step::Take(at, 1), Step::Find(at, Ending::HeartbeatMissed)]);
            if !client.replaying {
                steps.push(Step::Ping(at));
            }
        }
        if client.answer.is_some() {
            steps.push(Step::Deliver(at));
        } else if client.replaying {
            steps.push(Step::Answer(at));
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
    /// The number of a state, and whether it is new.
    fn add(&mut self, world: &World, path: Vec<Step>) -> (usize, bool) {
        let fresh = self.paths.len();
        let number = *self.by_digest.entry(world.digest()).or_insert(fresh);
        if number == fresh {
            self.paths.push(path);
            self.next.push(Vec::new());
        }
        (number, number == fresh)
    }

    /// In how many orders so many steps can happen.
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

#[test]
fn every_order_of_events_in_a_small_world_keeps_the_invariants() {
    let depth = std::env::var("EXPLORE_DEPTH").map_or(DEPTH, |text| text.parse().unwrap());
    let mut graph = Graph::default();
    graph.add(&World::new(BOUNDS), Vec::new());
    let (mut at, mut steps) = (0, 0u64);
    while at < graph.paths.len() {
        let path = graph.paths[at].clone();
        let mut settled = replay(&path);
        let possible = possible(&settled);
        settled.settle();
        check_end(&settled);
        if path.len() < depth {
            for step in possible {
                let mut longer = path.clone();
                longer.push(step);
                let world = replay(&longer);
                check_now(&world);
                steps += 1;
                let (number, _) = graph.add(&world, longer);
                graph.next[at].push(number);
            }
        }
        at += 1;
    }
    let orders = graph.orders(depth);
    println!("{at} states, {steps} steps between them, {orders} orders of {depth} steps");
    assert!(orders > 500_000, "the world is too small: {orders}");
}
