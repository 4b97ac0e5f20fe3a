//! Passing the commits, and what is known of each.

use tidegate::{position::Position, protocol::Dialect};

use super::Walk;
use crate::rig::{
    checker::Rule,
    record::{Begin, Version},
    truth::{Commit, What},
};

impl<'a> Walk<'a> {
    /// Goes to the commit at `at`, which the caller judges, or to the next one if there is none. Commits on the way
    /// were not told. `None` if it was passed already.
    pub(super) fn advance(&mut self, at: Position) -> Option<&'a Commit> {
        let commits = self.truth.commits;
        let target = commits.partition_point(|commit| commit.at < at);
        if target < self.next {
            return None;
        }
        self.pass_over(target);
        let found = commits.get(target)?;
        if found.at == at {
            self.next = target + 1;
        }
        Some(found)
    }

    /// Passes everything up to `at`, that included.
    pub(super) fn pass(&mut self, at: Position) {
        let target = self.truth.commits.partition_point(|commit| commit.at <= at);
        self.pass_over(target);
        self.next = self.next.max(target);
    }

    /// Passes the delete of the subscription, and everything that was due before it.
    pub(super) fn pass_to_delete(&mut self) {
        let ends = |commit: &Commit| match &commit.what {
            What::Deleted { id } => *id == self.connection.subscription,
            What::AllDeleted => true,
            _ => false,
        };
        let rest = &self.truth.commits[self.next.min(self.truth.commits.len())..];
        if let Some(length) = rest.iter().position(ends) {
            self.pass_over(self.next + length);
        }
    }

    /// Passes everything up to `at`, that included, of which nothing had to be told.
    pub(super) fn pass_unseen(&mut self, at: Position) {
        let target = self.truth.commits.partition_point(|commit| commit.at <= at);
        self.next = self.next.max(target);
    }

    /// Reports everything before `target` that should have been told.
    pub(super) fn pass_over(&mut self, target: usize) {
        let commits = self.truth.commits;
        for commit in &commits[self.next.min(target)..target] {
            if self.paused_after.is_some_and(|pause| commit.at > pause)
                && self.may_be_replayed(commit)
            {
                // It was not told, so the client came before it.
                self.paused_after = None;
            }
            if let Some(number) = self.wanted(commit)
                && !self.from_shelf.contains(&number)
            {
                self.bad(
                    Rule::Lost,
                    format!("event {number}, committed at {:?}", commit.at),
                );
            }
            let told = self.version.map(|version| version.number);
            match &commit.what {
                What::Stored { id, version }
                    if *id == self.connection.subscription && Some(version.number) > told =>
                {
                    let known = self.connection.dialect != Dialect::CloudEvents;
                    if known && !self.history_may_be_lost {
                        self.bad(Rule::Untold, format!("{version:?} was not told"));
                    }
                }
                _ => {}
            }
        }
        self.next = target;
    }

    /// Returns the event's number, if the connection should get it.
    pub(super) fn wanted(&self, commit: &Commit) -> Option<u64> {
        let What::Event { number, kind } = commit.what else {
            return None;
        };
        let version = self.version?;
        let before_pause = self.paused_after.is_some_and(|pause| commit.at < pause);
        (version.wants(kind) || before_pause && version.kinds.has(kind)).then_some(number)
    }

    /// Whether the event matches, and the replay may have passed it before the client came.
    pub(super) fn may_be_replayed(&self, commit: &Commit) -> bool {
        match (&commit.what, self.version) {
            (What::Event { kind, .. }, Some(version)) => {
                self.paused_after.is_some() && version.kinds.has(*kind)
            }
            _ => false,
        }
    }

    /// Whether the event came from the archive: at no place of the log, or from before the beginning, where a read of
    /// the archive starts.
    pub(super) fn is_from_shelf(&self, number: u64, at: Position) -> bool {
        let begin = match self.connection.begin {
            Begin::Live => None,
            Begin::After(begin) => Some(begin),
            Begin::Acknowledged(begin) => begin,
        };
        begin.is_some_and(|begin| at <= begin) || !self.is_committed_at(number, at)
    }

    pub(super) fn is_committed_at(&self, number: u64, at: Position) -> bool {
        let commits = self.truth.commits;
        let found = commits.binary_search_by_key(&at, |commit| commit.at);
        found.is_ok_and(|found| {
            matches!(commits[found].what, What::Event { number: committed, .. } if committed == number)
        })
    }

    pub(super) fn is_gone_at(&self, at: Position) -> bool {
        let commits = self.truth.commits;
        let found = commits.binary_search_by_key(&at, |commit| commit.at);
        found.is_ok_and(|found| match &commits[found].what {
            What::Deleted { id } => *id == self.connection.subscription,
            what => *what == What::AllDeleted,
        })
    }

    pub(super) fn is_stored(&self, version: Version) -> bool {
        self.stored_at(version).is_some()
    }

    pub(super) fn stored_at(&self, version: Version) -> Option<Position> {
        let versions = self.truth.versions_of(&self.connection.subscription);
        let stored = versions.iter().find(|(_, stored)| *stored == version);
        stored.map(|(at, _)| *at)
    }
}
