//! The checker itself: a good record passes, and each way to break it is noticed.

mod keys;

use std::time::Duration;

use bson::Timestamp;
use tidegate::{position::Position, protocol::Dialect};

use crate::rig::{
    checker::{self, Rule},
    record::{
        Begin, Connection, Heard, Incident, Kinds, LAST, Notes, Over, Refusal, Version, Where,
    },
    truth::{Commit, What},
};

const A: usize = 1;
const B: usize = 2;
const FIRST: Version = version(1, 1 << A);
const SECOND: Version = version(2, 1 << A | 1 << B);

const fn version(number: u64, kinds: u8) -> Version {
    Version {
        number,
        kinds: Kinds(kinds | 1 << LAST),
        active: true,
    }
}

fn at(increment: u32) -> Position {
    Position::at(Timestamp { time: 1, increment })
}

fn commit(increment: u32, what: What) -> Commit {
    let at = at(increment);
    Commit { at, what }
}

fn event(number: u32, kind: usize) -> What {
    What::Event {
        number: u64::from(number),
        kind,
    }
}

fn stored(id: &str, version: Version) -> What {
    let id = id.to_owned();
    What::Stored { id, version }
}

/// Makes the commits. The number of an event is its position.
fn commits() -> Vec<Commit> {
    vec![
        commit(1, stored("s", FIRST)),
        commit(2, stored("t", FIRST)),
        commit(3, event(3, A)),
        commit(4, event(4, B)),
        commit(5, stored("s", SECOND)),
        commit(6, event(6, B)),
        commit(7, event(7, A)),
        commit(8, What::Deleted { id: "t".to_owned() }),
        commit(9, event(9, A)),
        commit(10, event(10, LAST)),
    ]
}

fn connected(increment: u32, version: Version) -> Heard {
    Heard::Connected {
        at: at(increment),
        version,
        recovered: true,
    }
}

fn heard(increment: u32) -> Heard {
    Heard::Event {
        number: u64::from(increment),
        at: at(increment),
    }
}

fn updated() -> Heard {
    Heard::Updated {
        version: SECOND,
        at: at(5),
    }
}

fn ended() -> Heard {
    Heard::Ended {
        reason: "deleted".to_owned(),
        at: at(8),
    }
}

fn connection(subscription: &str, heard: Vec<Heard>, over: Over) -> Connection {
    Connection {
        client: "client".to_owned(),
        node: 0,
        subscription: subscription.to_owned(),
        dialect: Dialect::Tidegate,
        key: None,
        begin: Begin::Live,
        asked_at: Duration::ZERO,
        heard: heard
            .into_iter()
            .map(|heard| (Duration::ZERO, heard))
            .collect(),
        over,
        over_at: Duration::from_secs(100),
    }
}

/// Makes a client that stays with `s` to the end.
fn staying() -> Connection {
    let told = [
        connected(2, FIRST),
        heard(3),
        updated(),
        heard(6),
        heard(7),
        heard(9),
        heard(10),
    ];
    connection("s", told.into(), Over::Open)
}

/// Makes a client that is with `t` when that is deleted.
fn deleted() -> Connection {
    let told = [connected(2, FIRST), heard(3), heard(7), ended()];
    connection("t", told.into(), Over::Closed(Some(4500)))
}

/// Asserts that the good connections break exactly these rules after `change`.
fn check(expected: &[Rule], change: impl FnOnce(&mut Notes)) {
    let mut notes = Notes {
        connections: vec![staying(), deleted()],
        ..Notes::default()
    };
    notes.acknowledged.events.extend([3, 10]);
    notes.acknowledged.deleted.insert("t".to_owned());
    change(&mut notes);
    let violations = checker::check(&commits(), &notes);
    let broken: Vec<_> = checker::tally(&violations).into_keys().collect();
    assert_eq!(broken, expected, "{violations:#?}");
}

fn of_staying(change: impl FnOnce(&mut Vec<(Duration, Heard)>)) -> impl FnOnce(&mut Notes) {
    |notes| change(&mut notes.connections[0].heard)
}

fn of_deleted(change: impl FnOnce(&mut Connection)) -> impl FnOnce(&mut Notes) {
    |notes| change(&mut notes.connections[1])
}

fn incident(place: Where) -> Incident {
    Incident {
        fault: "a fault".to_owned(),
        alone: true,
        place,
        began: Duration::from_secs(90),
        ended: Duration::from_secs(95),
        mark: 0,
        recovered: Duration::from_secs(99),
    }
}

#[test]
fn a_good_record_passes() {
    check(&[], |_| {});
}

#[test]
fn a_lost_event_is_noticed_wherever_it_was() {
    for lost in [1, 3, 4, 5, 6] {
        check(&[Rule::Lost], of_staying(|heard| drop(heard.remove(lost))));
    }
    check(&[Rule::Lost], of_deleted(|it| drop(it.heard.remove(2))));
    check(&[Rule::Lost], |notes| {
        notes.connections[0].dialect = Dialect::CloudEvents;
        notes.connections[0].heard = vec![(Duration::ZERO, heard(3)), (Duration::ZERO, heard(9))];
    });
}

#[test]
fn an_event_lost_between_two_connections_is_noticed() {
    let mut resumed = staying();
    resumed.begin = Begin::After(at(3));
    resumed.heard.drain(..4);
    resumed
        .heard
        .insert(0, (Duration::ZERO, connected(6, SECOND)));
    check(&[Rule::Lost], |notes| {
        notes.connections.push(resumed.clone());
    });
    resumed.heard.insert(1, (Duration::ZERO, heard(6)));
    resumed.heard.insert(1, (Duration::ZERO, heard(4)));
    check(&[], |notes| notes.connections.push(resumed));
}

#[test]
fn what_was_not_acknowledged_may_not_be_skipped() {
    let mut durable = staying();
    durable.heard.drain(..4);
    durable
        .heard
        .insert(0, (Duration::ZERO, connected(6, SECOND)));
    durable.begin = Begin::Acknowledged(Some(at(6)));
    check(&[], |notes| notes.connections.push(durable.clone()));
    durable.begin = Begin::Acknowledged(Some(at(4)));
    check(&[Rule::Lost], |notes| notes.connections.push(durable));
}

#[test]
fn a_replay_skips_no_pause_and_goes_on_to_the_attach() {
    let paused = Version {
        active: false,
        ..SECOND
    };
    let mut commits = commits();
    commits[4] = commit(5, stored("s", paused));
    let check = |expected: &[Rule], told: &[u32]| {
        let mut heard: Vec<_> = told.iter().map(|at| heard(*at)).collect();
        heard.insert(0, connected(2, paused));
        let mut connection = connection("s", heard, Over::Left);
        connection.begin = Begin::After(at(2));
        let notes = Notes {
            connections: vec![connection],
            ..Notes::default()
        };
        let violations = checker::check(&commits, &notes);
        let broken: Vec<_> = checker::tally(&violations).into_keys().collect();
        assert_eq!(broken, expected, "{told:?}: {violations:#?}");
    };
    for told in [&[3, 4][..], &[3, 4, 6], &[3, 4, 6, 7, 9]] {
        check(&[], told);
    }
    check(&[Rule::Lost], &[4]);
    check(&[Rule::Unwanted], &[3, 4, 7]);
}

#[test]
fn repeats_and_disorder_are_noticed() {
    check(
        &[Rule::Disorder],
        of_staying(|heard| heard.insert(2, heard[1].clone())),
    );
    check(
        &[Rule::Lost, Rule::Disorder],
        of_staying(|heard| heard.swap(3, 4)),
    );
}

#[test]
fn what_should_not_have_come_is_noticed() {
    check(
        &[Rule::Unwanted],
        of_staying(|told| told.insert(2, (Duration::ZERO, heard(4)))),
    );
    check(
        &[Rule::Unwanted],
        of_deleted(|it| {
            it.heard[1].1 = Heard::Event {
                number: 99,
                at: at(3),
            }
        }),
    );
    check(&[Rule::Unwanted], |notes| {
        notes.not_found.insert("s".to_owned());
    });
}

#[test]
fn changes_of_the_subscription_must_be_told_as_they_were() {
    let untold = |heard: &mut Vec<(Duration, Heard)>| drop(heard.remove(2));
    check(&[Rule::Unwanted, Rule::Untold], of_staying(untold));
    check(
        &[Rule::Untold],
        of_staying(|heard| {
            heard[2].1 = Heard::Updated {
                version: version(2, SECOND.kinds.0 | 1 << 3),
                at: at(5),
            }
        }),
    );
    check(
        &[Rule::Unwanted, Rule::Untold],
        of_staying(|heard| heard.swap(2, 3)),
    );
}

#[test]
fn a_node_behind_the_cursor_may_tell_of_a_change_where_the_client_stands() {
    let mut resumed = staying();
    resumed.begin = Begin::After(at(5));
    resumed.heard.drain(..2);
    resumed
        .heard
        .insert(0, (Duration::ZERO, connected(5, FIRST)));
    check(&[], |notes| notes.connections.push(resumed.clone()));
    let mut late = resumed.clone();
    late.heard.swap(1, 2);
    check(&[Rule::Unwanted, Rule::Untold], |notes| {
        notes.connections.push(late);
    });
    resumed.begin = Begin::After(at(3));
    resumed.heard[0].1 = connected(3, FIRST);
    resumed.heard[1].1 = Heard::Updated {
        version: SECOND,
        at: at(3),
    };
    check(&[Rule::Lost, Rule::Untold], |notes| {
        notes.connections.push(resumed);
    });
}

#[test]
fn a_missing_close_is_noticed() {
    check(
        &[Rule::Lost, Rule::MissingClose],
        of_deleted(|it| {
            it.heard.pop();
            it.over = Over::Open;
        }),
    );
}

#[test]
fn a_wrong_close_is_noticed() {
    check(
        &[Rule::WrongClose],
        of_deleted(|it| it.heard.push((Duration::ZERO, ended()))),
    );
    check(&[Rule::WrongClose], of_deleted(|it| drop(it.heard.pop())));
    check(
        &[Rule::CauselessEnd, Rule::WrongClose],
        of_deleted(|it| {
            it.over = Over::Closed(Some(1011));
        }),
    );
    check(&[Rule::WrongClose], |notes| {
        notes.connections[0].over = Over::Closed(Some(4500));
        notes.connections[0].heard.push((Duration::ZERO, ended()));
    });
}

#[test]
fn an_end_needs_a_cause_on_its_own_way() {
    let ends = |place: Where| {
        move |notes: &mut Notes| {
            notes.connections[0].over = Over::Lost("reset".to_owned());
            notes.incidents.push(incident(place));
        }
    };
    check(&[], ends(Where::Clients(0)));
    check(&[], ends(Where::Node(0)));
    for elsewhere in [
        Where::Clients(1),
        Where::Database,
        Where::Commands,
        Where::Data,
    ] {
        check(&[Rule::CauselessEnd], ends(elsewhere));
    }
}

#[test]
fn a_gap_needs_lost_history() {
    let gap = || Heard::Gap {
        after: Some(at(5)),
        upto: at(6),
    };
    let missed = |notes: &mut Notes| notes.connections[0].heard[3].1 = gap();
    check(&[Rule::CauselessGap], missed);
    check(&[], |notes| {
        missed(notes);
        notes.incidents.push(incident(Where::History));
    });
    // A request that was sent while history was lost may be answered only once the others are served again.
    let answered_late = |asked_at: u64| {
        move |notes: &mut Notes| {
            missed(notes);
            notes.incidents.push(incident(Where::History));
            let connection = &mut notes.connections[0];
            connection.asked_at = Duration::from_secs(asked_at);
            for (when, _) in &mut connection.heard {
                *when = Duration::from_secs(100);
            }
        }
    };
    check(&[], answered_late(92));
    check(&[Rule::CauselessGap], answered_late(100));
}

#[test]
fn a_load_between_two_commits_passes_neither() {
    let mut commits = commits();
    commits.remove(5);
    let gap = Heard::Gap {
        after: Some(at(3)),
        upto: at(6),
    };
    let updated = Heard::Updated {
        version: SECOND,
        at: at(6),
    };
    let told = [connected(2, FIRST), heard(3), gap, updated];
    let told: Vec<_> = told.into_iter().chain([7, 9, 10].map(heard)).collect();
    let broken_without = |left_out: Option<usize>| {
        let mut told = told.clone();
        if let Some(left_out) = left_out {
            told.remove(left_out);
        }
        let notes = Notes {
            connections: vec![connection("s", told, Over::Open)],
            incidents: vec![incident(Where::History)],
            ..Notes::default()
        };
        let violations = checker::check(&commits, &notes);
        checker::tally(&violations).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(broken_without(None), []);
    assert_eq!(broken_without(Some(4)), [Rule::Lost]);
}

#[test]
fn writes_that_were_answered_must_be_there_once() {
    check(&[Rule::LostWrite], |notes| {
        notes.acknowledged.events.insert(5);
    });
    check(&[Rule::LostWrite], |notes| {
        notes.acknowledged.created.insert("u".to_owned());
    });
    check(&[Rule::LostWrite], |notes| {
        notes.acknowledged.deleted.insert("s".to_owned());
    });
    let mut twice = commits();
    twice.insert(3, commit(3, event(3, A)));
    let violations = checker::check(&twice, &Notes::default());
    assert_eq!(violations[0].rule, Rule::DoubleWrite, "{violations:?}");
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let refused = |status, retry_after| {
        move |notes: &mut Notes| {
            let refusal = Refusal {
                node: 0,
                call: "publish",
                status,
                retry_after,
                problem: String::new(),
            };
            notes.refusals.insert(refusal, 1);
        }
    };
    check(&[], refused(503, true));
    check(&[Rule::BadRefusal], refused(503, false));
    check(&[Rule::BadRefusal], refused(500, true));
}
