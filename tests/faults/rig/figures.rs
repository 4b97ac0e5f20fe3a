//! The cost of each kind of fault: how often it was injected, the longest pause, and how soon service resumed.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::record::{Connection, Heard, Incident, Notes};

/// The row of faults that were injected together with others.
const TOGETHER: &str = "two at once, each of them";

/// The cost of one kind of fault.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// The number of times it was injected.
    pub(crate) times: usize,
    /// The longest time without an event for any watcher, from its begin to the recovery.
    pub(crate) longest_pause: Duration,
    /// The longest time from its end to the first event published after it.
    pub(crate) went_on_after: Duration,
}

/// Costs by the fault's name.
pub(crate) fn costs(notes: &Notes) -> BTreeMap<String, Cost> {
    let arrivals = arrivals(notes);
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for incident in &notes.incidents {
        let name = if incident.alone {
            incident.fault.as_str()
        } else {
            TOGETHER
        };
        let cost = costs.entry(name.to_owned()).or_default();
        cost.times += 1;
        for arrivals in arrivals.values() {
            cost.longest_pause = cost.longest_pause.max(pause(arrivals, incident));
            cost.went_on_after = cost.went_on_after.max(went_on(arrivals, incident));
        }
    }
    costs
}

/// Writes a line for each fault, for people.
pub(crate) fn table(costs: &BTreeMap<String, Cost>) -> String {
    let head = "| fault | times | longest pause, s | went on after, s |\n|---|---|---|---|\n";
    let line = |text: String, (fault, cost): (&String, &Cost)| {
        let pause = cost.longest_pause.as_secs_f64();
        let after = cost.went_on_after.as_secs_f64();
        text + &format!("| {fault} | {} | {pause:.2} | {after:.2} |\n", cost.times)
    };
    costs.iter().fold(head.to_owned(), line)
}

/// Writes the same for programs.
pub(crate) fn json(costs: &BTreeMap<String, Cost>) -> Value {
    costs
        .iter()
        .map(|(fault, cost)| {
            json!({
                "fault": fault,
                "times": cost.times,
                "longestPauseSeconds": cost.longest_pause.as_secs_f64(),
                "wentOnAfterSeconds": cost.went_on_after.as_secs_f64(),
            })
        })
        .collect()
}

/// Collects the times at which each watcher got each event, over all its connections.
fn arrivals(notes: &Notes) -> BTreeMap<&str, Vec<(Duration, u64)>> {
    let mut arrivals: BTreeMap<&str, Vec<(Duration, u64)>> = BTreeMap::new();
    let watches = |connection: &&Connection| notes.ticks.contains_key(&connection.client);
    for connection in notes.connections.iter().filter(watches) {
        let events = connection
            .heard
            .iter()
            .filter_map(|(at, heard)| match heard {
                Heard::Event { number, .. } => Some((*at, *number)),
                _ => None,
            });
        arrivals
            .entry(&connection.client)
            .or_default()
            .extend(events);
    }
    for arrivals in arrivals.values_mut() {
        arrivals.sort_unstable();
    }
    arrivals
}

fn pause(arrivals: &[(Duration, u64)], incident: &Incident) -> Duration {
    let concerned = arrivals.windows(2).filter(|pair| {
        let (from, to) = (pair[0].0, pair[1].0);
        to > incident.began && from < incident.recovered
    });
    concerned
        .map(|pair| pair[1].0.saturating_sub(pair[0].0))
        .max()
        .unwrap_or_default()
}

fn went_on(arrivals: &[(Duration, u64)], incident: &Incident) -> Duration {
    let next = arrivals.iter().find(|(_, number)| *number > incident.mark);
    next.map_or(Duration::ZERO, |(at, _)| at.saturating_sub(incident.ended))
}
