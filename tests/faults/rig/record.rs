//! What everyone writes down of what they did and saw, for the checker.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tidegate::{
    position::{Cursor, Position},
    protocol::Dialect,
};

/// The kinds of events, as their `type`: a filter asks for some of them.
pub(crate) const KINDS: [&str; 6] = ["tick", "a", "b", "c", "d", "end"];
/// The kind of the events that come in steady succession, so that a pause can be seen.
pub(crate) const TICK: usize = 0;
/// The kind of the last event, which every filter wants.
pub(crate) const LAST: usize = 5;

/// A set of kinds, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kinds(pub(crate) u8);

impl Kinds {
    pub(crate) fn has(self, kind: usize) -> bool {
        self.0 & (1 << kind) != 0
    }

    /// The names, for a filter's `$in`.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let wanted = |&(kind, _): &(usize, _)| self.has(kind);
        KINDS
            .into_iter()
            .enumerate()
            .filter(wanted)
            .map(|(_, name)| name)
            .collect()
    }

    /// Reads what [`Kinds::names`] wrote.
    pub(crate) fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        names
            .map(|name| KINDS.iter().position(|kind| *kind == name))
            .try_fold(Self(0), |kinds, kind| Some(Self(kinds.0 | 1 << kind?)))
    }
}

/// One state of a subscription. Each change has a number of its own, kept in the document's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) kinds: Kinds,
    pub(crate) active: bool,
}

impl Version {
    /// Reads a subscription as the service tells it.
    pub(crate) fn told(subscription: &Value) -> Option<Self> {
        let kinds = subscription["filter"]["type"]["$in"].as_array()?;
        Some(Self {
            number: subscription["name"].as_str()?.parse().ok()?,
            kinds: Kinds::of_names(kinds.iter().filter_map(Value::as_str))?,
            active: subscription["status"] == "active",
        })
    }

    /// Whether an event of this kind is delivered.
    pub(crate) fn wants(self, kind: usize) -> bool {
        self.active && self.kinds.has(kind)
    }
}

/// Where a client asked a connection to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// Now.
    Live,
    /// After a cursor.
    After(Position),
    /// After what it acknowledged, which is this at most.
    Acknowledged(Option<Position>),
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Connected {
        at: Position,
        version: Version,
        recovered: bool,
    },
    Event {
        number: u64,
        at: Position,
    },
    Updated {
        version: Version,
        at: Position,
    },
    Gap {
        after: Option<Position>,
        upto: Position,
    },
    Ended {
        reason: String,
        at: Position,
    },
    /// Something that could not be read.
    Odd(String),
}

/// A word or two, so that a whole connection fits a line.
impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { at, version, .. } => {
                write!(f, "connected v{} {at:?}", version.number)
            }
            Self::Event { number, .. } => write!(f, "{number}"),
            Self::Updated { version, at } => write!(f, "updated v{} {at:?}", version.number),
            Self::Gap { after, upto } => write!(f, "gap {after:?} to {upto:?}"),
            Self::Ended { reason, .. } => write!(f, "ended {reason}"),
            Self::Odd(text) => write!(f, "odd {text}"),
        }
    }
}

/// How a connection was over, as its client saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Over {
    /// It was still open when everything had come to rest.
    Open,
    /// The service closed it, with a code; an answer of server-sent events just ends.
    Closed(Option<u16>),
    /// It broke.
    Lost(String),
    /// The client left, because it wanted to.
    Left,
    /// The client left, because it had heard nothing for too long.
    Silence,
}

/// One connection, from the answer to its end.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The client, which may have several connections, one after another.
    pub(crate) client: String,
    pub(crate) node: usize,
    pub(crate) subscription: String,
    pub(crate) dialect: Dialect,
    pub(crate) begin: Begin,
    /// When each message came, since the start of the world.
    pub(crate) heard: Vec<(Duration, Heard)>,
    pub(crate) over: Over,
    pub(crate) over_at: Duration,
}

/// An answer to a write over HTTP that was not a success.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Refusal {
    pub(crate) node: usize,
    pub(crate) call: &'static str,
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    pub(crate) problem: String,
}

/// Where a fault strikes: who may notice it by more than a pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Where {
    /// The database, or a node's way to it: no client may notice.
    Database,
    /// The way between the clients and a node.
    Clients(usize),
    /// A node's process ended.
    Node(usize),
    /// The database answers with errors.
    Commands,
    /// The database answers that it has no history any more.
    History,
    /// The collections themselves.
    Data,
}

/// A fault that was injected.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub(crate) fault: String,
    pub(crate) place: Where,
    pub(crate) began: Duration,
    /// When it was healed; the same as `began` where it is over at once.
    pub(crate) ended: Duration,
    /// Events with higher numbers were published after that.
    pub(crate) mark: u64,
    /// When every watcher had got one of these.
    pub(crate) recovered: Duration,
}

/// Writes whose success was told: they must be found in the database's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) events: BTreeSet<u64>,
    pub(crate) created: BTreeSet<String>,
    pub(crate) deleted: BTreeSet<String>,
}

/// The notebook that everyone shares: a clock, and what is not about one connection.
#[derive(Clone, Debug)]
pub(crate) struct Notebook {
    start: Instant,
    numbers: Arc<AtomicU64>,
    notes: Arc<Mutex<Notes>>,
}

/// What is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) acknowledged: Acknowledged,
    pub(crate) refusals: BTreeMap<Refusal, u64>,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) connections: Vec<Connection>,
    /// Subscriptions of which a node has said that there is none such.
    pub(crate) not_found: BTreeSet<String>,
    /// The last tick that each watcher has got.
    pub(crate) ticks: BTreeMap<String, u64>,
}

impl Notebook {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            numbers: Arc::default(),
            notes: Arc::default(),
        }
    }

    /// Time since the start of the world.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A number that nothing else has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes something down.
    pub(crate) fn note<T>(&self, write: impl FnOnce(&mut Notes) -> T) -> T {
        write(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a message of `tidegate.v1`.
pub(crate) fn read_message(message: &Value) -> Option<Heard> {
    if message["type"] == "pong" {
        return None;
    }
    let read = || {
        let at = position(&message["cursor"])?;
        Some(match message["type"].as_str()? {
            "connected" => Heard::Connected {
                at,
                version: Version::told(&message["subscription"])?,
                recovered: message["recovered"].as_bool()?,
            },
            "event" => Heard::Event {
                number: message["event"]["data"]["n"].as_u64()?,
                at,
            },
            "updated" => Heard::Updated {
                version: Version::told(&message["subscription"])?,
                at,
            },
            "gap" => Heard::Gap {
                after: position(&message["after"]),
                upto: at,
            },
            "ended" => Heard::Ended {
                reason: message["reason"].as_str()?.to_owned(),
                at,
            },
            _ => return None,
        })
    };
    Some(read().unwrap_or_else(|| Heard::Odd(message.to_string())))
}

/// Reads a message of `cloudevents.json`.
pub(crate) fn read_cloudevent(event: &Value) -> Heard {
    let read = || {
        Some(Heard::Event {
            number: event["data"]["n"].as_u64()?,
            at: position(&event["tidegatecursor"])?,
        })
    };
    read().unwrap_or_else(|| Heard::Odd(event.to_string()))
}

fn position(cursor: &Value) -> Option<Position> {
    Some(Cursor::parse(cursor.as_str()?).ok()?.position)
}
