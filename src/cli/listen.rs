//! `tidegate listen`: prints a subscription's events, and stays with it through cut connections.

mod cursor_file;
mod end;
mod printer;

use std::{future::pending, num::NonZeroU64, path::PathBuf};

use super::{
    failure::Failure,
    moment,
    server::{ServerArgs, path_id},
    signals, style,
};
use crate::client::{Frame, ListenError, Listener, Notice, Start};
use cursor_file::CursorFile;
use printer::Printer;

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
    let client = args.server.client()?;
    let (file, kept) = match &args.state {
        Some(path) => CursorFile::open(path, &args.id).map(|(file, kept)| (Some(file), kept))?,
        None => (None, None),
    };
    let start = match (kept.or(args.after), args.since) {
        (Some(cursor), _) => Start::After(cursor),
        (None, Some(since)) => Start::Since(moment::ago(&since)),
        (None, None) => Start::Unset,
    };
    let mut listener = Listener::new(client, args.id, start, args.ack);
    let mut output = Output {
        file,
        left: args.count.map(NonZeroU64::get),
        printer: Printer::new(args.json),
        acknowledges: args.ack,
    };
    let outcome = match stop.run_until_cancelled(output.run(&mut listener)).await {
        Some(outcome) => outcome,
        None => Ok(()),
    };
    if outcome.is_ok() && !listener.close().await {
        style::warn("the last events could not be acknowledged, and may come again");
    }
    // However it ends: what is printed is not to come again.
    outcome.and(output.save())
}

/// The handling of frames: print, count, keep the cursor.
struct Output {
    /// The file that keeps the cursor across runs, if there is one.
    file: Option<CursorFile>,
    /// The number of events that are still wanted; none where all are.
    left: Option<u64>,
    printer: Printer,
    /// True until it is clear that the service ignores acknowledgements.
    acknowledges: bool,
}

impl Output {
    /// Prints frames until there are enough.
    async fn run(&mut self, listener: &mut Listener) -> Result<(), Failure> {
        loop {
            match self.next(listener).await? {
                Ok(Notice::Frame(frame)) => {
                    self.printer.print(&frame)?;
                    // Only now: what the cursor covers is printed.
                    listener.handled(&frame);
                    self.handled(&frame);
                    if self.left == Some(0) {
                        return Ok(());
                    }
                }
                Ok(Notice::Unreadable) => {
                    style::warn("a message that cannot be read was skipped");
                }
                Ok(Notice::Retrying { reason, wait }) => {
                    self.save()?;
                    let wait = wait.as_secs_f64();
                    style::note(format!("{reason}; trying again in {wait:.1} s"));
                }
                Err(error) => return Err(end::failure(error)),
            }
        }
    }

    /// Waits for news, and writes the state file meanwhile where that is due.
    async fn next(
        &mut self,
        listener: &mut Listener,
    ) -> Result<Result<Notice, ListenError>, Failure> {
        let mut next = std::pin::pin!(listener.next());
        loop {
            tokio::select! {
                biased;
                () = save_due(self.file.as_ref()) => self.save()?,
                notice = &mut next => return Ok(notice),
            }
        }
    }

    fn handled(&mut self, frame: &Frame) {
        if self.acknowledges && is_not_durable(frame) {
            self.acknowledges = false;
            style::warn("the subscription is not durable: the service ignores --ack");
        }
        if let Some((file, cursor)) = self.file.as_mut().zip(frame.cursor()) {
            file.note(&cursor);
        }
        if frame.is_event() {
            self.left = self.left.map(|left| left - 1);
        }
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.file.as_mut().map_or(Ok(()), CursorFile::save)
    }
}

/// Whether a frame shows that the service ignores acknowledgements.
fn is_not_durable(frame: &Frame) -> bool {
    frame.kind() == "connected" && frame.field("subscription")["durable"] != true
}

/// Waits until the state file is to be written; for ever if it is not.
async fn save_due(file: Option<&CursorFile>) {
    match file {
        Some(file) => file.due().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_subscription_that_is_not_durable_shows_it_when_connected() {
        for (kind, durable, expected) in [
            ("connected", json!(true), false),
            ("connected", json!(false), true),
            ("connected", json!(null), true),
            ("event", json!(null), false),
        ] {
            let text = json!({"type": kind, "subscription": {"durable": durable}}).to_string();
            let frame = Frame::parse(text).unwrap();
            assert_eq!(is_not_durable(&frame), expected, "{}", frame.as_text());
        }
    }
}
