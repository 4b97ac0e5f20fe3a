//! A world for a test, sized so that the whole suite takes minutes.

use std::{path::PathBuf, time::Duration};

use tokio::sync::{Mutex, MutexGuard};

use crate::rig::{
    faults::Fault,
    life::{Evidence, Life, Population},
    node::{Node, Program},
    trial::trial,
    world::{Settings, World},
};

const SEED: u64 = 7;

/// One world at a time, because each has five processes of its own.
static TURN: Mutex<()> = Mutex::const_new(());

fn settings(nodes: usize) -> Settings {
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

/// Starts a world of this many nodes in which nothing happens. The caller has it to itself until it is dropped.
pub(crate) async fn empty_world(nodes: usize) -> (World, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    (World::start(settings(nodes)).await.unwrap(), turn)
}

/// Injects the trials one after another (the faults of one trial together), and checks all records against the commits.
pub(crate) async fn ride_out(trials: &[(&[Fault], u64)]) -> Evidence {
    let (mut world, turn) = empty_world(2).await;
    let life = Life::start(&world, &population(), SEED).await.unwrap();
    for (faults, hold_ms) in trials {
        let hold = Duration::from_millis(*hold_ms);
        trial(&mut world, &life, faults, hold).await.unwrap();
    }
    let evidence = life.settle(&world).await.unwrap();
    let logs: Vec<_> = world.nodes.iter().map(Node::log).collect();
    world.stop().await.unwrap();
    drop(turn);
    assert_honest(&evidence, &logs);
    evidence
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
