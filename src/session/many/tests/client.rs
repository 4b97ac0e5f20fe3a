//! A client that knows what was committed, and judges every message as it comes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::SUBSCRIPTIONS;
use crate::position::Cursor;

/// Something that was committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// An event of this kind.
    Event(&'static str),
    /// A subscription was made, or got this name.
    Stored(u8, u32),
    Deleted(u8),
    Gap,
}

/// The standing on a handle that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    CatchesUp(u32),
    Live,
}

#[derive(Debug)]
struct Open {
    of: u8,
    /// Everything committed behind this is for it.
    from: u32,
    standing: Standing,
    /// The times of its events, in order.
    events: Vec<u32>,
    name: u32,
}

/// A handle that was asked for.
#[derive(Debug)]
struct Wanted {
    of: u8,
    leaves: bool,
}

#[derive(Default, Debug)]
pub(super) struct Client {
    log: Vec<(u32, Known)>,
    begun: String,
    half: Vec<u8>,
    welcomed: bool,
    /// The handles that are asked for and have not begun, in the order of asking.
    asked: BTreeMap<u8, Vec<Wanted>>,
    open: BTreeMap<u8, Open>,
    /// Open handles that are unsubscribed.
    leaving: BTreeMap<u8, bool>,
    /// The highest complete cursor.
    cursor: u32,
    /// The channels that began and ended.
    begun_channels: usize,
    ended_channels: usize,
    over: bool,
}

fn time(cursor: &Value) -> u32 {
    let cursor = Cursor::parse(cursor.as_str().unwrap()).unwrap();
    cursor.position.cluster_time().time
}

impl Client {
    pub(super) fn begun_at(&mut self, cursor: &str) {
        cursor.clone_into(&mut self.begun);
    }

    /// Returns a point behind the making of all subscriptions.
    pub(super) fn beginning(&self) -> String {
        self.begun.clone()
    }

    pub(super) fn commits(&mut self, now: u32, what: Known) {
        self.log.push((now, what));
    }

    /// Whether a subscription was not deleted.
    pub(super) fn is_there(&self, of: u8) -> bool {
        !self
            .log
            .iter()
            .any(|(_, known)| *known == Known::Deleted(of))
    }

    /// Subscribes a handle, unless it is wanted already.
    pub(super) fn subscribe(&mut self, handle: u8, of: u8, after: Option<String>) -> Option<Value> {
        let last_asked = self.asked.get(&handle).and_then(|asked| asked.last());
        let is_wanted = match last_asked {
            Some(wanted) => !wanted.leaves,
            None => self.open.contains_key(&handle) && !self.leaving.contains_key(&handle),
        };
        if is_wanted {
            return None;
        }
        self.asked
            .entry(handle)
            .or_default()
            .push(Wanted { of, leaves: false });
        let id = SUBSCRIPTIONS[usize::from(of)].0;
        let mut message =
            json!({"type": "subscribe", "handle": format!("h{handle}"), "subscription": id});
        if let Some(after) = after {
            message["after"] = json!(after);
        }
        Some(message)
    }

    pub(super) fn unsubscribe(&mut self, handle: u8) -> Option<Value> {
        if let Some(wanted) = self
            .asked
            .get_mut(&handle)
            .and_then(|asked| asked.last_mut())
        {
            wanted.leaves = true;
        } else if self.open.contains_key(&handle) {
            self.leaving.insert(handle, true);
        } else {
            return None;
        }
        Some(json!({"type": "unsubscribe", "handle": format!("h{handle}")}))
    }

    /// Whether nothing is asked for or to end any more, and all handles are live. One that stands ahead waits for the
    /// router.
    pub(super) fn is_at_rest(&self) -> bool {
        let now = self.log.last().map_or(0, |(now, _)| *now);
        let mut open = self.open.values();
        let rest = open.all(|open| match open.standing {
            Standing::Live => true,
            Standing::CatchesUp(own) => own > now,
        });
        self.asked.is_empty() && self.leaving.is_empty() && rest
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Reads bytes of the answer: unmasked text frames behind a line of the carrier's own.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.half.extend_from_slice(bytes);
        if let Some(rest) = self.half.strip_prefix(b"retry: 2000\n") {
            self.half = rest.to_vec();
        }
        loop {
            let (len, head) = match self.half.as_slice() {
                [0x81, len @ 0..=125, ..] => (usize::from(*len), 2),
                [0x81, 126, a, b, ..] => (usize::from(u16::from_be_bytes([*a, *b])), 4),
                [0x81, 127, ..] => panic!("so long a message"),
                // The comment of the carrier.
                [b':', b'\n', ..] => {
                    self.half.drain(..2);
                    continue;
                }
                [first, ..] if *first != 0x81 => panic!("no text frame: {:?}", self.half),
                _ => return,
            };
            if self.half.len() < head + len {
                return;
            }
            let frame: Vec<u8> = self.half.drain(..head + len).collect();
            let message: Value = serde_json::from_slice(&frame[head..]).unwrap();
            self.take(&message);
        }
    }

    fn take(&mut self, message: &Value) {
        assert!(!self.over, "behind the end: {message}");
        let kind = message["type"].as_str().unwrap();
        assert_eq!(kind == "welcome", !self.welcomed, "{message}");
        let replays = message["replay"] == true || message["replaying"] == true;
        let named = message["handle"].as_str();
        let to = message["to"].as_array().into_iter().flatten();
        let to = to.filter_map(Value::as_str).chain(named);
        let to: Vec<u8> = to.map(|handle| handle[1..].parse().unwrap()).collect();
        for (index, handle) in to.iter().enumerate() {
            assert!(!to[..index].contains(handle), "twice: {message}");
        }
        let has_to = matches!(
            kind,
            "event" | "gap" | "updated" | "live" | "connected" | "refused"
        );
        assert!(!has_to || !to.is_empty(), "for nobody: {message}");
        match (kind, to.first()) {
            ("welcome", _) => self.welcomed = true,
            ("connected", Some(handle)) => self.connected(*handle, message),
            ("refused", Some(handle)) => self.refused(*handle, message),
            ("ended", None) => self.over = true,
            ("ended", Some(handle)) => self.ended(*handle, message, replays),
            ("at", None) => {}
            _ => to
                .iter()
                .for_each(|handle| self.told(*handle, message, kind, replays)),
        }
        if !replays && message["more"] != true && message["cursor"].is_string() {
            self.cursor = self.cursor.max(time(&message["cursor"]));
        }
        self.check_standings(message);
    }

    fn next_asked(&mut self, handle: u8, message: &Value) -> Wanted {
        let asked = self.asked.get_mut(&handle);
        let asked = asked.unwrap_or_else(|| panic!("not asked for: {message}"));
        let wanted = asked.remove(0);
        if asked.is_empty() {
            self.asked.remove(&handle);
        }
        wanted
    }

    fn connected(&mut self, handle: u8, message: &Value) {
        let wanted = self.next_asked(handle, message);
        if wanted.leaves {
            self.leaving.insert(handle, true);
        }
        let from = time(&message["cursor"]);
        let open = Open {
            of: wanted.of,
            from,
            standing: if message["replaying"] == true {
                Standing::CatchesUp(from)
            } else {
                Standing::Live
            },
            events: Vec::new(),
            name: message["subscription"]["name"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
        };
        assert!(
            self.open.insert(handle, open).is_none(),
            "it is open: {message}"
        );
        self.begun_channels += 1;
    }

    fn refused(&mut self, handle: u8, message: &Value) {
        let wanted = self.next_asked(handle, message);
        assert!(!self.is_there(wanted.of), "{message}");
    }

    fn ended(&mut self, handle: u8, message: &Value, replays: bool) {
        let open = self.open.remove(&handle);
        let open = open.unwrap_or_else(|| panic!("it is not open: {message}"));
        assert_eq!(replays, open.standing != Standing::Live, "{message}");
        let leaves = self.leaving.remove(&handle).is_some();
        let cursor = time(&message["cursor"]);
        match message["reason"].as_str().unwrap() {
            "unsubscribed" => assert!(leaves, "{message}"),
            "deleted" => {
                let mut log = self.log.iter();
                let deleted = log.find(|(_, known)| *known == Known::Deleted(open.of));
                let deleted = deleted.map(|(at, _)| *at).unwrap();
                // One that stands ahead has had it.
                let own = match open.standing {
                    Standing::CatchesUp(own) => own,
                    Standing::Live => deleted,
                };
                assert_eq!(cursor, deleted.max(own), "{message}");
            }
            _ => panic!("{message}"),
        }
        self.check_events(&open, cursor, message);
        self.ended_channels += 1;
    }

    fn told(&mut self, handle: u8, message: &Value, kind: &str, replays: bool) {
        let open = self.open.get_mut(&handle);
        let open = open.unwrap_or_else(|| panic!("{handle} is not open: {message}"));
        if kind == "live" {
            assert_ne!(open.standing, Standing::Live, "{message}");
            open.standing = Standing::Live;
            return;
        }
        assert_eq!(replays, open.standing != Standing::Live, "{message}");
        let at = time(&message["cursor"]);
        if let Standing::CatchesUp(own) = &mut open.standing {
            assert!(*own <= at, "{message} stands at {own}");
            *own = at;
        }
        match kind {
            "event" => open.events.push(at),
            "updated" => {
                let name = message["subscription"]["name"].as_str().unwrap();
                open.name = name.parse().unwrap();
            }
            "gap" => {}
            _ => panic!("{message}"),
        }
    }

    /// Checks that each handle has everything up to where it stands.
    fn check_standings(&self, message: &Value) {
        for open in self.open.values() {
            let stands = match open.standing {
                Standing::Live => self.cursor,
                Standing::CatchesUp(own) => own,
            };
            self.check_events(open, stands, message);
        }
    }

    /// Checks that a handle got the events that are for it: all up to a time, each once and in order.
    fn check_events(&self, open: &Open, up_to: u32, message: &Value) {
        let kind = SUBSCRIPTIONS[usize::from(open.of)].1;
        let matching = self
            .log
            .iter()
            .filter(|(at, known)| *at > open.from && *known == Known::Event(kind));
        let matching: Vec<u32> = matching.map(|(at, _)| *at).collect();
        let got = open.events.len();
        assert!(
            got <= matching.len() && matching[..got] == open.events[..],
            "{message}: {open:?} of {matching:?}"
        );
        let due = matching.iter().filter(|at| **at <= up_to).count();
        assert!(
            got >= due,
            "{message}: {open:?} lacks some of {matching:?} up to {up_to}"
        );
    }

    /// Checks that every handle that is live got everything, and knows what its subscription is called.
    pub(super) fn check_all_came(&self, now: u32) {
        for open in self
            .open
            .values()
            .filter(|open| open.standing == Standing::Live)
        {
            self.check_events(open, now, &Value::Null);
            let name = self.log.iter().rev().find_map(|(_, known)| match known {
                Known::Stored(of, name) if *of == open.of => Some(*name),
                _ => None,
            });
            assert_eq!(Some(open.name), name, "{open:?}");
        }
    }

    /// Checks that everything has ended: each handle by itself, or with the socket.
    pub(super) fn check_at_end(&self) {
        assert!(self.over, "the end is not told");
        assert_eq!(self.begun_channels, self.ended_channels + self.open.len());
    }
}
