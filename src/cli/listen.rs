//! `tidegate listen`: prints a subscription's events, and stays with it through cut connections.

mod frame;
mod printer;
mod socket;

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    client::{Client, ClientError, ServerArgs, path_id},
    failure::Failure,
    signals, style,
};
use crate::protocol::Ending;
use frame::Frame;
use printer::Printer;
use socket::{Received, Socket};

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
    /// Begin at this time, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    since: Option<String>,
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
  tidegate listen large | jq .data
  tidegate listen large --count 1 --json

In a terminal each event is a line for people; into a file or a pipe it is a line of JSON. With
--json it is every frame: connected, event, updated, gap, ended. What happens to the connection
is said on standard error. A connection that breaks is opened again, and goes on after the last
event that was printed. Ends with 0 on Ctrl-C, and with 1 when the subscription is gone.";

/// Listens until it is told to stop, or there is nothing more to come.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let stop = signals::stop_token()?;
    let client = Client::new(&args.server)?;
    let listener = Listener {
        client,
        cursor: args.after,
        since: args.since,
        left: args.count.map(NonZeroU64::get),
        printer: Printer::new(args.json),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        connected: false,
        id: args.id,
    };
    listener.run(&stop).await
}

struct Listener {
    client: Client,
    id: String,
    /// Up to where all is printed.
    cursor: Option<String>,
    since: Option<String>,
    /// How many events are still wanted, if not all.
    left: Option<u64>,
    printer: Printer,
    backoff: Backoff,
    /// Whether there was a connection already. If not, an address that nobody answers on is likely
    /// to be wrong, and better said than tried again.
    connected: bool,
}

/// Why one connection is over.
enum End {
    /// As many events came as were wanted.
    Enough,
    /// It can be tried again, not before the given time.
    Again(String, Option<Duration>),
    /// There is nothing more to come.
    Over(String),
}

impl Listener {
    async fn run(mut self, stop: &CancellationToken) -> Result<(), Failure> {
        loop {
            let Some(end) = stop.run_until_cancelled(self.open()).await else {
                return Ok(());
            };
            let end = match end {
                Ok(socket) => self.attend(socket, stop).await?,
                Err(error) => self.not_opened(error)?,
            };
            match end {
                End::Enough => return Ok(()),
                End::Over(reason) => return Err(Failure::Failed(reason)),
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

    fn not_opened(&self, error: ClientError) -> Result<End, Failure> {
        let nobody_there = matches!(error, ClientError::Unreachable { .. }) && !self.connected;
        if nobody_there || !error.is_retryable() {
            return Err(error.into());
        }
        let reason = match &error {
            ClientError::Refused(problem) => problem.one_line(),
            error => error.to_string(),
        };
        Ok(End::Again(reason, error.retry_after()))
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
            socket.close().await;
        }
        Ok(end)
    }

    async fn read(&mut self, socket: &mut Socket) -> Result<End, Failure> {
        let mut retry_after = None;
        loop {
            let text = match socket.next().await {
                Received::Text(text) => text,
                Received::Lost(reason) => {
                    return Ok(End::Again(format!("connection lost: {reason}"), None));
                }
                Received::Closed(code, text) => return Ok(closed(code, &text, retry_after)),
            };
            let Some(frame) = Frame::parse(&text) else {
                style::warn("a message that cannot be read was skipped");
                continue;
            };
            self.printer.print(&frame, &text)?;
            // Only now: what the cursor covers is printed.
            self.cursor = frame.cursor().or(self.cursor.take());
            retry_after = frame.retry_after().or(retry_after);
            if frame.is_event() && self.count_event() {
                return Ok(End::Enough);
            }
        }
    }

    /// Whether this event was the last one wanted.
    fn count_event(&mut self) -> bool {
        self.backoff.reset();
        self.left = self.left.map(|left| left - 1);
        self.left == Some(0)
    }
}

/// Codes from 4000 to 4499 can be tried again, those from 4500 cannot; the others are in the table.
fn closed(code: u16, text: &str, retry_after: Option<Duration>) -> End {
    let (name, retry) = match Ending::from_code(code) {
        Some(ending) => (ending.token(), ending.retry()),
        None => (text, code < 4500),
    };
    let reason = match name {
        "" => format!("closed with code {code}"),
        name => format!("closed: {} ({code})", style::printable(name)),
    };
    if retry {
        End::Again(reason, retry_after)
    } else {
        End::Over(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_final_or_not_by_its_code() {
        for (code, again) in [(1001, true), (1006, true), (4000, true), (4499, true)]
            .into_iter()
            .chain([
                (4500, false),
                (4501, false),
                (4999, false),
                (1000, false),
                (1002, false),
            ])
        {
            let end = closed(code, "", None);
            assert_eq!(matches!(end, End::Again(..)), again, "{code}");
        }
        let End::Over(reason) = closed(4500, "deleted", None) else {
            panic!("not over");
        };
        assert_eq!(reason, "closed: deleted (4500)");
    }
}
