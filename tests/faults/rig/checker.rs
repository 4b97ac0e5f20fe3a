//! Checks the records against the commits, by the invariants of the design. Pure.
//!
//! Each connection must have been told exactly the commits since its begin that its subscription matches, by the
//! versions that it was told of: in commit order, none left out, none twice, to its end. The versions that it was told
//! of must be those that were stored. Ends need a cause.

mod walk;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use tidegate::{position::Position, protocol::Ending};

use super::{
    record::{Connection, Heard, Incident, LAST, Notes, Over, Version, Where},
    truth::{Commit, What},
};
use walk::Walk;

/// The time after a fault during which a connection may still end by it. A heartbeat or a client's own patience has to
/// run out first.
pub(crate) const AFTERMATH: Duration = Duration::from_mins(1);

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    /// The client, the place and the particulars.
    pub(crate) detail: String,
}

/// The promises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rule {
    /// An event that should have come did not.
    Lost,
    /// An event came twice on one connection, or events came out of order.
    Disorder,
    /// Something came that should not have, or that was never committed.
    Unwanted,
    /// A change of the subscription was not told, or not as it was stored.
    Untold,
    /// A gap without a cause.
    CauselessGap,
    /// A connection ended without a cause.
    CauselessEnd,
    /// Something came that was committed after the key of the connection was revoked.
    Forbidden,
    /// A connection outlived its subscription, or its key.
    MissingClose,
    /// A connection was told one end and given another, or ended more than once.
    WrongClose,
    /// A message cannot be understood.
    Unreadable,
    /// A write that was acknowledged is not in the database.
    LostWrite,
    /// A write took effect twice.
    DoubleWrite,
    /// A refusal does not say when to come back, or blames the service itself.
    BadRefusal,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

/// The commits, with indexes for looking things up.
pub(crate) struct Truth<'a> {
    pub(crate) commits: &'a [Commit],
    lives: HashMap<&'a str, Life>,
    /// The end of each key; `None`: it still stands.
    keys: HashMap<&'a str, Option<Position>>,
}

/// The history of a subscription.
#[derive(Default)]
struct Life {
    begin: Option<Position>,
    end: Option<Position>,
    versions: Vec<(Position, Version)>,
}

impl<'a> Truth<'a> {
    fn new(commits: &'a [Commit], connections: &'a [Connection]) -> Self {
        let mut lives: HashMap<&str, Life> = HashMap::new();
        let mut keys: HashMap<&str, Option<Position>> = HashMap::new();
        for Commit { at, what } in commits {
            match what {
                What::Stored { id, version } => {
                    let life = lives.entry(id).or_default();
                    life.begin.get_or_insert(*at);
                    life.versions.push((*at, *version));
                }
                What::Deleted { id } => {
                    if let Some(life) = lives.get_mut(id.as_str()) {
                        life.end.get_or_insert(*at);
                    }
                }
                What::AllDeleted => {
                    for life in lives.values_mut() {
                        life.end.get_or_insert(*at);
                    }
                }
                What::KeyStored { id } => _ = keys.entry(id).or_default(),
                What::KeyDeleted { id } => {
                    if let Some(end) = keys.get_mut(id.as_str()) {
                        end.get_or_insert(*at);
                    }
                }
                What::AllKeysDeleted => {
                    for end in keys.values_mut() {
                        end.get_or_insert(*at);
                    }
                }
                What::Event { .. } | What::EventsDropped => {}
            }
        }
        // What a client brings is no commit, and no commit ends it.
        for Connection { subscription, .. } in connections {
            if let Some(version) = Version::of_own_name(subscription) {
                let life = Life {
                    begin: Some(Position::START),
                    end: None,
                    versions: vec![(Position::START, version)],
                };
                lives.insert(subscription, life);
            }
        }
        Self {
            commits,
            lives,
            keys,
        }
    }

    /// Returns the end of a connection's key, if it has one and that is gone.
    fn end_of_key(&self, connection: &Connection) -> Option<Position> {
        *self.keys.get(connection.key.as_deref()?)?
    }

    fn begin_of(&self, subscription: &str) -> Option<Position> {
        self.lives.get(subscription)?.begin
    }

    fn is_gone(&self, subscription: &str) -> bool {
        self.lives
            .get(subscription)
            .is_some_and(|life| life.end.is_some())
    }

    fn versions_of(&self, subscription: &str) -> &[(Position, Version)] {
        self.lives
            .get(subscription)
            .map_or(&[], |life| &life.versions)
    }
}

/// Returns everything that is wrong.
pub(crate) fn check(commits: &[Commit], notes: &Notes) -> Vec<Violation> {
    let truth = Truth::new(commits, &notes.connections);
    let lost_before = |connection: &Connection| {
        let lost = |i: &Incident| {
            i.place == Where::History
                && i.began <= connection.over_at
                && connection.asked_at <= i.recovered
        };
        notes.incidents.iter().any(lost)
    };
    let mut found = Vec::new();
    for connection in &notes.connections {
        let history_lost = lost_before(connection);
        found.extend(Walk::new(&truth, connection, history_lost).violations());
        found.extend(check_key(&truth, connection));
        found.extend(check_end(
            &truth,
            connection,
            &notes.incidents,
            history_lost,
        ));
    }
    for id in &notes.not_found {
        if truth.begin_of(id).is_some() && !truth.is_gone(id) {
            let detail = format!("{id} is there, and was answered to be not found");
            found.push(Violation {
                rule: Rule::Unwanted,
                detail,
            });
        }
    }
    found.extend(check_invalid_keys(&truth, notes));
    found.extend(check_writes(&truth, notes));
    found.extend(check_refusals(notes));
    found
}

fn violation(rule: Rule, connection: &Connection, detail: impl fmt::Display) -> Violation {
    let Connection {
        client,
        node,
        subscription,
        dialect,
        ..
    } = connection;
    let name = dialect.name();
    let detail = format!("{client} ({name}) on node {node}, subscription {subscription}: {detail}");
    Violation { rule, detail }
}

/// Reports what came behind the revocation of a connection's key. The last words say how far it came.
fn check_key(truth: &Truth<'_>, connection: &Connection) -> Option<Violation> {
    let end = truth.end_of_key(connection)?;
    let (_, first) = connection.heard.iter().find(|(_, heard)| match heard {
        Heard::Connected { at, .. } | Heard::Event { at, .. } | Heard::Updated { at, .. } => {
            *at > end
        }
        Heard::Gap { upto, .. } => *upto > end,
        Heard::Ended { .. } | Heard::Everything { .. } | Heard::Odd(_) => false,
    })?;
    let key = connection.key.as_deref().unwrap_or_default();
    let detail = format!("{first} came, and its key {key} was revoked at {end:?}");
    Some(violation(Rule::Forbidden, connection, detail))
}

/// Reports keys that were refused while they stood: before anybody set about to take them away, or for good.
fn check_invalid_keys(truth: &Truth<'_>, notes: &Notes) -> Vec<Violation> {
    let dropped_before = |then| {
        let drops = |i: &Incident| i.place == Where::Keys && i.began <= then;
        notes.incidents.iter().any(drops)
    };
    let stood = |id: &str, then| {
        let stands = truth.keys.get(id).is_none_or(Option::is_none);
        let revoking = notes.revoking.get(id).is_some_and(|at| *at <= then);
        stands || !revoking && !dropped_before(then)
    };
    let refused = notes
        .invalid_keys
        .iter()
        .filter(|(id, then)| stood(id, **then));
    refused
        .map(|(id, then)| Violation {
            rule: Rule::Unwanted,
            detail: format!("the key {id} stood, and was answered to be invalid at {then:?}"),
        })
        .collect()
}

/// Reports a connection that ended without a cause.
fn check_end(
    truth: &Truth<'_>,
    connection: &Connection,
    incidents: &[Incident],
    history_lost: bool,
) -> Option<Violation> {
    let may_end = |incident: &&Incident| match incident.place {
        Where::Clients(node) | Where::Node(node) => {
            node == connection.node
                && incident.began <= connection.over_at
                && connection.over_at <= incident.ended + AFTERMATH
        }
        Where::Database | Where::Commands | Where::History | Where::Data | Where::Keys => false,
    };
    let excused = incidents.iter().any(|incident| may_end(&incident));
    let bad = |rule, detail: &str| Some(violation(rule, connection, detail));
    let gone = truth.is_gone(&connection.subscription);
    let revoked = truth.end_of_key(connection).is_some();
    match &connection.over {
        Over::Open if gone => bad(Rule::MissingClose, "open though the subscription is gone"),
        Over::Open if revoked => bad(Rule::MissingClose, "open though its key is revoked"),
        Over::Open | Over::Left | Over::Closed(None) => None,
        Over::Lost(_) | Over::Silence if excused => None,
        Over::Lost(reason) => bad(Rule::CauselessEnd, &format!("lost: {reason}")),
        Over::Silence => bad(Rule::CauselessEnd, "nothing was heard for too long"),
        Over::Closed(Some(code)) => match Ending::from_code(*code) {
            Some(Ending::Deleted) if gone => None,
            Some(Ending::Deleted) => bad(Rule::WrongClose, "deleted, but the subscription is not"),
            Some(Ending::Forbidden) if revoked => None,
            Some(Ending::Forbidden) => bad(Rule::WrongClose, "forbidden, but its key stands"),
            Some(Ending::Resync) if history_lost => None,
            Some(Ending::HeartbeatMissed | Ending::SlowConsumer | Ending::Shutdown) if excused => {
                None
            }
            _ => bad(Rule::CauselessEnd, &format!("closed with {code}")),
        },
    }
}

/// Reports acknowledged writes that are missing, or took effect twice.
fn check_writes(truth: &Truth<'_>, notes: &Notes) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut stored: BTreeMap<u64, usize> = BTreeMap::new();
    let mut drops = 0;
    for commit in truth.commits {
        if let What::EventsDropped = commit.what {
            drops += 1;
        }
        // Events that went away with their collection may be published again.
        if let What::Event { number, .. } = commit.what
            && stored.insert(number, drops) == Some(drops)
        {
            let detail = format!("event {number} was stored twice");
            found.push(Violation {
                rule: Rule::DoubleWrite,
                detail,
            });
        }
    }
    let mut lost = |what: &str, which: &dyn fmt::Display| {
        let detail = format!("{what} {which} was acknowledged and is not there");
        found.push(Violation {
            rule: Rule::LostWrite,
            detail,
        });
    };
    for number in &notes.acknowledged.events {
        if !stored.contains_key(number) {
            lost("event", number);
        }
    }
    for id in &notes.acknowledged.created {
        if truth.begin_of(id).is_none() {
            lost("subscription", id);
        }
    }
    for id in &notes.acknowledged.deleted {
        if !truth.is_gone(id) {
            lost("the delete of", id);
        }
    }
    for id in &notes.acknowledged.revoked {
        if truth.keys.get(id.as_str()).is_some_and(Option::is_none) {
            lost("the revocation of", id);
        }
    }
    found
}

/// Reports refusals that do not say what they must: 503 when to come back, and 500 only for injected errors that mean
/// nothing to the service.
fn check_refusals(notes: &Notes) -> Vec<Violation> {
    let injects = |i: &Incident| matches!(i.place, Where::Commands | Where::History);
    let injected = notes.incidents.iter().any(injects);
    let keys_lost = |i: &Incident| i.place == Where::Keys;
    let keys_lost = notes.incidents.iter().any(keys_lost);
    let is_bad = |status: u16, retry_after: bool| match status {
        // The operator's key is stored again a moment later.
        401 => !keys_lost,
        503 => !retry_after,
        500 | 207 => !injected,
        404 | 409 | 408 => false,
        _ => true,
    };
    let bad = notes
        .refusals
        .iter()
        .filter(|(r, _)| is_bad(r.status, r.retry_after));
    bad.map(|(refusal, times)| Violation {
        rule: Rule::BadRefusal,
        detail: format!("{times} times {refusal:?}"),
    })
    .collect()
}

/// Counts violations by their rule, for a table.
pub(crate) fn tally(violations: &[Violation]) -> BTreeMap<Rule, usize> {
    let mut tally = BTreeMap::new();
    for violation in violations {
        *tally.entry(violation.rule).or_default() += 1;
    }
    tally
}

/// Returns the numbers of the committed events, except the last.
pub(crate) fn events(commits: &[Commit]) -> BTreeSet<u64> {
    let event = |commit: &Commit| match commit.what {
        What::Event { number, kind } if kind != LAST => Some(number),
        _ => None,
    };
    commits.iter().filter_map(event).collect()
}
