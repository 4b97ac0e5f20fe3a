//! A client of server-sent events that a test reads event by event.

use reqwest::{Response, header::CONTENT_TYPE};
use serde_json::Value;

use super::{
    DEADLINE, Service,
    described::{self, From, Talk},
};

/// An open answer.
pub(crate) struct Events {
    response: Response,
    buffer: String,
    talk: Talk,
}

/// One event, field by field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) retry: Option<u64>,
    pub(crate) data: Value,
}

impl Events {
    /// Opens a subscription's stream, with a query (`?after=…`) and perhaps `Last-Event-ID`.
    pub(crate) async fn open(service: &Service, id: &str, query: &str, last: Option<&str>) -> Self {
        let url = service.url(&format!("/subscriptions/{id}/events{query}"));
        let mut request = service.http.get(url).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        Self::of(response)
    }

    /// Reads an answer that is there already.
    pub(crate) fn of(response: Response) -> Self {
        let is_for_many = response.url().path().ends_with("/stream");
        Self {
            response,
            buffer: String::new(),
            talk: if is_for_many { Talk::Many } else { Talk::One },
        }
    }

    /// Asserts that a stream is refused for a while: it has one `ended` event with this reason and a time to come back.
    /// Returns the event.
    pub(crate) async fn refused(service: &Service, id: &str, last: &str, reason: &str) -> Event {
        let mut events = Self::open(service, id, "", Some(last)).await;
        let ended = events.assert_ends(reason).await;
        assert_eq!(ended.id, last, "the place stays");
        assert_eq!(ended.retry, ended.data["retryAfterMs"].as_u64());
        assert!(ended.retry.is_some_and(|retry| retry >= 1_000), "{ended:?}");
        ended
    }

    /// Opens a stream and reads its first event. Returns that event, `connected`, too.
    pub(crate) async fn connect(service: &Service, id: &str) -> (Self, Event) {
        let mut events = Self::open(service, id, "", None).await;
        let connected = events.block().await.unwrap();
        assert_eq!(connected.name, "connected", "{connected:?}");
        assert!(connected.retry.is_some(), "{connected:?}");
        assert_ne!(connected.id, "", "no event comes before the first id");
        (events, connected)
    }

    /// Waits for the next event with data. `None` when the answer has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        // Comments come for ever, and must not extend the deadline.
        let next = async {
            loop {
                let block = self.block().await?;
                if !block.data.is_null() {
                    return Some(block);
                }
            }
        };
        let next = tokio::time::timeout(DEADLINE, next);
        next.await.expect("more than comments in time")
    }

    /// Reads one sign of life: an empty comment, or an id without an event.
    pub(crate) async fn sign_of_life(&mut self) {
        let whole = |buffer: &str| {
            let end = if buffer.starts_with(':') {
                "\n"
            } else {
                "\n\n"
            };
            buffer.find(end).map(|at| at + end.len())
        };
        let read = async {
            loop {
                if let Some(end) = whole(&self.buffer) {
                    return self.buffer.drain(..end).collect::<String>();
                }
                let chunk = self.response.chunk().await.unwrap().unwrap();
                self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        let sign = tokio::time::timeout(DEADLINE, read).await;
        let sign = sign.expect("a sign of life in time");
        let is_id = sign.starts_with("id: ") && sign.trim_end().lines().count() == 1;
        assert!(sign == ":\n" || is_id, "{sign:?}");
    }

    /// Reads up to the next empty line. `None` when the answer has ended.
    pub(crate) async fn block(&mut self) -> Option<Event> {
        let block = tokio::time::timeout(DEADLINE, self.read_block());
        let block = block.await.expect("a block in time").unwrap();
        if block.is_none() {
            let rest = self.buffer.trim_start_matches(":\n");
            assert_eq!(rest, "", "the answer ends between events");
        }
        block
    }

    /// Reads a block like [`Events::block`], without a deadline. An error means that the answer broke off. A message has
    /// to be as described, and its event to be named like it.
    pub(crate) async fn read_block(&mut self) -> reqwest::Result<Option<Event>> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let event = Event::parse(block.trim_end());
                if !event.data.is_null() {
                    assert_eq!(event.data["type"], event.name, "{event:?}");
                    described::check(self.talk, From::Service, &event.data);
                }
                return Ok(Some(event));
            }
            let Some(chunk) = self.response.chunk().await? else {
                return Ok(None);
            };
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Asserts that the rest is one `ended` event with this reason, and then the end. Returns the event.
    pub(crate) async fn assert_ends(&mut self, reason: &str) -> Event {
        let ended = self.next().await.unwrap();
        assert_eq!(ended.name, "ended", "{ended:?}");
        assert_eq!(ended.data["reason"], reason, "{ended:?}");
        assert_eq!(self.next().await, None);
        ended
    }
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap();
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => {}
                "event" => value.clone_into(&mut event.name),
                "id" => value.clone_into(&mut event.id),
                "retry" => event.retry = Some(value.parse().unwrap()),
                "data" => event.data = serde_json::from_str(value).unwrap(),
                other => panic!("an unknown field: {other}"),
            }
        }
        event
    }
}
