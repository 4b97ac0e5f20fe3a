//! A client that keeps to the rules of the page: its record of each handle, its cursors, and how it comes back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kit::{event, tell};
use crate::support::Socket;

/// One handle, as its client knows it.
#[derive(Debug)]
pub(super) struct Handle {
    id: String,
    /// The numbers of its events.
    pub(super) numbers: Vec<i64>,
    /// The name of its subscription.
    pub(super) name: Value,
    /// The cursor of the last event that it got.
    last: String,
    /// Its own cursor while it catches up.
    own: Option<String>,
    /// True once it has ended, or is not there any more.
    pub(super) over: bool,
}

/// The knowledge of a client.
#[derive(Default, Debug)]
pub(super) struct Model {
    /// The highest complete cursor of the socket.
    cursor: String,
    pub(super) handles: BTreeMap<String, Handle>,
    /// True until what a broken socket may send again has come.
    returned: bool,
    /// The marks of the last message: whether another one of the same change is to come.
    pub(super) more: bool,
}

impl Model {
    /// Whether some handles catch up.
    pub(super) fn catches_up(&self) -> bool {
        let mut handles = self.handles.values();
        handles.any(|handle| !handle.over && handle.own.is_some())
    }

    /// Notes that a handle is asked for, from a cursor on.
    pub(super) fn asks(&mut self, handle: &str, id: &str, after: &str) {
        let asked = Handle {
            id: id.to_owned(),
            numbers: Vec::new(),
            name: Value::Null,
            last: after.to_owned(),
            own: Some(after.to_owned()),
            over: false,
        };
        assert!(self.handles.insert(handle.to_owned(), asked).is_none());
    }

    /// Takes a message in.
    pub(super) fn take(&mut self, message: &Value) {
        let cursor = message["cursor"].as_str().unwrap_or_default().to_owned();
        let kind = message["type"].as_str().unwrap();
        let replays = message["replay"] == true || message["replaying"] == true;
        match kind {
            "event" => self.take_event(message, &cursor, replays),
            "gap" => panic!("{message}"),
            _ if message.get("handle").is_some() => {
                self.take_of_one(message, kind, &cursor, replays);
            }
            "ended" => panic!("{message}"),
            _ => {}
        }
        self.more = message["more"] == true;
        if !replays && !self.more {
            self.cursor = self.cursor.clone().max(cursor);
        }
    }

    /// Takes a message about one handle in.
    fn take_of_one(&mut self, message: &Value, kind: &str, cursor: &str, replays: bool) {
        let handle = message["handle"].as_str().unwrap();
        let handle = self.handles.get_mut(handle).unwrap();
        assert!(!handle.over, "{message}");
        if kind != "connected" && kind != "live" && kind != "refused" {
            assert_eq!(handle.own.is_some(), replays, "{message} {handle:?}");
        }
        match kind {
            "connected" => {
                handle.own = replays.then(|| cursor.to_owned());
                handle.name = message["subscription"]["name"].clone();
            }
            "live" => {
                let own = handle.own.take();
                assert!(own.is_some_and(|own| *own <= *cursor), "{message}");
            }
            "updated" => {
                handle.name = message["subscription"]["name"].clone();
                if let Some(own) = &mut handle.own {
                    cursor.clone_into(own);
                }
            }
            "ended" => {
                assert_eq!(message["reason"], "deleted", "{message}");
                handle.over = true;
            }
            "refused" => {
                assert!(self.returned, "{message}");
                assert_eq!(message["problem"]["status"], 404, "{message}");
                handle.over = true;
            }
            _ => panic!("{message}"),
        }
    }

    fn take_event(&mut self, message: &Value, cursor: &str, replays: bool) {
        let (to, number) = event(message);
        for name in to {
            let handle = self.handles.get_mut(name).unwrap();
            assert!(!handle.over, "{message}");
            assert_eq!(handle.own.is_some(), replays, "{message} {handle:?}");
            if let Some(own) = &mut handle.own {
                cursor.clone_into(own);
            }
            if cursor <= &*handle.last {
                // It had that before the socket broke.
                assert!(self.returned, "{message} comes again: {handle:?}");
                continue;
            }
            handle.numbers.push(number);
            cursor.clone_into(&mut handle.last);
        }
    }

    /// Asks on a new socket for everything from where it was.
    pub(super) async fn come_back(&mut self, socket: &mut Socket) {
        self.returned = true;
        let item =
            |(name, handle): (&String, &Handle)| json!({"handle": name, "subscription": handle.id});
        let wanted = || self.handles.iter().filter(|(_, handle)| !handle.over);
        let live = wanted().filter(|(_, handle)| handle.own.is_none());
        let live: Vec<Value> = live.map(item).collect();
        if !live.is_empty() {
            tell(
                socket,
                json!({"type": "subscribe", "after": self.cursor, "items": live}),
            )
            .await;
        }
        for (name, handle) in wanted() {
            if let Some(own) = &handle.own {
                let mut wish = item((name, handle));
                wish["type"] = json!("subscribe");
                wish["after"] = json!(own);
                tell(socket, wish).await;
            }
        }
        // From here on each stands where it was asked from, until it has begun.
        for handle in self.handles.values_mut() {
            handle.own.get_or_insert_with(|| self.cursor.clone());
        }
        self.cursor = String::new();
    }
}
