//! The records of what everyone did and saw, for the checker.

mod heard;
mod version;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate::{position::Position, protocol::Dialect};

pub(crate) use self::{
    heard::{Heard, read_cloudevent, read_message},
    version::{KINDS, Kinds, LAST, TICK, Version, own_filter},
};

/// The begin that a client asked of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// Now.
    Live,
    /// After a cursor.
    After(Position),
    /// After what the client has acknowledged, which is at most this.
    Acknowledged(Option<Position>),
}

/// The end of a connection, as its client saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Over {
    /// It was still open when everything had come to rest.
    Open,
    /// The service closed it, with a code. A stream of server-sent events just ends.
    Closed(Option<u16>),
    /// It broke.
    Lost(String),
    /// The client left of its own accord.
    Left,
    /// The client left, because it had heard nothing for too long.
    Silence,
}

/// A connection, from the answer to its end.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The client. It may have several connections, one after another.
    pub(crate) client: String,
    pub(crate) node: usize,
    pub(crate) subscription: String,
    pub(crate) dialect: Dialect,
    /// The id of the key that it hangs on, if nodes ask for one.
    pub(crate) key: Option<String>,
    pub(crate) begin: Begin,
    /// The time of the request, or a moment before.
    pub(crate) asked_at: Duration,
    /// The messages, each with its time since the start of the world.
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

/// The place where a fault strikes, which says who may notice more than a pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Where {
    /// The database, or a node's way to it. No client may notice.
    Database,
    /// The way between the clients and a node.
    Clients(usize),
    /// The process of a node, which ended.
    Node(usize),
    /// The database answers with errors.
    Commands,
    /// The database answers that its history is lost.
    History,
    /// The collections themselves.
    Data,
    /// The collections, that of the keys among them.
    Keys,
}

/// A fault that was injected.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub(crate) fault: String,
    /// True if nothing else went wrong at the time.
    pub(crate) alone: bool,
    pub(crate) place: Where,
    pub(crate) began: Duration,
    /// The time at which it was healed; `began` if it is over at once.
    pub(crate) ended: Duration,
    /// A number below those of all events that were published after the end.
    pub(crate) mark: u64,
    /// The time at which every watcher had got one of those.
    pub(crate) recovered: Duration,
}

/// Writes that were acknowledged. They must be in the database's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) events: BTreeSet<u64>,
    pub(crate) created: BTreeSet<String>,
    pub(crate) deleted: BTreeSet<String>,
    /// Keys.
    pub(crate) revoked: BTreeSet<String>,
}

/// The notebook that everyone shares: a clock, and everything that is not about one connection.
#[derive(Clone, Debug)]
pub(crate) struct Notebook {
    start: Instant,
    numbers: Arc<AtomicU64>,
    notes: Arc<Mutex<Notes>>,
}

/// The contents of the notebook.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) acknowledged: Acknowledged,
    pub(crate) refusals: BTreeMap<Refusal, u64>,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) connections: Vec<Connection>,
    /// Subscriptions that a node said do not exist.
    pub(crate) not_found: BTreeSet<String>,
    /// The times at which somebody first set about to revoke a key.
    pub(crate) revoking: BTreeMap<String, Duration>,
    /// Keys that a node said do not stand, and when it first did.
    pub(crate) invalid_keys: BTreeMap<String, Duration>,
    /// The last tick of each watcher.
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

    /// Returns the time since the start of the world.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns a number that nothing else has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Records something.
    pub(crate) fn note<T>(&self, write: impl FnOnce(&mut Notes) -> T) -> T {
        write(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that a node said of a key, by its id, that it does not stand.
    pub(crate) fn note_invalid_key(&self, id: String) {
        let now = self.now();
        self.note(|notes| *notes.invalid_keys.entry(id).or_insert(now));
    }
}
