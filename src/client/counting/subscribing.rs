//! The subscribing of handles on a socket for many, no faster than the service takes them.

use std::{collections::VecDeque, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    frames::Frames,
    receiver::{PING, TEXT, pong},
    socket::write_text,
};

/// Time for the service to answer what was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause behind a part, where the service takes so many in a second.
const PAUSE: Duration = Duration::from_secs(1);

/// The bounds of a socket, as its `welcome` tells them.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    handles: usize,
    items: usize,
    subscribes_per_second: usize,
}

/// A message of the service, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    handle: Option<String>,
    retry_after_ms: Option<u64>,
    limits: Option<Limits>,
    problem: Option<Value>,
}

/// The subscribing of a socket.
struct Subscribing<'a> {
    stream: &'a mut TcpStream,
    frames: Frames,
    limits: Option<Limits>,
    /// The items that are asked for and not answered.
    asked: Vec<Value>,
    /// Those that are still to be asked for.
    due: VecDeque<Value>,
    /// True once the service has said that this is too fast.
    is_slowed: bool,
    refused: Option<String>,
}

/// Subscribes each of these items, which have a `handle`, on a socket that was just opened. As many are asked for at once
/// as the service takes; those that come too fast are asked for again. `first` has the bytes that came so far, and gets
/// what comes meanwhile.
pub async fn subscribe(
    stream: &mut TcpStream,
    first: &mut Vec<u8>,
    items: Vec<Value>,
) -> Result<(), String> {
    let mut subscribing = Subscribing {
        stream,
        frames: Frames::default(),
        limits: None,
        asked: Vec::new(),
        due: items.into(),
        is_slowed: false,
        refused: None,
    };
    let mut answers = Vec::new();
    subscribing.take(first, &mut answers)?;
    while subscribing.limits.is_none() {
        subscribing.hear(first).await?;
    }
    while let Some(limits) = subscribing.limits.filter(|_| !subscribing.due.is_empty()) {
        subscribing.ask(limits).await?;
        while !subscribing.asked.is_empty() {
            subscribing.hear(first).await?;
        }
        if subscribing.is_slowed && !subscribing.due.is_empty() {
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

impl Subscribing<'_> {
    /// Asks for the next part.
    async fn ask(&mut self, limits: Limits) -> Result<(), String> {
        let due = self.due.len();
        if due > limits.handles {
            let most = limits.handles;
            return Err(format!(
                "a socket of this service may have {most} handles (socket.handles)"
            ));
        }
        let most = if self.is_slowed {
            limits.items.min(limits.subscribes_per_second)
        } else {
            limits.items
        };
        self.asked = self.due.drain(..due.min(most.max(1))).collect();
        let message = json!({"type": "subscribe", "items": self.asked});
        let mut frame = Vec::new();
        write_text(&message.to_string(), &mut frame);
        let written = self.stream.write_all(&frame).await;
        written.map_err(|error| error.to_string())
    }

    /// Waits for more bytes.
    async fn hear(&mut self, first: &mut Vec<u8>) -> Result<(), String> {
        let had = first.len();
        let read = timeout(ANSWER_TIMEOUT, self.stream.read_buf(first)).await;
        let read = read.map_err(|_| "a subscribe was not answered in time")?;
        if read.map_err(|error| error.to_string())? == 0 {
            return Err("closed while it subscribed".to_owned());
        }
        let mut answers = Vec::new();
        self.take(&first[had..], &mut answers)?;
        let written = self.stream.write_all(&answers).await;
        written.map_err(|error| error.to_string())
    }

    fn take(&mut self, bytes: &[u8], answers: &mut Vec<u8>) -> Result<(), String> {
        let mut frames = std::mem::take(&mut self.frames);
        let fed = frames.feed(bytes, |frame| match frame.opcode {
            TEXT if !super::receiver::is_event(frame.payload) => self.answered(frame.payload),
            PING => pong(frame.payload, answers),
            _ => {}
        });
        self.frames = frames;
        fed.map_err(|error| error.to_string())?;
        self.refused.take().map_or(Ok(()), Err)
    }

    fn answered(&mut self, payload: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<Answer>(payload) else {
            return;
        };
        self.limits = self.limits.or(answer.limits);
        let is_refused = answer.kind == "refused";
        if !is_refused && answer.kind != "connected" {
            return;
        }
        let is_it = |item: &Value| item["handle"].as_str() == answer.handle.as_deref();
        let Some(at) = self.asked.iter().position(is_it) else {
            return;
        };
        let item = self.asked.swap_remove(at);
        if is_refused && answer.retry_after_ms.is_some() {
            self.is_slowed = true;
            self.due.push_back(item);
        } else if is_refused {
            let problem = answer.problem.unwrap_or_default();
            self.refused = Some(format!("a handle was refused: {}", problem["detail"]));
        }
    }
}
