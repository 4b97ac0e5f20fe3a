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
    /// The cursor of the last event that it got.
    last: String,
    /// Its own cursor while it catches up.
    own: Option<String>,
}

/// The knowledge of a client.
#[derive(Default, Debug)]
pub(super) struct Model {
    /// The highest complete cursor of the socket.
    cursor: String,
    pub(super) handles: BTreeMap<String, Handle>,
    /// True until what a broken socket may send again has come.
    returned: bool,
}

impl Model {
    /// Notes that a handle is asked for, from a cursor on.
    pub(super) fn asks(&mut self, handle: &str, id: &str, after: &str) {
        let asked = Handle {
            id: id.to_owned(),
            numbers: Vec::new(),
            last: after.to_owned(),
            own: Some(after.to_owned()),
        };
        assert!(self.handles.insert(handle.to_owned(), asked).is_none());
    }

    /// Takes a message in.
    pub(super) fn take(&mut self, message: &Value) {
        let cursor = message["cursor"].as_str().unwrap_or_default().to_owned();
        let kind = message["type"].as_str().unwrap();
        let named = message["handle"].as_str().unwrap_or_default();
        let replays = message["replay"] == true || message["replaying"] == true;
        match kind {
            "connected" => {
                let handle = self.handles.get_mut(named).unwrap();
                handle.own = replays.then(|| cursor.clone());
            }
            "live" => {
                let own = self.handles.get_mut(named).unwrap().own.take();
                assert!(own.is_some_and(|own| own <= cursor), "{message}");
            }
            "event" => self.take_event(message, &cursor, replays),
            "ended" | "refused" => panic!("{message}"),
            _ => {}
        }
        if !replays && message["more"] != true {
            self.cursor = self.cursor.clone().max(cursor);
        }
    }

    fn take_event(&mut self, message: &Value, cursor: &str, replays: bool) {
        let (to, number) = event(message);
        for name in to {
            let handle = self.handles.get_mut(name).unwrap();
            assert_eq!(handle.own.is_some(), replays, "{message} {handle:?}");
            if cursor <= &*handle.last {
                // It had that before the socket broke.
                assert!(self.returned, "{message} comes again: {handle:?}");
                continue;
            }
            handle.numbers.push(number);
            cursor.clone_into(&mut handle.last);
            if let Some(own) = &mut handle.own {
                cursor.clone_into(own);
            }
        }
    }

    /// Asks on a new socket for everything from where it was.
    pub(super) async fn come_back(&mut self, socket: &mut Socket) {
        self.returned = true;
        let item =
            |(name, handle): (&String, &Handle)| json!({"handle": name, "subscription": handle.id});
        let live = self
            .handles
            .iter()
            .filter(|(_, handle)| handle.own.is_none());
        let live: Vec<Value> = live.map(item).collect();
        if !live.is_empty() {
            tell(
                socket,
                json!({"type": "subscribe", "after": self.cursor, "items": live}),
            )
            .await;
        }
        for (name, handle) in &self.handles {
            if let Some(own) = &handle.own {
                let mut wish = item((name, handle));
                wish["type"] = json!("subscribe");
                wish["after"] = json!(own);
                tell(socket, wish).await;
            }
        }
        // What a client that is connecting knows of itself is in its handles alone.
        self.cursor = String::new();
    }
}
