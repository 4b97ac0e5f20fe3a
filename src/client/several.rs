//! The subscriptions of a listener on a socket for many, and where it stands on each of them. Pure.
//!
//! The service keeps nothing for a client that is away, so all that it takes to come back is here: one cursor for
//! what is live, and one of its own for each handle that was catching up.

use serde_json::{Map, Value, json};

use super::{frame::Frame, problem::Problem, socket::Start};

/// Something to listen to on a socket for many subscriptions.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) handle: String,
    /// The fields of its item: a subscription, or a filter.
    pub(crate) fields: Map<String, Value>,
}

impl Wanted {
    /// A stored subscription.
    pub(crate) fn subscription(handle: String, id: &str) -> Self {
        let fields = Map::from_iter([("subscription".to_owned(), id.into())]);
        Self { handle, fields }
    }

    /// A filter of the client's own.
    pub(crate) fn filter(handle: String, filter: Value) -> Self {
        let fields = Map::from_iter([("filter".to_owned(), filter)]);
        Self { handle, fields }
    }
}

/// The standing on one handle.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    /// Nothing has come yet.
    New,
    /// It catches up, and stands here.
    CatchingUp(String),
    /// It stands where the socket does.
    Live,
    /// It is over, for good.
    Gone,
}

#[derive(Debug)]
struct Item {
    wanted: Wanted,
    standing: Standing,
    /// The cursor of its last event.
    last: Option<String>,
}

/// The handles of one listener, over all its connections.
#[derive(Debug)]
pub(super) struct Several {
    items: Vec<Item>,
    /// The highest cursor of what is live.
    cursor: Option<String>,
}

/// The judgement of a frame, before it is handled.
#[derive(Debug)]
pub(super) enum Judged {
    /// It is news.
    News,
    /// It was handled before the last connection broke.
    Known,
    /// A handle is refused or has ended, and may be had again on another connection.
    Again(String),
    /// The last handle was refused for good.
    AllRefused(Problem),
}

impl Several {
    pub(super) fn new(wanted: Vec<Wanted>) -> Self {
        let item = |wanted| Item {
            wanted,
            standing: Standing::New,
            last: None,
        };
        Self {
            items: wanted.into_iter().map(item).collect(),
            cursor: None,
        }
    }

    /// Returns the messages that ask for everything from where it was; `start` is for what has not begun.
    pub(super) fn messages(&self, start: &Start) -> Vec<String> {
        let mut messages = Vec::new();
        let items = |is: &dyn Fn(&Standing) -> bool| -> Vec<Value> {
            let those = self.items.iter().filter(|item| is(&item.standing));
            those.map(|item| item.wanted.to_json()).collect()
        };
        let new = items(&|standing| *standing == Standing::New);
        if !new.is_empty() {
            let mut message = json!({"type": "subscribe", "items": new});
            match start {
                Start::Unset => {}
                Start::After(cursor) => message["after"] = cursor.as_str().into(),
                Start::Since(time) => message["since"] = time.as_str().into(),
            }
            messages.push(message.to_string());
        }
        let live = items(&|standing| *standing == Standing::Live);
        if !live.is_empty() {
            let message = json!({"type": "subscribe", "after": self.cursor, "items": live});
            messages.push(message.to_string());
        }
        for item in &self.items {
            if let Standing::CatchingUp(cursor) = &item.standing {
                let items = [item.wanted.to_json()];
                let message = json!({"type": "subscribe", "after": cursor, "items": items});
                messages.push(message.to_string());
            }
        }
        messages
    }

    /// Whether every handle is over.
    pub(super) fn is_over(&self) -> bool {
        self.items
            .iter()
            .all(|item| item.standing == Standing::Gone)
    }

    /// Judges a frame that has just come.
    pub(super) fn judge(&mut self, frame: &Frame) -> Judged {
        let handle = frame.text("handle").to_owned();
        match frame.kind() {
            "event" if !self.is_news(frame) => Judged::Known,
            "refused" if !handle.is_empty() => {
                let problem = Problem::from_json(frame.field("problem"));
                if matches!(problem.status, 429 | 503) {
                    return Judged::Again(problem.one_line());
                }
                self.set(&handle, Standing::Gone);
                if self.is_over() {
                    return Judged::AllRefused(problem);
                }
                Judged::News
            }
            "ended" if !handle.is_empty() && !frame.field("retryAfterMs").is_null() => {
                Judged::Again(format!("{handle} ended: {}", frame.text("reason")))
            }
            _ => Judged::News,
        }
    }

    fn is_news(&self, frame: &Frame) -> bool {
        let cursor = frame.text("cursor");
        let to = frame.field("to").as_array().into_iter().flatten();
        let mut items = to.filter_map(|handle| self.item(handle.as_str()?));
        items.any(|item| item.last.as_deref().is_none_or(|last| last < cursor))
    }

    fn item(&self, handle: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.wanted.handle == handle)
    }

    fn set(&mut self, handle: &str, standing: Standing) {
        let item = self
            .items
            .iter_mut()
            .find(|item| item.wanted.handle == handle);
        if let Some(item) = item {
            item.standing = standing;
        }
    }

    /// Notes that a frame is handled: the next connection goes on behind it.
    pub(super) fn handled(&mut self, frame: &Frame) {
        let cursor = frame.cursor();
        let replays = *frame.field("replay") == true || *frame.field("replaying") == true;
        let handle = frame.text("handle");
        match (frame.kind(), cursor.clone()) {
            ("connected", Some(cursor)) if replays => {
                self.set(handle, Standing::CatchingUp(cursor));
            }
            ("connected" | "live", _) => self.set(handle, Standing::Live),
            ("ended", _) if !handle.is_empty() => self.set(handle, Standing::Gone),
            ("event", Some(cursor)) => self.event(frame, &cursor),
            _ => {}
        }
        let is_complete = !replays && *frame.field("more") != true;
        if let Some(cursor) = cursor.filter(|_| is_complete) {
            self.cursor = self.cursor.take().max(Some(cursor));
        }
    }

    fn event(&mut self, frame: &Frame, cursor: &str) {
        let to = frame.field("to").as_array().into_iter().flatten();
        for handle in to.filter_map(Value::as_str) {
            let item = self
                .items
                .iter_mut()
                .find(|item| item.wanted.handle == handle);
            let Some(item) = item else { continue };
            item.last = item.last.take().max(Some(cursor.to_owned()));
            if let Standing::CatchingUp(own) = &mut item.standing {
                cursor.clone_into(own);
            }
        }
    }
}

impl Wanted {
    fn to_json(&self) -> Value {
        let mut item = Map::from_iter([("handle".to_owned(), self.handle.as_str().into())]);
        item.extend(self.fields.clone());
        Value::Object(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(value: &Value) -> Frame {
        Frame::parse(value.to_string()).unwrap()
    }

    fn handle_all(several: &mut Several, frames: &[Value]) {
        for value in frames {
            several.handled(&frame(value));
        }
    }

    #[test]
    fn a_listener_comes_back_to_each_handle_where_it_was() {
        let wanted = ["a", "b", "c"].map(|id| Wanted::subscription(id.to_owned(), id));
        let mut several = Several::new(wanted.into());
        let begin = several.messages(&Start::Since("2030".to_owned()));
        let begin: Value = serde_json::from_str(&begin[0]).unwrap();
        assert_eq!(begin["since"], "2030");
        assert_eq!(begin["items"].as_array().unwrap().len(), 3);
        handle_all(
            &mut several,
            &[
                json!({"type": "welcome", "cursor": "3"}),
                json!({"type": "connected", "handle": "a", "cursor": "3", "replaying": false}),
                json!({"type": "connected", "handle": "b", "cursor": "1", "replaying": true}),
                json!({"type": "event", "to": ["b"], "cursor": "2", "replay": true}),
                json!({"type": "event", "to": ["a"], "cursor": "5"}),
                json!({"type": "updated", "handle": "a", "cursor": "7", "more": true}),
            ],
        );
        let messages = several.messages(&Start::Unset);
        let messages: Vec<Value> = messages
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        let of = |message: &Value| {
            (
                message["after"].clone(),
                message["items"][0]["handle"].clone(),
            )
        };
        let of: Vec<_> = messages.iter().map(of).collect();
        assert_eq!(
            of,
            [
                (Value::Null, json!("c")),
                (json!("5"), json!("a")),
                (json!("2"), json!("b"))
            ]
        );
        let known = frame(&json!({"type": "event", "to": ["a", "b"], "cursor": "2"}));
        assert!(matches!(several.judge(&known), Judged::Known));
        let news = frame(&json!({"type": "event", "to": ["a", "b"], "cursor": "4"}));
        assert!(matches!(several.judge(&news), Judged::News));
    }

    #[test]
    fn a_listener_is_over_with_its_last_handle() {
        let wanted = ["a", "b"].map(|id| Wanted::filter(id.to_owned(), json!({})));
        let mut several = Several::new(wanted.into());
        let refused = |handle: &str, status: u16| {
            frame(&json!({"type": "refused", "handle": handle, "problem": {"status": status}}))
        };
        assert!(matches!(
            several.judge(&refused("a", 503)),
            Judged::Again(_)
        ));
        assert!(matches!(several.judge(&refused("a", 404)), Judged::News));
        assert!(!several.is_over());
        assert!(
            matches!(several.judge(&refused("b", 403)), Judged::AllRefused(problem) if problem.status == 403)
        );
        assert!(several.is_over());
    }
}
