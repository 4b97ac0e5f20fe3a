//! The judgement on each node's sockets of a deleted subscription. Pure.
//!
//! # The delete
//!
//! An id may be used again, so there may be several deletes. A node may have lost its history and only have found out
//! that the subscription is gone. The delete that counts is the last one that a node saw. Where it is not known when that
//! was, a node has to be done with everything up to the *latest* point at which it can have been: the last one that is
//! remembered or has a receipt, or, if the answering node remembers none, the begin of its memory.
//!
//! # The proofs
//!
//! A node is done with the delete if one of these holds, and no receipt of its own tells of a connection that is still
//! open (unless it has stopped):
//!
//! - **It vouches**, by the progress in its last heartbeat ([`DeleteProgress`]; for the answering node, by its progress
//!   now). Three things must be true. Its router has *applied* everything up to the latest point. The first delete without
//!   its receipt (*unsettled*) lies behind that point: a delete is unsettled from when it ended connections until its
//!   receipt is written. The last delete whose receipt was given up (*lost*) lies before the *earliest* point at which
//!   this one can have been, or it may be this one.
//!
//!   Two orders hold this up. A node reads its router's position first and asks for its unsettled deletes second, and
//!   these then include every delete up to that position. A receipt is written before the heartbeat that vouches for it,
//!   and heartbeats are read before receipts, so a receipt on its way is never taken for none.
//! - **It wrote a receipt** from that point or later: the connections that it told to end, and how many of them were
//!   *closed*, that is, whose last bytes the kernel had taken or whose socket was gone. If some were open, it writes the
//!   receipt again once they are closed.
//! - **It stopped in order**, which a node writes after its last socket is closed.
//!
//! `none` is thus a node that is done and has no receipt with a closed connection. A delete that ended no connection leaves
//! no other trace.
//!
//! A node that falls silent for good has died: a dead process holds no socket, and its clients notice by their heartbeats
//! within a known time. Until then, and for a node that is not done, the state is `pending`.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use bson::DateTime;

use crate::{
    position::Position,
    receipts::LastDelete,
    store::{ALIVE_INTERVALS, DeleteProgress, Deletion, NodeRecord, StoredReceipt},
};

/// Everything that the judgement rests on.
#[derive(Debug)]
pub(super) struct Evidence {
    /// The answering node's memory of the delete.
    pub(super) remembered: LastDelete,
    /// The answering node's id and its progress now.
    pub(super) own: (String, DeleteProgress),
    /// The nodes of the last day.
    pub(super) nodes: Vec<NodeRecord>,
    /// The receipts of the last day.
    pub(super) receipts: Vec<StoredReceipt>,
    /// The longest time in which a client notices that its node has died.
    pub(super) heartbeat: Duration,
}

/// The state of a node's sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The node had sockets, and all are closed.
    Closed,
    /// The node has no socket.
    None,
    /// The node was silent for so long that it must have died, and its clients have noticed.
    Gone,
    /// The node may still have a socket.
    Pending,
}

/// The report on one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Report {
    pub(super) node: String,
    pub(super) host: Option<String>,
    pub(super) address: Option<String>,
    pub(super) state: State,
    /// Connections that the node told to end.
    pub(super) connections: i64,
    /// The number of them that are closed.
    pub(super) closed: i64,
    /// The time since which the state is known.
    pub(super) at: Option<DateTime>,
    /// The time at which a silent node will count as gone.
    pub(super) until: Option<DateTime>,
    /// The time of the node's last heartbeat.
    pub(super) seen_at: Option<DateTime>,
}

/// The judgement on all nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    pub(super) deletion: Deletion,
    pub(super) nodes: Vec<Report>,
}

impl Verdict {
    /// Whether the subscription has no socket on any node.
    pub(super) fn complete(&self) -> bool {
        !self.nodes.is_empty() && self.nodes.iter().all(|n| n.state != State::Pending)
    }
}

impl Evidence {
    /// Returns the verdict; `None` if no delete is known.
    pub(super) fn judge(&self) -> Option<Verdict> {
        let receipts = self.receipts.iter().map(|receipt| receipt.deletion);
        let all: Vec<Deletion> = receipts.chain(self.remembered.deletion).collect();
        let last_seen = all.iter().filter(|d| d.was_seen()).max_by_key(|d| d.at);
        let deletion = *last_seen.or_else(|| all.iter().min_by_key(|d| d.at))?;
        let mut latest = all.iter().map(|d| d.at).max()?;
        if self.remembered.deletion.is_none() {
            // There may have been another delete that nobody remembers, but none after this point.
            latest = latest.max(self.remembered.since?);
        }
        let earliest = if deletion.was_seen() {
            deletion.at
        } else {
            Position::START
        };
        let receipts = self.receipts_from(deletion.at);
        let mut nodes: BTreeMap<&str, Option<&NodeRecord>> = self
            .nodes
            .iter()
            .map(|n| (n.id.as_str(), Some(n)))
            .collect();
        let others = receipts.keys().copied().chain([self.own.0.as_str()]);
        for id in others {
            nodes.entry(id).or_insert(None);
        }
        let report = |(id, record): (&str, Option<&NodeRecord>)| {
            let of_it = receipts.get(id).map_or(&[][..], Vec::as_slice);
            self.report(id, record, of_it, earliest..=latest)
        };
        Some(Verdict {
            deletion,
            nodes: nodes.into_iter().map(report).collect(),
        })
    }

    /// Returns the receipts of the delete at `from`, by node. Later ones are from nodes that found out later.
    fn receipts_from(&self, from: Position) -> BTreeMap<&str, Vec<&StoredReceipt>> {
        let mut by_node: BTreeMap<&str, Vec<&StoredReceipt>> = BTreeMap::new();
        for receipt in self.receipts.iter().filter(|r| r.deletion.at >= from) {
            by_node.entry(&receipt.node).or_default().push(receipt);
        }
        by_node
    }

    fn report(
        &self,
        id: &str,
        record: Option<&NodeRecord>,
        receipts: &[&StoredReceipt],
        points: RangeInclusive<Position>,
    ) -> Report {
        let (earliest, latest) = points.into_inner();
        let connections: i64 = receipts.iter().map(|r| r.connections).sum();
        let closed: i64 = receipts.iter().map(|r| r.closed).sum();
        let stopped_at = record.and_then(|record| record.stopped_at);
        let own = id == self.own.0;
        let vouches = if own {
            self.own.1.covers(earliest, latest)
        } else {
            record.is_some_and(|record| record.progress.covers(earliest, latest))
        };
        let wrote = receipts.iter().any(|r| r.deletion.at >= latest);
        let until = record.filter(|record| !own && !record.alive);
        let until = until.map(|record| self.gone_at(record));
        let gone = record.is_some_and(|record| until.is_some_and(|until| until <= record.read_at));
        let pending = if gone { State::Gone } else { State::Pending };
        let state = match (stopped_at.is_some(), vouches || wrote) {
            (false, false) => pending,
            (false, true) if closed < connections => pending,
            _ if closed > 0 => State::Closed,
            _ => State::None,
        };
        let heard = record.map(|record| if own { record.read_at } else { record.seen_at });
        Report {
            node: id.to_owned(),
            host: record.map(|record| record.host.clone()),
            address: record.map(|record| record.address.clone()),
            state,
            connections,
            closed,
            at: match state {
                State::Closed => receipts.iter().map(|r| r.closed_at).max(),
                State::None => stopped_at.or(heard),
                State::Gone => until,
                State::Pending => None,
            },
            until: until.filter(|_| state == State::Pending),
            seen_at: heard,
        }
    }
}

impl Evidence {
    /// Returns the time by which the clients of a silent node have noticed its death, counted from when its heartbeat was
    /// first missed.
    fn gone_at(&self, record: &NodeRecord) -> DateTime {
        let missed = record.interval_ms.saturating_mul(ALIVE_INTERVALS);
        let heartbeat = i64::try_from(self.heartbeat.as_millis()).unwrap_or(i64::MAX);
        let seen_at = record.seen_at.timestamp_millis();
        DateTime::from_millis(seen_at.saturating_add(missed).saturating_add(heartbeat))
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

    fn receipt(node: &str, deletion: Deletion, connections: i64, closed: i64) -> StoredReceipt {
        StoredReceipt {
            node: node.to_owned(),
            holder: None,
            deletion,
            connections,
            closed,
            closed_at: DateTime::from_millis(1_000),
        }
    }

    fn node(id: &str, applied: u32) -> NodeRecord {
        NodeRecord {
            id: id.to_owned(),
            host: String::new(),
            address: String::new(),
            version: String::new(),
            connections: 0,
            progress: DeleteProgress {
                applied: Some(at(applied)),
                ..DeleteProgress::default()
            },
            interval_ms: 1,
            started_at: DateTime::from_millis(0),
            seen_at: DateTime::from_millis(2_000),
            stopped_at: None,
            alive: true,
            read_at: DateTime::from_millis(3_000),
        }
    }

    /// Returns the evidence of a node that remembers this delete and is ahead of all others.
    fn evidence(
        remembered: Option<Deletion>,
        since: u32,
        nodes: Vec<NodeRecord>,
        receipts: Vec<StoredReceipt>,
    ) -> Evidence {
        let own = node("own", 1_000);
        Evidence {
            remembered: LastDelete {
                deletion: remembered,
                holder: None,
                since: Some(at(since)),
            },
            own: (own.id, own.progress),
            nodes,
            receipts,
            heartbeat: Duration::from_millis(500),
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
    fn a_node_that_is_silent_for_good_is_gone_and_until_then_it_is_said_when() {
        let seen = deletion(50, true);
        let receipts = vec![receipt("b", seen, 3, 2)];
        let silent = |id: &str, applied, read_at| NodeRecord {
            alive: false,
            read_at: DateTime::from_millis(read_at),
            ..node(id, applied)
        };
        // Seen at 2,000, missed 5 intervals later, and its clients notice 500 ms after that.
        for (read_at, state) in [(2_504, State::Pending), (2_505, State::Gone)] {
            let nodes = vec![silent("a", 49, read_at), silent("b", 60, read_at)];
            let evidence = evidence(Some(seen), 10, nodes, receipts.clone());
            assert_eq!(states(&evidence), [row("a", state, 0), row("b", state, 2)]);
            let verdict = evidence.judge().unwrap();
            assert_eq!(verdict.complete(), state == State::Gone);
            let known = Some(DateTime::from_millis(2_505));
            for report in verdict.nodes.iter().filter(|report| report.node != "own") {
                let (at, until) = (report.at, report.until);
                assert_eq!(at.or(until), known);
                assert_eq!(until.is_some(), state == State::Pending);
            }
        }
        let alive = evidence(Some(seen), 10, vec![node("a", 49)], vec![]);
        assert_eq!(states(&alive), [row("a", State::Pending, 0)]);
        assert!(
            alive
                .judge()
                .unwrap()
                .nodes
                .iter()
                .all(|report| report.until.is_none())
        );
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
    fn a_receipt_that_was_given_up_may_be_that_of_a_delete_before_the_memory_begins() {
        let first = deletion(30, true);
        for (lost, expected) in [
            (29, State::None),
            (30, State::Pending),
            (45, State::Pending),
        ] {
            let mut one = node("a", 60);
            one.progress.lost = Some(at(lost));
            let receipts = vec![receipt("b", first, 1, 1)];
            let evidence = evidence(None, 50, vec![one, node("b", 60)], receipts);
            assert_eq!(states(&evidence)[0], row("a", expected, 0), "{lost}");
        }
        let mut one = node("a", 60);
        one.progress.lost = Some(at(10));
        let found_out = evidence(Some(deletion(50, false)), 10, vec![one], vec![]);
        assert_eq!(states(&found_out), [row("a", State::Pending, 0)]);
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
