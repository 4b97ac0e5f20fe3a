//! The handles of a client: what it knows of each, by the rules of the guide, and the record of each.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tidegate::{
    position::{Cursor, Position},
    protocol::Dialect,
};

use crate::rig::record::{
    Begin, Connection, Heard, Kinds, Notebook, Over, Refusal, Version, read_message,
};

/// Something that a client listens to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Stored(String),
    /// A filter of its own for these kinds.
    Own(Kinds),
}

/// The standing on a handle.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    /// It is asked for, from this cursor on, or from now on. Nothing has come.
    Asked(Option<String>),
    /// It was refused for a while, and is to be asked for again.
    Refused(Option<String>),
    /// It catches up, and stands here.
    CatchingUp(String),
    /// It stands where the socket does.
    Live,
}

struct Handle {
    wish: Wish,
    standing: Standing,
    /// From its `connected` on.
    connection: Option<Connection>,
    asked_at: Duration,
    /// The number of its last event.
    last: Option<u64>,
    /// True once its client wants no more of it.
    leaves: bool,
}

/// All of them, over all sockets of the client.
pub(super) struct Handles {
    client: String,
    notebook: Notebook,
    node: usize,
    /// Those that are in use. A handle that was unsubscribed and asked for again waits behind the first.
    all: BTreeMap<String, Vec<Handle>>,
    /// The highest complete cursor of the socket.
    cursor: Option<String>,
    /// Such a cursor of some time ago.
    past: Option<String>,
    /// The messages that moved it.
    heard: usize,
    /// True once the end of the socket was told.
    over: bool,
}

impl Handles {
    pub(super) fn new(client: String, notebook: Notebook) -> Self {
        Self {
            client,
            notebook,
            node: 0,
            all: BTreeMap::new(),
            cursor: None,
            past: None,
            heard: 0,
            over: false,
        }
    }

    /// Whether the end of the socket was told.
    pub(super) fn are_over(&self) -> bool {
        self.over
    }

    /// A socket to a node is open.
    pub(super) fn begin(&mut self, node: usize) {
        self.node = node;
        self.over = false;
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns the handles that can be unsubscribed, but one.
    pub(super) fn open_names(&self, except: &str) -> Vec<String> {
        let is_open = |of: &Handle| !of.leaves;
        let all = self.all.iter();
        let open = all.filter(|(name, of)| *name != except && of.last().is_some_and(is_open));
        open.map(|(name, _)| name.clone()).collect()
    }

    /// Returns a cursor of some time ago, of this socket.
    pub(super) fn past(&self) -> Option<String> {
        self.past.clone()
    }

    /// Notes that these are asked for; returns the message.
    pub(super) fn ask(&mut self, wishes: Vec<(String, Wish)>, after: Option<&str>) -> Value {
        let mut items = Vec::new();
        for (name, wish) in wishes {
            items.push(wish.item(&name));
            let asked = Handle {
                wish,
                standing: Standing::Asked(after.map(str::to_owned)),
                connection: None,
                asked_at: self.notebook.now(),
                last: None,
                leaves: false,
            };
            self.all.entry(name).or_default().push(asked);
        }
        subscribe(&items, after)
    }

    /// Notes that a handle is unsubscribed.
    pub(super) fn leave(&mut self, name: &str) {
        if let Some(handle) = self.all.get_mut(name).and_then(|all| all.last_mut()) {
            handle.leaves = true;
        }
    }

    /// Asks on a new socket for everything from where it was: all that is live with one message and one cursor, and
    /// what was catching up with its own.
    pub(super) fn come_back(&mut self) -> Vec<Value> {
        let (mut live, mut fresh, mut messages) = (Vec::new(), Vec::new(), Vec::new());
        let cursor = self.cursor.take();
        let now = self.notebook.now();
        self.past = None;
        for (name, all) in &mut self.all {
            let Some(handle) = all.last_mut() else {
                continue;
            };
            handle.asked_at = now;
            let item = handle.wish.item(name);
            let after = match &handle.standing {
                Standing::Live => cursor.clone(),
                Standing::CatchingUp(own) => Some(own.clone()),
                Standing::Asked(after) | Standing::Refused(after) => after.clone(),
            };
            match (&handle.standing, &after) {
                (Standing::Live, Some(_)) => live.push(item),
                (_, None) => fresh.push(item),
                (_, Some(after)) => messages.push(subscribe(&[item], Some(after))),
            }
            handle.standing = Standing::Asked(after);
        }
        for (items, after) in [(live, cursor), (fresh, None)] {
            if !items.is_empty() {
                messages.push(subscribe(&items, after.as_deref()));
            }
        }
        messages
    }

    /// Asks again for what was refused for a while.
    pub(super) fn refused_for_a_while(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        for (name, all) in &mut self.all {
            for handle in all {
                if let Standing::Refused(after) = handle.standing.clone() {
                    let item = handle.wish.item(name);
                    messages.push(subscribe(&[item], after.as_deref()));
                    handle.standing = Standing::Asked(after);
                    handle.asked_at = self.notebook.now();
                }
            }
        }
        messages
    }

    /// Whether every handle has got the very last event. One that is asked for from now on may have come too late.
    pub(super) fn have(&self, last: u64) -> bool {
        self.all.values().flatten().all(|handle| {
            let comes_late = handle.standing == Standing::Asked(None);
            handle.last == Some(last) || handle.is_of_now() || comes_late
        })
    }

    /// Records something that cannot be.
    pub(super) fn odd(&mut self, text: String) {
        let nothing = Handle {
            wish: Wish::Own(Kinds(0)),
            standing: Standing::Live,
            connection: None,
            asked_at: self.notebook.now(),
            last: None,
            leaves: false,
        };
        let mut connection = self.connection(&nothing, None);
        connection.over = Over::Left;
        connection
            .heard
            .push((self.notebook.now(), Heard::Odd(text)));
        self.notebook
            .note(|notes| notes.connections.push(connection));
    }

    fn connection(&self, handle: &Handle, after: Option<&str>) -> Connection {
        let after = after.and_then(position);
        Connection {
            client: self.client.clone(),
            node: self.node,
            subscription: handle.wish.subscription(),
            dialect: Dialect::Many,
            begin: after.map_or(Begin::Live, Begin::After),
            asked_at: handle.asked_at,
            heard: Vec::new(),
            over: Over::Open,
            over_at: Duration::ZERO,
        }
    }

    /// Takes a message in. Returns the subscription that is not there any more, if it says so.
    pub(super) fn hear(&mut self, message: &Value) -> Option<String> {
        let kind = message["type"].as_str().unwrap_or_default();
        let named = message["handle"].as_str().map(str::to_owned);
        let mut gone = None;
        match (kind, named) {
            ("connected", Some(name)) => self.connected(&name, message),
            ("live", Some(name)) => self.live(&name, message),
            ("ended", Some(name)) => gone = self.ended(&name, message),
            ("ended", None) => self.all_ended(message),
            ("refused", Some(name)) => gone = self.refused(&name, message),
            ("updated", Some(name)) => self.told(&[name], message),
            ("event" | "gap", None) => {
                let to = message["to"].as_array().into_iter().flatten();
                let to: Vec<String> = to
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect();
                self.told(&to, message);
            }
            ("welcome" | "at" | "pong", None) => {}
            _ => self.odd(message.to_string()),
        }
        self.move_cursor(message, kind);
        gone
    }

    /// Keeps the highest complete cursor.
    fn move_cursor(&mut self, message: &Value, kind: &str) {
        let replays = message["replay"] == true || message["replaying"] == true;
        let cursor = message["cursor"].as_str().map(str::to_owned);
        if replays || message["more"] == true || cursor.is_none() {
            return;
        }
        self.cursor = self.cursor.take().max(cursor);
        self.heard += 1;
        if kind == "gap" {
            self.past = None;
        } else if self.heard.is_multiple_of(50) {
            self.past.clone_from(&self.cursor);
        }
    }

    /// Returns the handle that is open, or due, under a name.
    fn first(&mut self, name: &str) -> Option<&mut Handle> {
        self.all.get_mut(name)?.first_mut()
    }

    fn connected(&mut self, name: &str, message: &Value) {
        let Some(at) = message["cursor"].as_str().map(str::to_owned) else {
            return;
        };
        let asked = match self.first(name) {
            Some(Handle {
                standing: Standing::Asked(after),
                connection: None,
                ..
            }) => after.clone(),
            _ => return self.odd(format!("it was not asked for: {message}")),
        };
        let Some(mut all) = self.all.remove(name) else {
            return;
        };
        if let Some(handle) = all.first_mut() {
            let mut connection = self.connection(handle, asked.as_deref());
            let heard = match handle.wish {
                Wish::Stored(_) => read_message(message),
                Wish::Own(kinds) => Some(Heard::Connected {
                    at: position(&at).unwrap_or(Position::START),
                    version: Version::of_own_filter(kinds),
                    recovered: message["recovered"] == true,
                }),
            };
            connection
                .heard
                .extend(heard.map(|heard| (self.notebook.now(), heard)));
            handle.connection = Some(connection);
            handle.standing = if message["replaying"] == true {
                Standing::CatchingUp(at)
            } else {
                Standing::Live
            };
        }
        self.all.insert(name.to_owned(), all);
    }

    fn live(&mut self, name: &str, message: &Value) {
        match self.first(name) {
            Some(handle) if matches!(handle.standing, Standing::CatchingUp(_)) => {
                handle.standing = Standing::Live;
            }
            _ => self.odd(format!("it does not catch up: {message}")),
        }
    }

    /// Records a message about some handles.
    fn told(&mut self, to: &[String], message: &Value) {
        let Some(heard) = read_message(message) else {
            return self.odd(message.to_string());
        };
        let now = self.notebook.now();
        let cursor = message["cursor"].as_str().unwrap_or_default().to_owned();
        let replays = message["replay"] == true;
        if to.is_empty() || (1..to.len()).any(|at| to[..at].contains(&to[at])) {
            self.odd(format!("for nobody, or twice: {message}"));
        }
        for name in to {
            let Some(handle) = self.first(name) else {
                self.odd(format!("{name} is not open: {message}"));
                continue;
            };
            let catches_up = matches!(handle.standing, Standing::CatchingUp(_));
            let Some(connection) = handle.connection.as_mut().filter(|_| catches_up == replays)
            else {
                self.odd(format!("{name} is not there: {message}"));
                continue;
            };
            connection.heard.push((now, heard.clone()));
            if let Standing::CatchingUp(own) = &mut handle.standing {
                own.clone_from(&cursor);
            }
            if let Heard::Event { number, .. } = heard {
                handle.last = Some(number);
            }
        }
    }

    fn ended(&mut self, name: &str, message: &Value) -> Option<String> {
        let Some(mut handle) = self.remove_first(name).filter(|of| of.connection.is_some()) else {
            self.odd(format!("it is not open: {message}"));
            return None;
        };
        let at = message["cursor"]
            .as_str()
            .and_then(position)
            .unwrap_or(Position::START);
        if message["reason"] == "unsubscribed" {
            if !handle.leaves {
                self.odd(format!("nobody asked for that: {message}"));
            }
            // Everything up to there was for it.
            self.close(&mut handle, &Over::Left, Some(Heard::Everything { at }));
            return None;
        }
        let code = message["code"]
            .as_u64()
            .and_then(|code| code.try_into().ok());
        self.close(&mut handle, &Over::Closed(code), read_message(message));
        (message["reason"] == "deleted").then(|| handle.wish.subscription())
    }

    /// The end of the socket is told to every handle.
    fn all_ended(&mut self, message: &Value) {
        self.over = true;
        // Where nothing was live, there is no cursor.
        let heard = read_message(message).filter(|_| message["cursor"].is_string());
        let Some(heard) = heard else { return };
        let now = self.notebook.now();
        for handle in self.all.values_mut().flatten() {
            if let Some(connection) = &mut handle.connection {
                connection.heard.push((now, heard.clone()));
            }
        }
    }

    fn refused(&mut self, name: &str, message: &Value) -> Option<String> {
        let status = message["problem"]["status"].as_u64();
        let is_asked = matches!(self.first(name)?.standing, Standing::Asked(_));
        if !is_asked {
            self.odd(format!("it was not asked for: {message}"));
            return None;
        }
        match (status, &self.first(name)?.wish) {
            (Some(404), Wish::Stored(id)) => {
                let id = id.clone();
                self.remove_first(name);
                self.notebook
                    .note(|notes| notes.not_found.insert(id.clone()));
                Some(id)
            }
            (Some(status @ (500 | 503)), _) => {
                self.note_refusal(status, message);
                let handle = self.first(name)?;
                if handle.leaves {
                    // The `unsubscribe` behind it finds nothing.
                    self.remove_first(name);
                } else if let Standing::Asked(after) = handle.standing.clone() {
                    handle.standing = Standing::Refused(after);
                }
                None
            }
            _ => {
                self.remove_first(name);
                self.odd(message.to_string());
                None
            }
        }
    }

    /// Notes a refusal that has to say when to come back, as one of a call is noted.
    fn note_refusal(&self, status: u64, message: &Value) {
        let refusal = Refusal {
            node: self.node,
            call: "subscribe",
            status: status.try_into().unwrap_or_default(),
            retry_after: message["retryAfterMs"].is_u64(),
            problem: message["problem"]["type"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        self.notebook
            .note(|notes| *notes.refusals.entry(refusal).or_default() += 1);
    }

    fn remove_first(&mut self, name: &str) -> Option<Handle> {
        let all = self.all.get_mut(name)?;
        let first = all.remove(0);
        if all.is_empty() {
            self.all.remove(name);
        }
        Some(first)
    }

    /// Ends the record of a handle.
    fn close(&mut self, handle: &mut Handle, over: &Over, last: Option<Heard>) {
        let now = self.notebook.now();
        if let Some(mut connection) = handle.connection.take() {
            connection.heard.extend(last.map(|heard| (now, heard)));
            connection.over = over.clone();
            connection.over_at = now;
            self.notebook
                .note(|notes| notes.connections.push(connection));
        }
    }

    /// The socket is over, and with it every handle, each of which has everything up to where it stands.
    pub(super) fn finish(&mut self, over: &Over) {
        let cursor = self.cursor.clone();
        for (name, mut all) in std::mem::take(&mut self.all) {
            for handle in &mut all {
                let stands = match &handle.standing {
                    Standing::Live => cursor.as_deref(),
                    Standing::CatchingUp(own) => Some(own.as_str()),
                    Standing::Asked(_) | Standing::Refused(_) => None,
                };
                let heard = handle
                    .connection
                    .as_ref()
                    .map(|connection| &connection.heard);
                let is_told = heard
                    .is_some_and(|heard| matches!(heard.last(), Some((_, Heard::Ended { .. }))));
                let everything = stands.and_then(position).map(|at| Heard::Everything { at });
                // Who had come too late for the last event is just gone.
                let over = if handle.is_of_now() && *over == Over::Open {
                    &Over::Left
                } else {
                    over
                };
                self.close(handle, over, everything.filter(|_| !is_told));
            }
            // What was unsubscribed does not come back.
            if let Some(handle) = all.pop().filter(|handle| !handle.leaves) {
                self.all.insert(name, vec![handle]);
            }
        }
    }
}

impl Handle {
    /// Whether it has begun with nothing behind it, and heard of nothing yet.
    fn is_of_now(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|of| of.begin == Begin::Live && of.heard.len() == 1)
    }
}

fn subscribe(items: &[Value], after: Option<&str>) -> Value {
    let mut message = json!({"type": "subscribe", "items": items});
    if let Some(after) = after {
        message["after"] = after.into();
    }
    message
}

fn position(cursor: &str) -> Option<Position> {
    Some(Cursor::parse(cursor).ok()?.position)
}
