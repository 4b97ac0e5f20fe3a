//! One connection's messages beside the commits, step by step.

mod passing;

use std::collections::BTreeSet;

use tidegate::{
    position::Position,
    protocol::{Dialect, Ending},
};

use super::{Rule, Truth, Violation, violation};
use crate::rig::{
    record::{Begin, Connection, Heard, Over, Version},
    truth::What,
};

/// The most violations that are reported of one connection. One fault breaks many rules.
const SHOWN: usize = 3;

pub(super) struct Walk<'a> {
    truth: &'a Truth<'a>,
    connection: &'a Connection,
    history_may_be_lost: bool,
    /// The index of the next commit that was not passed.
    next: usize,
    /// The position at which delivery begins, and the index of the first commit behind it.
    begun: Option<(Position, usize)>,
    /// The version in force, as far as the client was told. `None` if it is told nothing (`cloudevents.json`): then its
    /// subscription never changes.
    version: Option<Version>,
    /// The begin of the pause, if the subscription is paused when the client comes. A replay skips no span in which it
    /// was paused; it goes on to that moment, which is not told.
    paused_after: Option<Position>,
    /// Events that came from the archive instead of a lost history: at least once, and at positions of their own.
    from_shelf: BTreeSet<u64>,
    found: Vec<Violation>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        truth: &'a Truth<'a>,
        connection: &'a Connection,
        history_may_be_lost: bool,
    ) -> Self {
        Self {
            truth,
            connection,
            history_may_be_lost,
            next: 0,
            begun: None,
            version: None,
            paused_after: None,
            from_shelf: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    /// Goes through the whole connection. Returns the violations.
    pub(super) fn violations(mut self) -> Vec<Violation> {
        self.begin();
        let mut ended = false;
        let heard = &self.connection.heard;
        for (number, (_, heard)) in heard.iter().enumerate() {
            if ended {
                self.bad(Rule::WrongClose, format!("{heard:?} after the end"));
            }
            if let Heard::Updated { at, .. } = heard
                && self.is_before_gap(number, *at)
            {
                self.pass_unseen(*at);
            }
            self.step(heard);
            ended = matches!(heard, Heard::Ended { .. });
        }
        self.end(ended);
        let count = self.found.len();
        self.found.truncate(SHOWN);
        if let Some(first) = self.found.first_mut() {
            let heard = self
                .connection
                .heard
                .iter()
                .map(|(_, heard)| heard.to_string());
            let heard = heard.collect::<Vec<_>>().join(" ");
            let Connection { begin, over, .. } = self.connection;
            let detail = std::mem::take(&mut first.detail);
            first.detail =
                format!("{detail}; one of {count}, begun {begin:?}, heard {heard}, over {over:?}");
        }
        self.found
    }

    fn bad(&mut self, rule: Rule, detail: String) {
        self.found.push(violation(rule, self.connection, detail));
    }

    /// Finds the begin of delivery.
    fn begin(&mut self) {
        let commits = self.truth.commits;
        let subscription = self.connection.subscription.as_str();
        let first = self.connection.heard.first().map(|(_, heard)| heard);
        if let Some(Heard::Connected { version, .. }) = first {
            self.version = Some(*version);
            if !version.active && self.connection.begin != Begin::Live {
                self.paused_after = self.stored_at(*version);
            }
            if !self.is_stored(*version) {
                self.bad(
                    Rule::Untold,
                    format!("connected to {version:?}, which never was"),
                );
            }
        } else {
            self.version = self
                .truth
                .versions_of(subscription)
                .first()
                .map(|(_, version)| *version);
        }
        let at = match (self.connection.begin, first) {
            (Begin::After(at), _) => Some(at),
            (_, Some(Heard::Connected { at, .. })) => Some(*at),
            // Nothing says where delivery begins, so the first event decides.
            (_, Some(Heard::Event { at, .. })) => {
                self.next = commits.partition_point(|commit| commit.at < *at);
                return;
            }
            // Nothing says that delivery had begun before the very last event.
            (Begin::Live, None) => {
                self.next = commits.len().saturating_sub(1);
                return;
            }
            _ => None,
        };
        if let (Begin::Acknowledged(acknowledged), Some(at)) = (self.connection.begin, at) {
            self.check_acknowledged(acknowledged, at);
        }
        let at = at
            .max(self.truth.begin_of(subscription))
            .unwrap_or(Position::START);
        self.next = commits.partition_point(|commit| commit.at <= at);
        self.begun = Some((at, self.next));
    }

    /// Checks that a durable subscription goes on no later than its client has acknowledged.
    fn check_acknowledged(&mut self, acknowledged: Option<Position>, at: Position) {
        let begin = self.truth.begin_of(&self.connection.subscription);
        let Some(from) = acknowledged.or(begin) else {
            return;
        };
        let commits = self.truth.commits;
        let from = commits.partition_point(|commit| commit.at <= from);
        let to = commits.partition_point(|commit| commit.at <= at);
        let skipped: Vec<_> = (from..to)
            .filter_map(|at| self.wanted(&commits[at]))
            .collect();
        if !skipped.is_empty() {
            self.bad(
                Rule::Lost,
                format!("never acknowledged, and skipped: {skipped:?}"),
            );
        }
    }

    fn step(&mut self, heard: &Heard) {
        match heard {
            Heard::Connected { recovered, .. } => {
                if !recovered && !self.history_may_be_lost {
                    self.bad(Rule::CauselessGap, "not recovered".to_owned());
                }
            }
            Heard::Event { number, at } => self.event(*number, *at),
            Heard::Updated { version, at } => self.updated(*version, *at),
            Heard::Gap { after, upto } => {
                if !self.history_may_be_lost {
                    self.bad(Rule::CauselessGap, format!("from {after:?} to {upto:?}"));
                }
                self.pass_unseen(*upto);
            }
            Heard::Ended { reason, at } => self.ended(reason, *at),
            Heard::Everything { at } => self.pass(*at),
            Heard::Odd(text) => self.bad(Rule::Unreadable, text.clone()),
        }
    }

    fn event(&mut self, number: u64, at: Position) {
        if self.history_may_be_lost && self.is_from_shelf(number, at) {
            self.from_shelf.insert(number);
            return;
        }
        let Some(found) = self.advance(at) else {
            return self.bad(Rule::Disorder, format!("event {number} again, or too late"));
        };
        match &found.what {
            What::Event {
                number: committed, ..
            } if *committed != number => {
                self.bad(
                    Rule::Unwanted,
                    format!("event {number} in the place of {committed}"),
                );
            }
            What::Event { .. } if found.at == at => {
                if self.wanted(found).is_none() && !self.may_be_replayed(found) {
                    self.bad(Rule::Unwanted, format!("event {number} does not match"));
                }
            }
            _ => self.bad(
                Rule::Unwanted,
                format!("event {number} was never committed there"),
            ),
        }
    }

    fn updated(&mut self, version: Version, at: Position) {
        let told = self.version.replace(version);
        let expected = told.map(|told| told.number + 1);
        let consecutive = expected.is_none_or(|expected| expected == version.number);
        if consecutive && self.catches_up(version, at) {
            return;
        }
        // The version told before governs the commits that were passed on the way here.
        self.version = told;
        let at_its_place = match self.advance(at).map(|commit| &commit.what) {
            Some(What::Stored {
                id,
                version: stored,
            }) => *id == self.connection.subscription && *stored == version,
            _ => false,
        };
        self.version = Some(version);
        self.paused_after = None;
        let reloaded = self.history_may_be_lost && self.is_stored(version);
        if !(consecutive && at_its_place || reloaded) {
            self.bad(
                Rule::Untold,
                format!("{told:?}, then {version:?} at {at:?}"),
            );
        }
    }

    /// Whether a node that was behind the client's cursor tells of an earlier change. It does so at the client's
    /// position, before anything else.
    fn catches_up(&self, version: Version, at: Position) -> bool {
        let stored = self.stored_at(version);
        self.begun == Some((at, self.next)) && stored.is_some_and(|stored| stored <= at)
    }

    fn ended(&mut self, reason: &str, at: Position) {
        let code = match self.connection.over {
            Over::Closed(code) => code,
            // The close frame was lost with the connection.
            Over::Lost(_) | Over::Silence => None,
            Over::Open | Over::Left => {
                return self.bad(Rule::WrongClose, format!("told {reason}, and not closed"));
            }
        };
        let said = code.and_then(Ending::from_code).map(Ending::token);
        if said.is_some_and(|said| said != reason) {
            self.bad(
                Rule::WrongClose,
                format!("told {reason}, closed with {code:?}"),
            );
        }
        if reason == Ending::Deleted.token() {
            if self.history_may_be_lost && !self.is_gone_at(at) {
                // A load found the subscription gone. Everything before that is lost with it.
                return self.pass_unseen(at);
            }
            self.pass(at);
        } else if reason == Ending::Forbidden.token() && !self.history_may_be_lost {
            // What waited was dropped, and the cursor lies before it: whoever may comes back to it.
            self.pass(at);
        }
    }

    /// Whether a change and the gap behind it come from a load after lost history: both end at the same position.
    fn is_before_gap(&self, number: usize, at: Position) -> bool {
        let next = self.connection.heard.get(number + 1);
        self.history_may_be_lost
            && matches!(next, Some((_, Heard::Gap { upto, .. })) if *upto == at)
    }

    /// Checks what a connection was still owed after its last message.
    fn end(&mut self, ended: bool) {
        match self.connection.over {
            Over::Open => {
                if let Some(last) = self.truth.commits.last() {
                    self.pass(last.at);
                }
            }
            Over::Closed(Some(code)) if code == Ending::Deleted.code() => {
                // Where history was lost, a load may have found it gone, and nothing here says so.
                if self.connection.dialect == Dialect::CloudEvents {
                    if !self.history_may_be_lost {
                        self.pass_to_delete();
                    }
                } else if !ended {
                    self.bad(Rule::WrongClose, "closed without being told".to_owned());
                }
            }
            Over::Closed(Some(code))
                if code == Ending::Forbidden.code()
                    && !ended
                    && self.connection.dialect != Dialect::CloudEvents =>
            {
                self.bad(Rule::WrongClose, "closed without being told".to_owned());
            }
            Over::Closed(None) if !ended => {
                self.bad(
                    Rule::CauselessEnd,
                    "the answer ended without a word".to_owned(),
                );
            }
            _ => {}
        }
    }
}
