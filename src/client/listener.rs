//! A subscription's frames, over any number of connections. The [module](super) has the states and the times.

use std::{future::ready, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    acks::Acks,
    backoff::Backoff,
    error::ClientError,
    frame::Frame,
    http::Client,
    several::{Judged, Several, Wanted},
    socket::{Received, Socket, Start},
};
use crate::{
    protocol::{Dialect, Ending},
    telemetry::Printable,
};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Life of a connection after which the next trouble is a new trouble.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// Of the codes that are not in the table, those below this one may be retried.
const FIRST_FINAL_CODE: u16 = 4_500;

/// A listener on one subscription, or on many. It reconnects, resumes and acknowledges.
pub(crate) struct Listener {
    client: Client,
    target: Target,
    /// The point at which the next connection begins: behind what was handled.
    start: Start,
    /// None where the caller does not acknowledge.
    acks: Option<Acks>,
    backoff: Backoff,
    /// True once a connection was opened.
    reached: bool,
    state: State,
}

/// The things that a listener listens to.
enum Target {
    One(String),
    Many(Several),
}

enum State {
    Connecting,
    Open(Box<Connection>),
    Waiting(Instant),
}

struct Connection {
    socket: Socket,
    opened: Instant,
    /// The reason in the frame `ended`, once that has come.
    ended: Option<String>,
    /// The wait that the frame `ended` asks for.
    retry_after: Option<Duration>,
}

/// News from a listener.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A frame. Once it is handled, the caller says so with [`Listener::handled`].
    Frame(Frame),
    /// A message that is no frame. It was skipped.
    Unreadable,
    /// There is no connection, for this reason. The next attempt follows after a wait.
    Retrying { reason: String, wait: Duration },
}

/// The reason why a listener cannot go on.
#[derive(Debug)]
pub(crate) enum ListenError {
    /// The service closed with a code that is final.
    Closed {
        code: u16,
        reason: String,
        /// True if the frame `ended` gave the same reason before.
        announced: bool,
    },
    /// The service refused for good, or was never reached.
    NotOpened(ClientError),
}

impl Listener {
    /// Makes a listener that begins at `start`. Nothing is opened before [`Listener::next`]. `acknowledge` is for
    /// durable subscriptions; on any other the service ignores it.
    pub(crate) fn new(
        client: Client,
        subscription: String,
        start: Start,
        acknowledge: bool,
    ) -> Self {
        Self::on(client, Target::One(subscription), start, acknowledge)
    }

    /// Makes a listener on all these, on one socket.
    pub(crate) fn on_many(
        client: Client,
        wanted: Vec<Wanted>,
        start: Start,
        acknowledge: bool,
    ) -> Self {
        let target = Target::Many(Several::new(wanted));
        Self::on(client, target, start, acknowledge)
    }

    fn on(client: Client, target: Target, start: Start, acknowledge: bool) -> Self {
        Self {
            client,
            target,
            start,
            acks: acknowledge.then(Acks::default),
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            reached: false,
            state: State::Connecting,
        }
    }

    /// Waits for news: connects where there is no connection, and acknowledges meanwhile. May be cancelled. Not to be
    /// called again after an error.
    pub(crate) async fn next(&mut self) -> Result<Notice, ListenError> {
        loop {
            if let Target::Many(several) = &self.target
                && several.is_over()
            {
                // Each was told.
                return Err(ListenError::Closed {
                    code: Ending::Deleted.code(),
                    reason: "nothing is left to listen to".to_owned(),
                    announced: false,
                });
            }
            match &mut self.state {
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Connecting;
                }
                State::Connecting => match self.open().await {
                    Ok(connection) => {
                        self.reached = true;
                        self.state = State::Open(Box::new(connection));
                    }
                    Err(error) => return self.not_opened(error),
                },
                State::Open(connection) => match connection.receive(self.acks.as_mut()).await {
                    Received::Alive => {}
                    Received::Text(text) => {
                        let notice = connection.read(text);
                        let judged = match (&mut self.target, &notice) {
                            (Target::Many(several), Notice::Frame(frame)) => several.judge(frame),
                            _ => Judged::News,
                        };
                        match judged {
                            Judged::News => return Ok(notice),
                            Judged::Known => {}
                            Judged::Again(reason) => {
                                let asked = connection.retry_after;
                                return Ok(self.lost(reason, asked));
                            }
                            Judged::AllRefused(problem) => {
                                let refused = ClientError::Refused(Box::new(problem));
                                return Err(ListenError::NotOpened(refused));
                            }
                        }
                    }
                    Received::Lost(reason) => {
                        return Ok(self.lost(format!("connection lost: {reason}"), None));
                    }
                    Received::Closed(code, text) => {
                        let reason = judge_close(code, &text, connection.ended.as_deref())?;
                        let asked = connection.retry_after;
                        return Ok(self.lost(reason, asked));
                    }
                },
            }
        }
    }

    /// Notes that a frame is handled: the next connection begins behind it, and it may be acknowledged.
    pub(crate) fn handled(&mut self, frame: &Frame) {
        if let Some(acks) = &mut self.acks {
            acks.handled(frame);
        }
        match (&mut self.target, frame.cursor()) {
            (Target::Many(several), _) => several.handled(frame),
            (Target::One(_), Some(cursor)) => self.start = Start::After(cursor),
            (Target::One(_), None) => {}
        }
        if frame.is_event() {
            self.backoff.reset();
        }
    }

    /// Presents another key or token from here on, to an open connection too. Its answer comes as a frame.
    pub(crate) async fn refresh(&mut self, token: SecretString) {
        let message = json!({"type": "refresh", "token": token.expose_secret()}).to_string();
        self.client = self.client.clone().with_token(Some(token));
        if let State::Open(connection) = &mut self.state {
            // A connection that is lost is found to be so by the next look at it.
            drop(connection.socket.send(message).await);
        }
    }

    /// Acknowledges everything that was handled, and closes. Returns whether everything is acknowledged.
    pub(crate) async fn close(mut self) -> bool {
        if let State::Open(connection) = self.state {
            let last = self.acks.as_ref().and_then(Acks::message);
            let heard = connection.socket.close(last).await;
            if let Some(acks) = self.acks.as_mut().filter(|_| heard) {
                acks.sent();
            }
        }
        !self.acks.as_ref().is_some_and(Acks::pending)
    }

    async fn open(&self) -> Result<Connection, ClientError> {
        let socket = match &self.target {
            Target::One(id) => {
                Socket::open(&self.client, id, &self.start, Dialect::Tidegate).await?
            }
            Target::Many(several) => {
                let mut socket = Socket::open_for_many(&self.client).await?;
                for message in several.messages(&self.start) {
                    // A socket that is lost already is found to be so by the next look at it.
                    drop(socket.send(message).await);
                }
                socket
            }
        };
        Ok(Connection {
            socket,
            opened: Instant::now(),
            ended: None,
            retry_after: None,
        })
    }

    fn not_opened(&mut self, error: ClientError) -> Result<Notice, ListenError> {
        let never_reached = matches!(error, ClientError::Unreachable { .. }) && !self.reached;
        if never_reached || !error.is_retryable() {
            return Err(ListenError::NotOpened(error));
        }
        Ok(self.wait(error.one_line(), error.retry_after()))
    }

    fn lost(&mut self, reason: String, asked: Option<Duration>) -> Notice {
        if let State::Open(connection) = &self.state
            && connection.opened.elapsed() >= GOOD_CONNECTION
        {
            self.backoff.reset();
        }
        if let Some(acks) = &mut self.acks {
            acks.disconnected();
        }
        self.wait(reason, asked)
    }

    fn wait(&mut self, reason: String, asked: Option<Duration>) -> Notice {
        let wait = self.backoff.next(asked);
        self.state = State::Waiting(Instant::now() + wait);
        Notice::Retrying { reason, wait }
    }
}

impl Connection {
    /// Waits for the next message. What is handled is acknowledged where nothing is there to read, or it is time.
    async fn receive(&mut self, acks: Option<&mut Acks>) -> Received {
        let Some(acks) = acks else {
            return self.socket.next().await;
        };
        loop {
            tokio::select! {
                biased;
                () = ready(()), if acks.due() => {}
                received = self.socket.next() => return received,
                () = ready(()), if acks.pending() => {}
            }
            if let Some(message) = acks.message() {
                if let Err(reason) = self.socket.send(message).await {
                    return Received::Lost(reason);
                }
                acks.sent();
            }
        }
    }

    fn read(&mut self, text: String) -> Notice {
        let Some(frame) = Frame::parse(text) else {
            return Notice::Unreadable;
        };
        self.retry_after = frame.retry_after().or(self.retry_after);
        if frame.kind() == "ended" && frame.text("handle").is_empty() {
            self.ended = Some(frame.text("reason").to_owned());
        }
        Notice::Frame(frame)
    }
}

/// Judges a close. Returns its reason where the connection may be opened again. `ended` is the reason in the frame
/// `ended`, if that came before.
fn judge_close(code: u16, text: &str, ended: Option<&str>) -> Result<String, ListenError> {
    let ending = Ending::from_code(code);
    let (name, retry) = match ending {
        Some(ending) => (ending.token(), ending.retry()),
        None => (text, code < FIRST_FINAL_CODE),
    };
    let reason = match name {
        "" => format!("closed with code {code}"),
        name => format!("closed: {} ({code})", Printable(name)),
    };
    if retry {
        return Ok(reason);
    }
    Err(ListenError::Closed {
        code,
        reason,
        announced: ending.is_some() && ended == Some(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks whether a close with this code is final.
    fn check(code: u16, expected: bool) {
        assert_eq!(judge_close(code, "", None).is_err(), expected, "{code}");
    }

    #[test]
    fn a_close_is_final_or_not_by_its_code() {
        for code in [1001, 1006, 1011, 1013, 4000, 4001, 4002, 4499] {
            check(code, false);
        }
        for code in [4500, 4501, 4510, 4511, 4520, 4999, 1000, 1002] {
            check(code, true);
        }
    }

    #[test]
    fn a_final_close_knows_whether_it_was_announced() {
        for (ended, expected) in [
            (Some("deleted"), true),
            (None, false),
            (Some("expired"), false),
        ] {
            let Err(ListenError::Closed {
                reason, announced, ..
            }) = judge_close(4500, "", ended)
            else {
                panic!("not final");
            };
            assert_eq!((&*reason, announced), ("closed: deleted (4500)", expected));
        }
    }
}
