//! `tidegate listen`: prints a subscription's events, and stays with it through cut connections.

mod acks;
mod end;
mod frame;
mod printer;
mod socket;
mod state;

use std::{
    future::{pending, ready},
    num::NonZeroU64,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    client::{Client, ClientError, ServerArgs, path_id},
    failure::Failure,
    moment, signals, style,
};
use acks::Acks;
use end::{End, closed, not_opened};
use frame::Frame;
use printer::Printer;
use socket::{Received, Socket};
use state::State;

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A connection that lived this long was a good one: the next trouble is a new trouble.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// What to listen to.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    #[arg(value_parser = path_id)]
    id: String,
    /// Begin after this cursor, with what has happened since
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Begin at a time (2030-01-31T12:00:00Z), or a span ago (10m, 2h30m)
    #[arg(long, value_name = "WHEN", conflicts_with = "after")]
    since: Option<String>,
    /// Keep the last cursor in this file, and go on from there the next time
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Acknowledge what was printed: the service keeps the place (durable subscriptions)
    #[arg(long)]
    ack: bool,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// Print every frame as the service sent it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate listen large
  tidegate listen large --since 10m | jq .data
  tidegate listen large --count 1 --json
  tidegate listen large --state large.cursor >> large.jsonl
  tidegate listen large --ack >> large.jsonl

In a terminal each event is a line for people; into a file or a pipe it is a line of JSON. With
--json it is every frame: connected, event, updated, gap, ended. What happens to the connection
is said on standard error. A connection that breaks is opened again, and goes on after the last
event that was printed; with --state, so does the next run. --after and --since count where
the file is not there yet.

With --ack, events are acknowledged once they are printed, and the next run with nothing that says
where to begin goes on behind them. That is for durable subscriptions; on any other the service
ignores it.

Exit codes: 0 on Ctrl-C, or when --count is reached; 3 where there is no such subscription, or not
any more; 4 where the credential does not allow it, or not any more; 1 for anything else.";

/// Listens until it is told to stop, or there is nothing more to come.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let stop = signals::stop_token()?;
    let client = Client::new(&args.server)?;
    let (state, kept) = match &args.state {
        Some(path) => State::open(path, &args.id).map(|(state, kept)| (Some(state), kept))?,
        None => (None, None),
    };
    let mut listener = Listener {
        client,
        cursor: kept.or(args.after),
        since: args.since.as_deref().map(moment::ago),
        state,
        acks: args.ack.then(Acks::default),
        left: args.count.map(NonZeroU64::get),
        printer: Printer::new(args.json),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        connected: false,
        id: args.id,
    };
    let outcome = listener.run(&stop).await;
    if outcome.is_ok() && listener.acks.as_ref().is_some_and(Acks::waiting) {
        style::warn("the last events could not be acknowledged, and may come again");
    }
    // However it ends: what is printed is not to come again.
    outcome.and(listener.save())
}

struct Listener {
    client: Client,
    id: String,
    /// Up to where all is printed.
    cursor: Option<String>,
    since: Option<String>,
    /// Where the cursor is kept across runs, if it is.
    state: Option<State>,
    /// What is to be acknowledged, if anything is.
    acks: Option<Acks>,
    /// How many events are still wanted, if not all.
    left: Option<u64>,
    printer: Printer,
    backoff: Backoff,
    /// Whether there was a connection already.
    connected: bool,
}

impl Listener {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        loop {
            let Some(end) = stop.run_until_cancelled(self.open()).await else {
                return Ok(());
            };
            let end = match end {
                Ok(socket) => self.attend(socket, stop).await?,
                Err(error) => not_opened(error, self.connected),
            };
            match end {
                End::Enough => return Ok(()),
                End::Over(failure) => return Err(failure),
                End::Again(reason, asked) => {
                    let wait = self.backoff.next(asked);
                    style::note(format!(
                        "{reason}; trying again in {:.1} s",
                        wait.as_secs_f64()
                    ));
                    if stop
                        .run_until_cancelled(tokio::time::sleep(wait))
                        .await
                        .is_none()
                    {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Where to begin: after what was printed, else where the caller said.
    fn query(&self) -> Vec<(&'static str, String)> {
        match (&self.cursor, &self.since) {
            (Some(cursor), _) => vec![("after", cursor.clone())],
            (None, Some(since)) => vec![("since", since.clone())],
            (None, None) => Vec::new(),
        }
    }

    async fn open(&self) -> Result<Socket, ClientError> {
        Socket::open(&self.client, &self.id, &self.query()).await
    }

    async fn attend(
        &mut self,
        mut socket: Socket,
        stop: &CancellationToken,
    ) -> Result<End, Failure> {
        let opened = Instant::now();
        self.connected = true;
        let end = match stop.run_until_cancelled(self.read(&mut socket)).await {
            Some(end) => end?,
            None => End::Enough,
        };
        if opened.elapsed() >= GOOD_CONNECTION {
            self.backoff.reset();
        }
        if matches!(end, End::Enough) {
            let last = self.acks.as_ref().and_then(Acks::message);
            if socket.close(last).await
                && let Some(acks) = &mut self.acks
            {
                acks.sent();
            }
        } else if let Some(acks) = &mut self.acks {
            acks.cut();
        }
        self.save()?;
        Ok(end)
    }

    async fn read(&mut self, socket: &mut Socket) -> Result<End, Failure> {
        let mut retry_after = None;
        let mut ended = String::new();
        loop {
            let text = match self.next(socket).await? {
                Received::Text(text) => text,
                Received::Lost(reason) => {
                    return Ok(End::Again(format!("connection lost: {reason}"), None));
                }
                Received::Closed(code, text) => {
                    return Ok(closed(code, &text, retry_after).once_told(&ended, code));
                }
            };
            let Some(frame) = Frame::parse(&text) else {
                style::warn("a message that cannot be read was skipped");
                continue;
            };
            self.printer.print(&frame, &text)?;
            // Only now: what the cursor covers is printed.
            self.advance(&frame);
            retry_after = frame.retry_after().or(retry_after);
            if frame.kind() == "ended" {
                frame.text("reason").clone_into(&mut ended);
            }
            if frame.is_event() && self.count_event() {
                return Ok(End::Enough);
            }
        }
    }

    /// The next message. What the state file has to hold is written meanwhile, and what is printed is
    /// acknowledged where nothing is there to be read, or it is time.
    async fn next(&mut self, socket: &mut Socket) -> Result<Received, Failure> {
        loop {
            let due = self.acks.as_ref().is_some_and(Acks::due);
            let waiting = self.acks.as_ref().is_some_and(Acks::waiting);
            tokio::select! {
                biased;
                () = save_due(self.state.as_ref()) => {
                    self.save()?;
                    continue;
                }
                () = ready(()), if due => {}
                received = socket.next() => return Ok(received),
                () = ready(()), if waiting => {}
            }
            if let Err(reason) = self.acknowledge(socket).await {
                return Ok(Received::Lost(reason));
            }
        }
    }

    /// Acknowledges what is printed; the error says why the connection is lost.
    async fn acknowledge(&mut self, socket: &mut Socket) -> Result<(), String> {
        if let Some(acks) = &mut self.acks
            && let Some(message) = acks.message()
        {
            socket.say(message).await?;
            acks.sent();
        }
        Ok(())
    }

    fn advance(&mut self, frame: &Frame) {
        if let Some(acks) = &mut self.acks {
            if acks.are_in_vain(frame) {
                style::warn("the subscription is not durable: the service ignores --ack");
            }
            acks.printed(frame);
        }
        let Some(cursor) = frame.cursor() else { return };
        if let Some(state) = &mut self.state {
            state.note(&cursor);
        }
        self.cursor = Some(cursor);
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.state.as_mut().map_or(Ok(()), State::save)
    }

    /// Whether this event was the last one wanted.
    fn count_event(&mut self) -> bool {
        self.backoff.reset();
        self.left = self.left.map(|left| left - 1);
        self.left == Some(0)
    }
}

/// Waits until the state file is to be written; for ever if it is not.
async fn save_due(state: Option<&State>) {
    match state {
        Some(state) => state.due().await,
        None => pending().await,
    }
}
