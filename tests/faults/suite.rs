//! A world for a test, sized so that the whole suite takes minutes.

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{sleep, timeout},
};

use crate::rig::{
    faults::Fault,
    life::{Evidence, Life, Population},
    node::{Node, Program},
    record::{Begin, Connection, Notes, Over},
    trial::trial,
    world::{Settings, World},
};

const SEED: u64 = 7;

/// One world at a time, because each has five processes of its own.
static TURN: Mutex<()> = Mutex::const_new(());

fn settings(nodes: usize, guarded: bool) -> Settings {
    let settings = [
        ("TIDEGATE_SOCKET__PING_INTERVAL", "4s"),
        ("TIDEGATE_SOCKET__PONG_TIMEOUT", "4s"),
        ("TIDEGATE_LIMITS__ANSWER_TIMEOUT", "2s"),
        ("TIDEGATE_LOG", "info"),
    ];
    Settings {
        program: Program {
            path: binary(),
            settings: settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        },
        nodes,
        oplog_size_mb: 64,
        uri_options: "&heartbeatFrequencyMS=500".to_owned(),
        guarded,
    }
}

fn population() -> Population {
    Population {
        wanderers: 1,
        many: 1,
        durable: 2,
        listeners: true,
        writers: true,
        silence: Duration::from_secs(12),
        program: binary(),
    }
}

fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_tidegate").into()
}

/// Starts a world of this many nodes in which nothing happens. Its nodes ask for credentials. The caller has it to
/// itself until it is dropped.
pub(crate) async fn empty_world(nodes: usize) -> (World, MutexGuard<'static, ()>) {
    world(nodes, true).await
}

async fn world(nodes: usize, guarded: bool) -> (World, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    (World::start(settings(nodes, guarded)).await.unwrap(), turn)
}

/// Injects the trials one after another (the faults of one trial together), and checks all records against the commits.
/// The nodes ask for credentials, and keys of clients are revoked meanwhile.
pub(crate) async fn ride_out(trials: &[(&[Fault], u64)]) {
    live_through(trials, true).await;
}

/// Waits until a few keys were revoked, so that this means something, and a client came back to its cursor. Returns
/// whether that happened.
async fn keys_were_lost(world: &World) -> bool {
    let enough = || {
        let there = |notes: &mut Notes| {
            let ended = |one: &&Connection| one.over == Over::Closed(Some(4511));
            let lost = notes.connections.iter().filter(ended).count();
            notes.acknowledged.revoked.len() > 2 && lost > 2 && came_back(&notes.connections) > 0
        };
        world.notebook.note(there)
    };
    let waiting = async {
        while !enough() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_mins(1), waiting).await.is_ok()
}

/// Counts the clients that came back to their cursor with another key after theirs was revoked.
fn came_back(connections: &[Connection]) -> usize {
    let next = |number: usize, one: &Connection| {
        let later = &connections[number + 1..];
        later.iter().find(|other| other.client == one.client)
    };
    let ended = connections
        .iter()
        .enumerate()
        .filter(|(_, one)| one.over == Over::Closed(Some(4511)));
    let back = ended.filter_map(|(number, one)| Some((one, next(number, one)?)));
    back.filter(|(one, next)| matches!(next.begin, Begin::After(_)) && next.key != one.key)
        .count()
}

/// Rides trials out like [`ride_out`], with nodes that ask for no credentials.
pub(crate) async fn ride_out_open(trials: &[(&[Fault], u64)]) {
    live_through(trials, false).await;
}

async fn live_through(trials: &[(&[Fault], u64)], guarded: bool) {
    let (mut world, turn) = world(2, guarded).await;
    let life = Life::start(&world, &population(), SEED).await.unwrap();
    for (faults, hold_ms) in trials {
        let hold = Duration::from_millis(*hold_ms);
        trial(&mut world, &life, faults, hold).await.unwrap();
    }
    let enough = !guarded || keys_were_lost(&world).await;
    let evidence = life.settle(&world).await.unwrap();
    let logs: Vec<_> = world.nodes.iter().map(Node::log).collect();
    world.stop().await.unwrap();
    drop(turn);
    assert_honest(&evidence, &logs);
    assert!(enough, "clients come back with other keys");
}

fn assert_honest(evidence: &Evidence, logs: &[String]) {
    let shown: Vec<_> = evidence
        .violations
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    assert!(
        shown.is_empty(),
        "{} violations:\n{}\nthe nodes' logs:\n{}",
        evidence.violations.len(),
        shown.join("\n"),
        logs.join("\n----\n")
    );
    // There was enough to do, so that this means something.
    assert!(
        evidence.commits.len() > 50,
        "{} commits",
        evidence.commits.len()
    );
    assert!(evidence.notes.connections.len() > 10);
}
