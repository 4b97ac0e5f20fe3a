//! Clients of every kind. They stay with a subscription, reconnect when they are cut off, and record everything that
//! they are told.

mod line;
mod listen;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidegate::{position::Position, protocol::Dialect};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::line::{Item, Line, NotOpened};
use super::{
    keyring::{Key, Keyring},
    record::{Begin, Connection, Heard, Notebook, Over},
    writers::Pool,
};

/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);

/// The parts that all clients share.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) notebook: Notebook,
    pub(crate) pool: Pool,
    pub(crate) fronts: Vec<SocketAddr>,
    /// The silence, pings included, after which a client takes its connection for dead.
    pub(crate) silence: Duration,
    /// The number of the very last event, once that is published. Clients leave after it.
    pub(crate) last: watch::Receiver<Option<u64>>,
    /// Cancelled when clients are no longer waited for.
    pub(crate) stop: CancellationToken,
    /// The binary, for clients that listen with it.
    pub(crate) program: PathBuf,
    pub(crate) keyring: Keyring,
}

/// A client's way to reconnect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    /// With the cursor of the last message.
    Resume,
    /// With nothing, from now on.
    Afresh,
    /// With nothing, to a durable subscription, of which it acknowledges some events.
    Acknowledge,
}

/// A client's choice of subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// The ticks, on this node, to the very end.
    Ticks(usize),
    /// The durable subscription of this name, on any node, to the very end.
    Durable(String),
    /// Any subscription on any node, for a while.
    Any,
}

/// The name of the subscription that matches all ticks.
pub(crate) const TICKS: &str = "ticks";

/// A client.
pub(crate) struct Client {
    setting: Setting,
    name: String,
    dialect: Dialect,
    habit: Habit,
    wish: Wish,
    random: StdRng,
    /// The cursor of its last message from the present subscription.
    cursor: Option<String>,
    acknowledged: Option<Position>,
    /// Its key, while that may stand.
    key: Option<Key>,
}

/// A client's next step after a connection.
enum Next {
    /// Reconnect.
    Again,
    /// Choose another subscription.
    Other,
    /// The very last event has come.
    Done,
}

impl Client {
    pub(crate) fn new(
        setting: Setting,
        number: usize,
        dialect: Dialect,
        habit: Habit,
        wish: Wish,
        seed: u64,
    ) -> Self {
        Self {
            name: format!("client {number}, {habit:?}"),
            setting,
            dialect,
            habit,
            wish,
            random: StdRng::seed_from_u64(seed),
            cursor: None,
            acknowledged: None,
            key: None,
        }
    }

    /// Returns the name under which it records.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Listens until the very last event has come, or it is stopped.
    pub(crate) async fn run(mut self) {
        loop {
            let Some(subscription) = self.choose().await else {
                return;
            };
            self.cursor = None;
            self.acknowledged = None;
            loop {
                match self.once(&subscription).await {
                    Next::Again => {}
                    Next::Other => break,
                    Next::Done => return,
                }
                if self.setting.stop.is_cancelled() {
                    return;
                }
            }
        }
    }

    async fn choose(&mut self) -> Option<String> {
        loop {
            let chosen = match &self.wish {
                Wish::Ticks(_) => self.setting.pool.standing(TICKS),
                Wish::Durable(name) => self.setting.pool.standing(name),
                Wish::Any => {
                    let stable = self.dialect == Dialect::CloudEvents;
                    self.setting.pool.choose(&mut self.random, stable)
                }
            };
            let over = self.setting.stop.is_cancelled()
                || self.wish == Wish::Any && self.setting.last.borrow().is_some();
            if chosen.is_some() && !over {
                return chosen;
            }
            if over {
                return None;
            }
            self.setting.stop.run_until_cancelled(sleep(PAUSE)).await?;
        }
    }

    /// Runs one connection, from the attempt to its end.
    async fn once(&mut self, subscription: &str) -> Next {
        let node = match self.wish {
            Wish::Ticks(node) => node,
            _ => self.random.random_range(0..self.setting.fronts.len()),
        };
        let front = self.setting.fronts[node];
        if !self.has_key().await {
            sleep(PAUSE).await;
            return Next::Again;
        }
        let after = self.cursor.as_deref();
        let key = self.key.as_ref().map(|key| key.text.as_str());
        let asked_at = self.setting.notebook.now();
        let opening = Line::open(front, subscription, (self.dialect, after), key);
        let mut line = match timeout(self.setting.silence, opening).await {
            Ok(Ok(line)) => line,
            Ok(Err(NotOpened::Gone)) => {
                self.setting.pool.withdraw(subscription);
                let id = subscription.to_owned();
                self.setting
                    .notebook
                    .note(|notes| notes.not_found.insert(id));
                return Next::Other;
            }
            Ok(Err(NotOpened::InvalidKey)) => {
                let key = self.key.take();
                let id = key.map_or_else(String::new, |key| key.id);
                self.setting.notebook.note_invalid_key(id);
                return Next::Again;
            }
            Ok(Err(NotOpened::Later)) | Err(_) => {
                sleep(PAUSE).await;
                return Next::Again;
            }
        };
        let mut connection = Connection {
            client: self.name.clone(),
            node,
            subscription: subscription.to_owned(),
            dialect: self.dialect,
            key: self.key.as_ref().map(|key| key.id.clone()),
            begin: self.begin(),
            asked_at,
            heard: Vec::new(),
            over: Over::Open,
            over_at: Duration::ZERO,
        };
        connection.over = self.attend(&mut line, &mut connection.heard).await;
        connection.over_at = self.setting.notebook.now();
        if matches!(connection.over, Over::Left | Over::Open) {
            line.leave().await;
        }
        let next = self.next(&connection);
        self.setting
            .notebook
            .note(|notes| notes.connections.push(connection));
        next
    }

    /// Whether it has a key, if it needs one. It asks for another one where its own is gone. Who watches for pauses
    /// keeps its key.
    async fn has_key(&mut self) -> bool {
        if self.key.is_none() {
            let revocable = !matches!(self.wish, Wish::Ticks(_));
            self.key = self.setting.keyring.issue(&self.name, revocable).await;
        }
        self.key.is_some() || !self.setting.keyring.is_needed()
    }

    fn begin(&self) -> Begin {
        let after = self.cursor.as_deref().and_then(line::position);
        match (after, self.habit) {
            (Some(after), _) => Begin::After(after),
            (None, Habit::Acknowledge) => Begin::Acknowledged(self.acknowledged),
            (None, _) => Begin::Live,
        }
    }

    /// Reads to the end of the connection, whoever ends it.
    async fn attend(&mut self, line: &mut Line, heard: &mut Vec<(Duration, Heard)>) -> Over {
        let setting = self.setting.clone();
        let mut last = setting.last.clone();
        let stay = match self.wish {
            Wish::Any => Duration::from_millis(self.random.random_range(500..20_000)),
            _ => Duration::from_hours(24),
        };
        let mut stay = std::pin::pin!(sleep(stay));
        loop {
            let ending = last.borrow().is_some();
            let item = tokio::select! {
                item = timeout(setting.silence, line.next()) => item,
                () = &mut stay, if !ending => return Over::Left,
                () = setting.stop.cancelled() => return Over::Open,
                // From here on no client leaves before the very last event.
                Ok(()) = last.changed() => continue,
            };
            let message = match item {
                Ok(Item::Alive) => continue,
                Ok(Item::Over(over)) => return over,
                Ok(Item::Message(message)) => message,
                Err(_) => return Over::Silence,
            };
            let Some(entry) = line.read(&message) else {
                continue;
            };
            if self.habit == Habit::Resume {
                self.cursor = line::cursor(&message).or(self.cursor.take());
            }
            let number = match &entry {
                Heard::Event { number, at } => {
                    self.acknowledge(line, &message, *at).await;
                    self.show(*number);
                    Some(*number)
                }
                _ => None,
            };
            heard.push((setting.notebook.now(), entry));
            if number.is_some() && number == *setting.last.borrow() {
                return Over::Open;
            }
        }
    }

    /// Shows its progress, if it watches for pauses.
    fn show(&self, number: u64) {
        if let Wish::Ticks(_) = self.wish {
            self.setting.notebook.note(|notes| {
                if let Some(tick) = notes.ticks.get_mut(&self.name) {
                    *tick = number;
                }
            });
        }
    }

    /// Acknowledges some of the events of a durable subscription.
    async fn acknowledge(&mut self, line: &mut Line, message: &serde_json::Value, at: Position) {
        if self.habit == Habit::Acknowledge && self.random.random_bool(0.2) {
            // It was handled and may not come again, whether the acknowledgement arrives or not.
            self.acknowledged = self.acknowledged.max(Some(at));
            line.acknowledge(message).await;
        }
    }

    fn next(&mut self, connection: &Connection) -> Next {
        match connection.over {
            Over::Closed(Some(4511)) => {
                self.key = None;
                Next::Again
            }
            Over::Open => Next::Done,
            Over::Left if self.random.random_bool(0.5) => Next::Other,
            Over::Closed(Some(4500)) => {
                self.setting.pool.withdraw(&connection.subscription);
                Next::Other
            }
            _ => Next::Again,
        }
    }
}

pub(crate) use listen::listen;
