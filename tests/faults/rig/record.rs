//! What everyone writes down of what they did and saw, for the checker.

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
    version::{KINDS, Kinds, LAST, TICK, Version},
};

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
    /// When it was asked for, or a moment before.
    pub(crate) asked_at: Duration,
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
    /// Whether nothing else went wrong at the time.
    pub(crate) alone: bool,
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
