//! Pairs of a handle and a socket of its own that asked for the same at the same time, and their records.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};

use super::world::World;
use crate::{several::kit::tell, support::Socket};

/// Time for a message that may be there already.
const SOON: Duration = Duration::from_millis(20);

/// The parts of a message that a handle and a socket of its own must share.
fn told(message: &Value) -> Option<Value> {
    match message["type"].as_str().unwrap() {
        "event" => Some(json!([message["cursor"], message["event"]])),
        "updated" => Some(json!([message["cursor"], message["subscription"]])),
        // `connected` says the same; who is cut off between the two does not hear of it again.
        "gap" if message["reason"] == "before_subscription" => None,
        "gap" => Some(json!([
            message["reason"],
            message["after"],
            message["cursor"]
        ])),
        _ => None,
    }
}

fn number(message: &Value) -> Option<i64> {
    message["event"]["data"]["n"].as_i64()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A handle from its `subscribe` on, and a socket of its own.
pub(super) struct Pair {
    pub(super) handle: String,
    /// The subscription of the socket.
    pub(super) id: String,
    /// The filter of the handle, if it brings one.
    own: Option<Value>,
    pub(super) unsubscribed: bool,
    /// The reason why the handle has ended.
    ended: Option<String>,
    /// The messages on the handle, and the cursor of the last.
    left: Vec<Value>,
    left_at: String,
    /// The handle's own cursor while it catches up.
    catching_up: Option<String>,
    right: Vec<Value>,
    right_at: String,
    /// `None` once it was closed.
    socket: Option<Socket>,
}

impl Pair {
    /// Opens the socket.
    pub(super) async fn open(
        world: &World,
        handle: String,
        id: &str,
        own: Option<Value>,
        after: &str,
    ) -> Self {
        Self {
            handle,
            id: id.to_owned(),
            own,
            unsubscribed: false,
            ended: None,
            left: Vec::new(),
            left_at: after.to_owned(),
            catching_up: Some(after.to_owned()),
            right: Vec::new(),
            right_at: after.to_owned(),
            socket: Some(world.open_one(id, after).await),
        }
    }

    /// Whether the client wants to hear of it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.unsubscribed && self.ended.is_none()
    }

    fn item(&self) -> Value {
        match &self.own {
            Some(filter) => json!({"handle": self.handle, "filter": filter}),
            None => json!({"handle": self.handle, "subscription": self.id}),
        }
    }

    fn take(&mut self, message: &Value) {
        let cursor = text(&message["cursor"]);
        if !cursor.is_empty() {
            assert!(
                cursor >= self.right_at,
                "{message} behind {}",
                self.right_at
            );
            self.right_at = cursor;
        }
        self.right.extend(told(message));
    }

    /// Reads a message of the socket, if there is one soon.
    pub(super) async fn read_some(&mut self) -> bool {
        let Some(socket) = &mut self.socket else {
            return false;
        };
        let Ok(message) = tokio::time::timeout(SOON, socket.message()).await else {
            return false;
        };
        self.take(&message);
        true
    }

    pub(super) async fn read_to_event(&mut self, n: i32) {
        while let Some(socket) = &mut self.socket {
            let message = socket.message().await;
            self.take(&message);
            if number(&message) == Some(n.into()) {
                return;
            }
        }
    }

    pub(super) async fn read_to_the_end(&mut self, code: u16, reason: &str) {
        let Some(mut socket) = self.socket.take() else {
            return;
        };
        let (messages, closed) = socket.rest().await;
        assert_eq!((closed.code, closed.text.as_str()), (code, reason));
        for message in &messages {
            self.take(message);
        }
        assert_eq!(messages.last().unwrap()["reason"], reason);
        if reason == "deleted" {
            assert!(
                self.unsubscribed || self.ended.as_deref() == Some("deleted"),
                "{:?}",
                self.ended
            );
        }
    }

    /// Comes back to the socket's subscription, unless that is gone.
    pub(super) async fn come_back(&mut self, world: &World) {
        let is_gone = self.ended.as_deref() == Some("deleted");
        self.socket = None;
        // Nobody compares what comes behind the end of the handle.
        if self.is_wanted() && !is_gone {
            self.socket = Some(world.open_one(&self.id, &self.right_at).await);
        }
    }

    /// Checks that the handle got what the socket got.
    pub(super) fn check(&self) {
        let both = self.left.len().min(self.right.len());
        if self.unsubscribed {
            // Its socket was not told that nobody wants more, and may have been cut off before.
            return assert_eq!(self.left[..both], self.right[..both], "{}", self.handle);
        }
        assert_eq!(self.left, self.right, "{} {:?}", self.handle, self.ended);
    }
}

/// The socket for many.
pub(super) struct Side {
    socket: Socket,
    /// The pairs that are asked for under a handle, and those that are open.
    asked: BTreeMap<String, VecDeque<usize>>,
    open: BTreeMap<String, usize>,
    /// The highest complete cursor.
    cursor: String,
    revoked: bool,
}

impl Side {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            cursor: String::new(),
            revoked: false,
        }
    }

    pub(super) async fn tell(&mut self, message: Value) {
        tell(&mut self.socket, message).await;
    }

    /// Asks for pairs, which have these numbers, from a cursor on.
    pub(super) async fn ask(&mut self, numbers: Vec<usize>, pairs: &[&Pair], after: &str) {
        let items: Vec<Value> = pairs.iter().map(|pair| pair.item()).collect();
        for (number, pair) in numbers.into_iter().zip(pairs) {
            self.asked
                .entry(pair.handle.clone())
                .or_default()
                .push_back(number);
        }
        let message = json!({"type": "subscribe", "after": after, "items": items});
        self.tell(message).await;
    }

    /// Asks on a new socket for all that is wanted: what is live with one message, and the rest with its own cursors.
    pub(super) async fn come_back(&mut self, socket: Socket, pairs: &mut [Pair]) {
        let after = std::mem::take(&mut self.cursor);
        *self = Self::new(socket);
        let wanted = pairs
            .iter()
            .enumerate()
            .filter(|(_, pair)| pair.is_wanted());
        let (late, live): (Vec<_>, Vec<_>) =
            wanted.partition(|(_, pair)| pair.catching_up.is_some());
        let (numbers, of_live): (Vec<usize>, Vec<&Pair>) = live.into_iter().unzip();
        if !numbers.is_empty() {
            self.ask(numbers, &of_live, &after).await;
        }
        for (number, pair) in late {
            let after = pair.catching_up.clone().unwrap();
            self.ask(vec![number], &[pair], &after).await;
        }
    }

    async fn read(&mut self, pairs: &mut [Pair]) -> Value {
        let message = self.socket.message().await;
        self.take(&message, pairs);
        message
    }

    /// Reads a message, if there is one soon.
    pub(super) async fn read_some(&mut self, pairs: &mut [Pair]) -> bool {
        let Ok(message) = tokio::time::timeout(SOON, self.socket.message()).await else {
            return false;
        };
        self.take(&message, pairs);
        true
    }

    fn take(&mut self, message: &Value, pairs: &mut [Pair]) {
        let cursor = text(&message["cursor"]);
        let handle = text(&message["handle"]);
        let replays = message["replay"] == true || message["replaying"] == true;
        match message["type"].as_str().unwrap() {
            "connected" => {
                let number = self.asked.get_mut(&handle).and_then(VecDeque::pop_front);
                let number = number.unwrap_or_else(|| panic!("not asked for: {message}"));
                assert_eq!(self.open.insert(handle, number), None, "{message}");
                pairs[number].catching_up = replays.then(|| cursor.clone());
            }
            "live" => {
                let own = pairs[self.open[&handle]].catching_up.take();
                assert!(own.is_some_and(|own| own <= cursor), "{message}");
            }
            "ended" if handle.is_empty() => {
                assert_eq!(message["reason"], "forbidden");
                self.revoked = true;
            }
            "ended" => {
                let number = self
                    .open
                    .remove(&handle)
                    .unwrap_or_else(|| panic!("not open: {message}"));
                let pair = &mut pairs[number];
                assert_eq!(replays, pair.catching_up.is_some(), "{message}");
                let reason = text(&message["reason"]);
                assert!(reason == "deleted" || pair.unsubscribed, "{message}");
                pair.ended = Some(reason);
            }
            "event" | "updated" | "gap" => self.take_told(message, &cursor, replays, pairs),
            "refused" => panic!("{message}"),
            _ => {}
        }
        if !replays && message["more"] != true {
            self.cursor = std::mem::take(&mut self.cursor).max(cursor);
        }
    }

    fn take_told(&self, message: &Value, cursor: &str, replays: bool, pairs: &mut [Pair]) {
        let named = message["handle"].as_str();
        let to = message["to"].as_array().into_iter().flatten();
        let to: Vec<&str> = to.filter_map(Value::as_str).chain(named).collect();
        assert!(!to.is_empty(), "{message}");
        for (index, handle) in to.iter().enumerate() {
            assert!(!to[..index].contains(handle), "twice: {message}");
            let number = self.open.get(*handle);
            let number = number.unwrap_or_else(|| panic!("{handle} is not open: {message}"));
            let pair = &mut pairs[*number];
            assert_eq!(pair.catching_up.is_some(), replays, "{message}");
            if let Some(own) = &mut pair.catching_up {
                cursor.clone_into(own);
            }
            // The client drops what it had.
            if *cursor > *pair.left_at {
                cursor.clone_into(&mut pair.left_at);
                pair.left.extend(told(message));
            }
        }
    }

    /// Reads until everything that is asked for has begun.
    pub(super) async fn until_connected(&mut self, pairs: &mut [Pair]) {
        while self.asked.values().any(|waiting| !waiting.is_empty()) {
            self.read(pairs).await;
        }
    }

    /// Reads until every handle of a subscription has ended.
    pub(super) async fn until_ended(&mut self, pairs: &mut [Pair], id: &str) {
        while self.open.values().any(|number| pairs[*number].id == *id) {
            self.read(pairs).await;
        }
    }

    /// Reads until every handle that is wanted has an event.
    pub(super) async fn until_event(&mut self, pairs: &mut [Pair], n: i32) {
        let mut left: Vec<String> = self
            .open
            .iter()
            .filter(|(_, number)| pairs[**number].is_wanted())
            .map(|(handle, _)| handle.clone())
            .collect();
        while !left.is_empty() {
            let message = self.read(pairs).await;
            if number(&message) == Some(n.into()) {
                let to = message["to"].as_array().unwrap();
                left.retain(|handle| !to.contains(&json!(handle)));
            }
        }
    }

    /// Reads up to the end of the socket, whose client's credential is revoked.
    pub(super) async fn until_revoked(&mut self, pairs: &mut [Pair]) {
        let (messages, closed) = self.socket.rest().await;
        assert_eq!((closed.code, closed.text.as_str()), (4511, "forbidden"));
        for message in &messages {
            assert!(!self.revoked, "{message} behind the end");
            self.take(message, pairs);
        }
        assert!(self.revoked);
    }
}
