//! What is known of each node's sockets of a deleted subscription. Pure.
//!
//! A subscription's id may be used again, so there may be several deletes of it; a node may have lost its
//! history and only found out that the subscription is gone. What counts is the last delete that somebody saw. A
//! node is done with it when it has vouched for everything up to the *latest* point at which the delete can have been,
//! has written a receipt there, or has stopped in order.

use std::collections::BTreeMap;

use bson::DateTime;

use crate::{
    position::Position,
    receipts::Remembered,
    store::{Deletion, NodeSeen, Progress, ReceiptRead},
};

/// Everything that was gathered.
#[derive(Debug)]
pub(super) struct Evidence {
    /// What the answering node remembers.
    pub(super) remembered: Remembered,
    /// The answering node's id, and how far it is now.
    pub(super) own: (String, Progress),
    /// The nodes of the day.
    pub(super) nodes: Vec<NodeSeen>,
    /// The receipts of the day.
    pub(super) receipts: Vec<ReceiptRead>,
}

/// What is known of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It had sockets, and all are closed.
    Closed,
    /// It has none.
    None,
    /// It is not known that it has none.
    Pending,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Report {
    pub(super) node: String,
    pub(super) host: Option<String>,
    pub(super) address: Option<String>,
    pub(super) state: State,
    /// Connections that were told to end.
    pub(super) connections: i64,
    /// How many of them are closed.
    pub(super) closed: i64,
    /// Since when the state is known.
    pub(super) at: Option<DateTime>,
    /// When the node was last heard of.
    pub(super) seen_at: Option<DateTime>,
}

/// All nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    /// The delete.
    pub(super) deletion: Deletion,
    pub(super) nodes: Vec<Report>,
}

impl Verdict {
    /// Whether the subscription has no socket anywhere.
    pub(super) fn complete(&self) -> bool {
        !self.nodes.is_empty() && self.nodes.iter().all(|n| n.state != State::Pending)
    }
}

impl Evidence {
    /// `None` where no delete is known.
    pub(super) fn judge(&self) -> Option<Verdict> {
        let receipts = self.receipts.iter().map(|receipt| receipt.deletion);
        let all: Vec<Deletion> = receipts.chain(self.remembered.deletion).collect();
        let last_seen = all.iter().filter(|d| d.was_seen()).max_by_key(|d| d.at);
        let deletion = *last_seen.or_else(|| all.iter().min_by_key(|d| d.at))?;
        let mut latest = all.iter().map(|d| d.at).max()?;
        if self.remembered.deletion.is_none() {
            // There may have been another one that nobody remembers, but not after this.
            latest = latest.max(self.remembered.since?);
        }
        let receipts = self.receipts_from(deletion.at);
        let mut nodes: BTreeMap<&str, Option<&NodeSeen>> = self
            .nodes
            .iter()
            .map(|n| (n.id.as_str(), Some(n)))
            .collect();
        let others = receipts.keys().copied().chain([self.own.0.as_str()]);
        for id in others {
            nodes.entry(id).or_insert(None);
        }
        let report = |(id, seen): (&str, Option<&NodeSeen>)| {
            let of_it = receipts.get(id).map_or(&[][..], Vec::as_slice);
            self.report(id, seen, of_it, latest)
        };
        Some(Verdict {
            deletion,
            nodes: nodes.into_iter().map(report).collect(),
        })
    }

    /// The receipts of the delete at `from`, by node: later ones are of nodes that found out later.
    fn receipts_from(&self, from: Position) -> BTreeMap<&str, Vec<&ReceiptRead>> {
        let mut by_node: BTreeMap<&str, Vec<&ReceiptRead>> = BTreeMap::new();
        for receipt in self.receipts.iter().filter(|r| r.deletion.at >= from) {
            by_node.entry(&receipt.node).or_default().push(receipt);
        }
        by_node
    }

    fn report(
        &self,
        id: &str,
        seen: Option<&NodeSeen>,
        receipts: &[&ReceiptRead],
        latest: Position,
    ) -> Report {
        let connections: i64 = receipts.iter().map(|r| r.connections).sum();
        let closed: i64 = receipts.iter().map(|r| r.closed).sum();
        let stopped_at = seen.and_then(|seen| seen.stopped_at);
        let own = id == self.own.0;
        let vouches = if own {
            self.own.1.covers(latest)
        } else {
            seen.is_some_and(|seen| seen.progress.covers(latest))
        };
        let wrote = receipts.iter().any(|r| r.deletion.at >= latest);
        let state = match (stopped_at.is_some(), vouches || wrote) {
            (false, false) => State::Pending,
            (false, true) if closed < connections => State::Pending,
            _ if closed > 0 => State::Closed,
            _ => State::None,
        };
        let heard = seen.map(|seen| if own { seen.read_at } else { seen.seen_at });
        Report {
            node: id.to_owned(),
            host: seen.map(|seen| seen.host.clone()),
            address: seen.map(|seen| seen.address.clone()),
            state,
            connections,
            closed,
            at: match state {
                State::Closed => receipts.iter().map(|r| r.closed_at).max(),
                State::None => stopped_at.or(heard),
                State::Pending => None,
            },
            seen_at: heard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Ending;
    use bson::Timestamp;

    fn at(time: u32) -> Position {
        Position::at(Timestamp { time, increment: 0 })
    }

    fn deletion(time: u32, seen: bool) -> Deletion {
        Deletion {
            at: at(time),
            wall_time: seen.then(|| DateTime::from_millis(i64::from(time))),
            ending: Some(Ending::Deleted),
        }
    }

    fn receipt(node: &str, deletion: Deletion, connections: i64, closed: i64) -> ReceiptRead {
        ReceiptRead {
            node: node.to_owned(),
            deletion,
            connections,
            closed,
            closed_at: DateTime::from_millis(1_000),
        }
    }

    fn node(id: &str, applied: u32) -> NodeSeen {
        NodeSeen {
            id: id.to_owned(),
            host: String::new(),
            address: String::new(),
            version: String::new(),
            connections: 0,
            progress: Progress {
                applied: Some(at(applied)),
                ..Progress::default()
            },
            interval_ms: 1,
            started_at: DateTime::from_millis(0),
            seen_at: DateTime::from_millis(2_000),
            stopped_at: None,
            alive: true,
            read_at: DateTime::from_millis(3_000),
        }
    }

    /// What a node that remembers this, and is everywhere ahead, says of the others.
    fn evidence(
        remembered: Option<Deletion>,
        since: u32,
        nodes: Vec<NodeSeen>,
        receipts: Vec<ReceiptRead>,
    ) -> Evidence {
        let own = node("own", 1_000);
        Evidence {
            remembered: Remembered {
                deletion: remembered,
                since: Some(at(since)),
            },
            own: (own.id, own.progress),
            nodes,
            receipts,
        }
    }

    fn states(evidence: &Evidence) -> Vec<(String, State, i64)> {
        let verdict = evidence.judge().unwrap();
        let nodes = verdict.nodes.into_iter();
        let others = nodes.filter(|report| report.node != "own");
        others.map(|r| (r.node, r.state, r.closed)).collect()
    }

    fn row(node: &str, state: State, closed: i64) -> (String, State, i64) {
        (node.to_owned(), state, closed)
    }

    #[test]
    fn a_node_is_closed_none_or_pending() {
        let seen = deletion(50, true);
        let mut stopped = node("d", 20);
        stopped.stopped_at = Some(DateTime::from_millis(9));
        let nodes = vec![node("a", 60), node("b", 60), node("c", 49), stopped];
        let evidence = evidence(Some(seen), 10, nodes, vec![receipt("a", seen, 3, 3)]);
        assert_eq!(
            states(&evidence),
            [
                row("a", State::Closed, 3),
                row("b", State::None, 0),
                row("c", State::Pending, 0),
                row("d", State::None, 0),
            ]
        );
        assert!(!evidence.judge().unwrap().complete());
    }

    #[test]
    fn a_socket_that_is_not_gone_leaves_its_node_pending() {
        let seen = deletion(50, true);
        let evidence = evidence(
            Some(seen),
            10,
            vec![node("a", 60)],
            vec![receipt("a", seen, 3, 2)],
        );
        assert_eq!(states(&evidence), [row("a", State::Pending, 2)]);
    }

    #[test]
    fn a_receipt_that_is_owed_or_given_up_is_not_none() {
        let seen = deletion(50, true);
        for (unsettled, lost, expected) in [
            (Some(50), None, State::Pending),
            (Some(51), None, State::None),
            (None, Some(50), State::Pending),
            (None, Some(49), State::None),
        ] {
            let mut one = node("a", 60);
            one.progress.unsettled = unsettled.map(at);
            one.progress.lost = lost.map(at);
            let evidence = evidence(Some(seen), 10, vec![one], vec![]);
            assert_eq!(states(&evidence), [row("a", expected, 0)]);
        }
    }

    #[test]
    fn an_earlier_life_of_the_same_id_proves_nothing() {
        let (first, second) = (deletion(30, true), deletion(50, true));
        let receipts = vec![receipt("a", first, 2, 2)];
        let evidence = evidence(Some(second), 10, vec![node("a", 40)], receipts);
        assert_eq!(states(&evidence), [row("a", State::Pending, 0)]);
    }

    #[test]
    fn what_nobody_remembers_may_have_been_until_the_memory_begins() {
        let first = deletion(30, true);
        let receipts = vec![receipt("a", first, 2, 2), receipt("b", first, 1, 1)];
        let nodes = vec![node("a", 40), node("b", 51)];
        let evidence = evidence(None, 50, nodes, receipts);
        assert_eq!(
            states(&evidence),
            [row("a", State::Pending, 2), row("b", State::Closed, 1)]
        );
    }

    #[test]
    fn a_node_that_found_out_later_counts_for_the_same_delete() {
        let (seen, found) = (deletion(30, true), deletion(50, false));
        let receipts = vec![receipt("a", seen, 2, 2), receipt("b", found, 1, 1)];
        let nodes = vec![node("a", 60), node("b", 60)];
        let evidence = evidence(Some(seen), 10, nodes, receipts);
        let verdict = evidence.judge().unwrap();
        assert_eq!(verdict.deletion, seen);
        assert!(verdict.complete());
        assert_eq!(
            states(&evidence),
            [row("a", State::Closed, 2), row("b", State::Closed, 1)]
        );
    }

    #[test]
    fn without_any_delete_there_is_no_verdict() {
        assert_eq!(
            evidence(None, 10, vec![node("a", 60)], vec![]).judge(),
            None
        );
    }
}
