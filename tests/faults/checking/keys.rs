//! Each way to break the promises about a revoked key is noticed.

use std::time::Duration;

use super::{A, FIRST, at, commit, commits, connected, connection, event, heard, updated};
use crate::rig::{
    checker::{self, Rule},
    record::{Connection, Heard, Incident, Notes, Over, Where},
    truth::{Commit, What},
};

/// The key `k` is revoked between two events that match.
fn commits_of_a_key() -> Vec<Commit> {
    let mut commits = commits();
    let id = || "k".to_owned();
    commits[1] = commit(2, What::KeyStored { id: id() });
    commits[6] = commit(7, What::KeyDeleted { id: id() });
    commits[7] = commit(8, event(8, A));
    commits
}

fn forbidden(increment: u32) -> Heard {
    Heard::Ended {
        reason: "forbidden".to_owned(),
        at: at(increment),
    }
}

/// Makes a client whose key is revoked.
fn revoked(heard: Vec<Heard>) -> Connection {
    let key = Some("k".to_owned());
    let over = Over::Closed(Some(4511));
    Connection {
        key,
        ..connection("s", heard, over)
    }
}

fn keys_dropped(began: Duration) -> Incident {
    Incident {
        fault: "keys dropped".to_owned(),
        alone: true,
        place: Where::Keys,
        began,
        ended: began,
        mark: 0,
        recovered: began,
    }
}

/// Asserts that a client whose key is revoked, and who was told this, breaks exactly these rules after `change`.
fn check_revoked(expected: &[Rule], told: &[Heard], change: impl FnOnce(&mut Notes)) {
    let mut notes = Notes {
        connections: vec![revoked(told.to_vec())],
        ..Notes::default()
    };
    notes.acknowledged.revoked.insert("k".to_owned());
    let then = Duration::from_secs(2);
    notes.revoking.insert("k".to_owned(), then);
    notes.invalid_keys.insert("k".to_owned(), then);
    change(&mut notes);
    let violations = checker::check(&commits_of_a_key(), &notes);
    let broken: Vec<_> = checker::tally(&violations).into_keys().collect();
    assert_eq!(broken, expected, "{told:?}: {violations:#?}");
}

#[test]
fn a_connection_ends_with_its_key() {
    let whole = || vec![connected(2, FIRST), heard(3), updated(), heard(6)];
    let then = |mut told: Vec<Heard>, more: &[Heard]| {
        told.extend_from_slice(more);
        told
    };
    check_revoked(&[], &then(whole(), &[forbidden(6)]), |_| {});
    let left_out = || vec![connected(2, FIRST), heard(3), updated()];
    check_revoked(&[], &then(left_out(), &[forbidden(5)]), |_| {});
    check_revoked(&[Rule::Lost], &then(left_out(), &[forbidden(7)]), |_| {});
    let behind = || then(whole(), &[heard(8), forbidden(8)]);
    check_revoked(&[Rule::Forbidden], &behind(), |_| {});
    // Another key would not have kept it from coming.
    check_revoked(&[Rule::WrongClose], &behind(), |notes| {
        notes.connections[0].key = None;
    });
    check_revoked(&[Rule::WrongClose], &whole(), |_| {});
    check_revoked(&[Rule::Lost, Rule::MissingClose], &whole(), |notes| {
        notes.connections[0].over = Over::Open;
    });
    check_revoked(
        &[Rule::WrongClose],
        &then(whole(), &[forbidden(6), forbidden(6)]),
        |_| {},
    );
}

#[test]
fn a_key_is_valid_until_somebody_sets_about_to_take_it_away() {
    let told = || {
        vec![
            connected(2, FIRST),
            heard(3),
            updated(),
            heard(6),
            forbidden(6),
        ]
    };
    let early = |notes: &mut Notes| {
        let before = Duration::from_millis(1_999);
        notes.invalid_keys.insert("k".to_owned(), before);
    };
    check_revoked(&[Rule::Unwanted], &told(), early);
    check_revoked(&[Rule::Unwanted], &told(), |notes| {
        notes.revoking.clear();
    });
    let dropped = |began| {
        move |notes: &mut Notes| {
            early(notes);
            notes
                .incidents
                .push(keys_dropped(Duration::from_millis(began)));
        }
    };
    check_revoked(&[], &told(), dropped(1_999));
    check_revoked(&[Rule::Unwanted], &told(), dropped(2_000));
}

#[test]
fn a_key_that_stands_closes_nothing_and_is_valid() {
    let told = || vec![connected(2, FIRST), heard(3), forbidden(3)];
    let notes = || Notes {
        connections: vec![revoked(told())],
        ..Notes::default()
    };
    let broken = |change: &dyn Fn(&mut Notes)| {
        let mut notes = notes();
        change(&mut notes);
        let mut commits = commits_of_a_key();
        commits.remove(6);
        let violations = checker::check(&commits, &notes);
        checker::tally(&violations).into_keys().collect::<Vec<_>>()
    };
    let left = |notes: &mut Notes| notes.connections.clear();
    assert_eq!(broken(&|_| {}), [Rule::WrongClose]);
    assert_eq!(broken(&left), []);
    let invalid = |notes: &mut Notes| {
        left(notes);
        notes.revoking.insert("k".to_owned(), Duration::ZERO);
        notes.invalid_keys.insert("k".to_owned(), Duration::ZERO);
    };
    assert_eq!(broken(&invalid), [Rule::Unwanted]);
    let revoked = |notes: &mut Notes| {
        left(notes);
        notes.acknowledged.revoked.insert("k".to_owned());
    };
    assert_eq!(broken(&revoked), [Rule::LostWrite]);
}
