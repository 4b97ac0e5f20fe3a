//! The plan of a run, worked out from the arguments and checked before anything begins.

use std::time::Duration;

use serde_json::{Value, json};

use super::Args;
use crate::cli::failure::Failure;

/// Requests per second over which a given rate is spread.
const REQUESTS_PER_SECOND: u32 = 100;
/// Events per request where the rate is `max`.
const FULL_BATCH: u16 = 500;
/// The largest body of a request.
const BODY_BYTES: usize = 8 << 20;
/// The most that an event has beside `data`.
const EVENT_OVERHEAD_BYTES: usize = 256;
/// The size of `data` without its filling.
const LEAST_PAYLOAD_BYTES: u32 = 80;
/// The `type` of the events.
pub(super) const TYPE: &str = "tidegate.bench";

/// The rate of publishing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Rate {
    /// Events per second.
    PerSecond(u32),
    /// The next request as soon as one is answered.
    Max,
}

/// Reads `--rate`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    match text.parse() {
        _ if text == "max" => Ok(Rate::Max),
        Ok(number @ 1..=1_000_000) => Ok(Rate::PerSecond(number)),
        _ => Err("expected 1 to 1000000 events a second, or max".to_owned()),
    }
}

/// Reads `--match`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1, for example 0.1".to_owned()),
    }
}

/// The plan of one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The name of the run, which its events and subscriptions carry.
    pub(super) name: String,
    pub(super) connections: u32,
    pub(super) subscriptions: u32,
    /// The handles of each connection, on a socket for many.
    pub(super) handles: Option<u32>,
    /// The number of groups of subscriptions. An event matches one group, or none.
    pub(super) groups: u32,
    /// True if events match no group.
    match_none: bool,
    pub(super) rate: Rate,
    pub(super) batch: u32,
    pub(super) publishers: u16,
    pub(super) opening: u16,
    pub(super) payload: u32,
    pub(super) duration: Duration,
}

impl Plan {
    pub(super) fn new(args: &Args) -> Result<Self, Failure> {
        let batch = u32::from(
            args.batch.unwrap_or(match args.rate {
                Rate::PerSecond(rate) => u16::try_from(rate.div_ceil(REQUESTS_PER_SECOND))
                    .unwrap_or(FULL_BATCH)
                    .min(FULL_BATCH),
                Rate::Max => FULL_BATCH,
            }),
        );
        let body = batch as usize * (args.payload as usize + EVENT_OVERHEAD_BYTES);
        if args.payload < LEAST_PAYLOAD_BYTES || body > BODY_BYTES {
            return Err(Failure::Usage(format!(
                "--payload must be at least {LEAST_PAYLOAD_BYTES}, and {batch} events of it at most {BODY_BYTES} bytes"
            )));
        }
        Ok(Self {
            name: format!("bench-{}", uuid::Uuid::now_v7().simple()),
            connections: args.connections,
            subscriptions: args.subscriptions,
            handles: args.handles,
            groups: groups(args.subscriptions, args.share),
            match_none: args.share == 0.0,
            rate: args.rate,
            batch,
            publishers: args.publishers,
            opening: args.opening,
            payload: args.payload,
            duration: args.duration,
        })
    }

    fn source(&self) -> String {
        format!("/{}", self.name)
    }

    /// Builds the filter of a subscription, by its number.
    pub(super) fn filter(&self, subscription: u32) -> Value {
        let group = subscription % self.groups;
        json!({"type": TYPE, "source": self.source(), "data.group": group})
    }

    /// Returns the subscriptions of a connection, one for each handle. They go round: each connection has those behind
    /// the last one's.
    pub(super) fn subscriptions_of(&self, connection: u32) -> impl Iterator<Item = u32> + use<> {
        let handles = u64::from(self.handles.unwrap_or(1));
        let (first, all) = (
            u64::from(connection) * handles,
            u64::from(self.subscriptions),
        );
        // The remainder is less than a u32.
        (first..first + handles).filter_map(move |n| u32::try_from(n % all).ok())
    }

    /// Counts the connections of each group, those with a subscription in it. Subscription `n` is in group
    /// `n % groups`. An event comes once to a connection, however many of its handles it is for.
    pub(super) fn audience(&self) -> Vec<u64> {
        let mut audience = vec![0; self.groups as usize];
        let mut counted = vec![None; self.groups as usize];
        for connection in 0..self.connections {
            for subscription in self.subscriptions_of(connection) {
                let group = (subscription % self.groups) as usize;
                if counted[group].replace(connection) != Some(connection) {
                    audience[group] += 1;
                }
            }
        }
        audience
    }

    /// Returns the group that the `n`th event matches, if any.
    pub(super) fn group_of(&self, n: u64) -> Option<usize> {
        let groups = u64::from(self.groups);
        usize::try_from(n % groups)
            .ok()
            .filter(|_| !self.match_none)
    }

    /// Returns the share of the subscriptions that an event matches, given whole groups.
    pub(super) fn share(&self) -> f64 {
        if self.match_none {
            0.0
        } else {
            1.0 / f64::from(self.groups)
        }
    }

    /// Builds the `n`th event, with the time at which it is sent.
    pub(super) fn event(&self, n: u64, sent_micros: u64) -> Value {
        let group = self.group_of(n).unwrap_or(self.groups as usize);
        let mut data = json!({"group": group, "sent": sent_micros, "fill": ""});
        let filling = (self.payload as usize).saturating_sub(data.to_string().len());
        data["fill"] = "x".repeat(filling).into();
        json!({"type": TYPE, "source": self.source(), "id": n.to_string(), "data": data})
    }
}

/// Returns the number of groups that comes nearest to the wanted share.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the quotient is between 1 and the number of subscriptions"
)]
fn groups(subscriptions: u32, share: f64) -> u32 {
    let all = f64::from(subscriptions);
    (1.0 / share).round().clamp(1.0, all) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Plan {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Plan::new(&Line::parse_from(words).args).unwrap()
    }

    #[test]
    fn groups_make_the_share() {
        for (line, groups, share) in [
            ("--subscriptions 1000", 1, 1.0),
            ("--subscriptions 1000 --match 0.1", 10, 0.1),
            ("--subscriptions 1000 --match 0.0001", 1_000, 0.001),
            ("--subscriptions 3 --match 0.4", 3, 1.0 / 3.0),
            ("--match 0", 1, 0.0),
        ] {
            let plan = plan(line);
            assert_eq!((plan.groups, plan.share()), (groups, share), "{line}");
        }
    }

    #[test]
    fn every_connection_is_in_the_audience_of_its_group() {
        let plan = plan("--connections 25 --subscriptions 10 --match 0.25");
        let audience = plan.audience();
        assert_eq!(audience.iter().sum::<u64>(), 25);
        for (group, expected) in audience.into_iter().enumerate() {
            let mut count = 0;
            for connection in 0..plan.connections {
                let filter = plan.filter(connection % plan.subscriptions);
                count += u64::from(filter["data.group"] == group);
            }
            assert_eq!(count, expected, "group {group}");
        }
    }

    #[test]
    fn a_connection_of_many_handles_is_counted_once_a_group() {
        let plan = plan("--connections 3 --subscriptions 10 --handles 4 --match 0.2");
        let subscriptions = |connection| plan.subscriptions_of(connection).collect::<Vec<_>>();
        assert_eq!(subscriptions(0), [0, 1, 2, 3]);
        assert_eq!(subscriptions(2), [8, 9, 0, 1]);
        // Groups 0 to 3; 4, 0, 1, 2; 3, 4, 0, 1.
        assert_eq!(plan.audience(), [3, 3, 2, 2, 2]);
    }

    #[test]
    fn data_has_the_size_that_was_asked_for() {
        let plan = plan("--payload 200 --subscriptions 7 --match 0.1");
        for n in [0, 5, 123_456] {
            let event = plan.event(n, 1_700_000_000_000_000);
            assert_eq!(event["data"].to_string().len(), 200);
        }
    }
}
