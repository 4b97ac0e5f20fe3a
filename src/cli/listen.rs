//! `tidegate listen`: prints the events of subscriptions, and resumes after a lost connection.

mod cursor_file;
mod exit_code;
mod printer;

use std::{future::pending, num::NonZeroU64, path::PathBuf};

use super::{
    failure::Failure,
    server::{ServerArgs, path_id},
    signals, style, time_argument,
};
use crate::{
    client::{Frame, ListenError, Listener, Notice, Start, Wanted},
    protocol::usable_handle,
};
use cursor_file::CursorFile;
use printer::Printer;

/// The subscriptions to listen to, or a filter.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscriptions; several come over one socket
    #[arg(value_name = "ID", value_parser = path_id, required_unless_present = "filter")]
    ids: Vec<String>,
    /// Listen with a filter (JSON) that needs no subscription
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Start after this cursor, with the events since then
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Start at a time (2030-01-31T12:00:00Z), or a span ago (10m, 2h30m)
    #[arg(long, value_name = "WHEN", conflicts_with = "after")]
    since: Option<String>,
    /// Keep the last cursor in this file, and resume from it next time
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Acknowledge what was printed: the service keeps the position (durable subscriptions)
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
  tidegate listen large small
  tidegate listen --filter '{\"type\": \"transfer\"}'

A terminal shows each event as a line for people; a file or a pipe gets a line of JSON. With
--json every frame is printed: connected, event, updated, gap, at, ended, and those about the end of
the credential: expiring, refreshed, refused. Standard error tells what
happens to the connection. A broken connection is reopened and resumes after the last printed
event; with --state, so does the next run. If that file exists, it wins over --after and --since.

With --ack, events are acknowledged once they are printed, and the next run resumes after them
unless told where to start. This is for durable subscriptions; on any other the service ignores it.

Exit codes: 0 on Ctrl-C, or when --count is reached; 3 if the subscription does not exist, or no
longer does; 4 if the credential does not allow it, or no longer does; 1 for anything else.";

/// Listens until it is told to stop, or there is nothing more to come.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let stop = signals::stop_token()?;
    let client = args.server.client()?;
    let one = match (args.ids.as_slice(), &args.filter) {
        ([id], None) => Some(id.clone()),
        _ => None,
    };
    let (file, kept) = match (&args.state, &one) {
        (Some(_), None) => {
            let reason = "--state is for one subscription: several stand at cursors of their own";
            return Err(Failure::Usage(reason.to_owned()));
        }
        (Some(path), Some(id)) => {
            CursorFile::open(path, id).map(|(file, kept)| (Some(file), kept))?
        }
        (None, _) => (None, None),
    };
    let start = match (kept.or(args.after), args.since) {
        (Some(cursor), _) => Start::After(cursor),
        (None, Some(since)) => Start::Since(time_argument::ago(&since)),
        (None, None) => Start::Unset,
    };
    let mut listener = if let Some(id) = one {
        Listener::new(client, id, start, args.ack)
    } else {
        let wanted = wanted(&args.ids, args.filter.as_deref())?;
        Listener::on_many(client, wanted, start, args.ack)
    };
    let mut output = Output {
        file,
        left: args.count.map(NonZeroU64::get),
        printer: Printer::new(args.json),
        acknowledges: args.ack,
        server: args.server,
    };
    let outcome = match stop.run_until_cancelled(output.run(&mut listener)).await {
        Some(outcome) => outcome,
        None => Ok(()),
    };
    if outcome.is_ok() && !listener.close().await {
        style::warn("the last events could not be acknowledged, and may come again");
    }
    // However it ends, what was printed must not come again.
    outcome.and(output.save())
}

/// Returns what to listen to on one socket.
fn wanted(ids: &[String], filter: Option<&str>) -> Result<Vec<Wanted>, Failure> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        if ids[..index].contains(id) {
            continue;
        }
        // Ids may have characters that handles have not.
        let handle = if usable_handle(id) {
            id.clone()
        } else {
            format!("subscription:{}", index + 1)
        };
        wanted.push(Wanted::subscription(handle, id));
    }
    if let Some(text) = filter {
        let filter = serde_json::from_str(text);
        let filter =
            filter.map_err(|error| Failure::Usage(format!("--filter is not JSON: {error}")))?;
        wanted.push(Wanted::filter("filter".to_owned(), filter));
    }
    Ok(wanted)
}

/// The handling of frames: print, count, keep the cursor.
struct Output {
    /// The file that keeps the cursor across runs, if there is one.
    file: Option<CursorFile>,
    /// The number of events that are still wanted; `None` means all.
    left: Option<u64>,
    printer: Printer,
    /// True until it is clear that the service ignores acknowledgements.
    acknowledges: bool,
    /// Knows where a new key or token is.
    server: ServerArgs,
}

impl Output {
    /// Prints frames until there are enough.
    async fn run(&mut self, listener: &mut Listener) -> Result<(), Failure> {
        loop {
            match self.next(listener).await? {
                Ok(Notice::Frame(frame)) => {
                    self.printer.print(&frame)?;
                    // Only now, because the cursor says that everything before it was printed.
                    listener.handled(&frame);
                    self.handled(&frame);
                    if frame.kind() == "expiring" {
                        self.refresh(listener).await;
                    }
                    if self.left == Some(0) {
                        return Ok(());
                    }
                }
                Ok(Notice::Unreadable) => {
                    style::warn("skipped a message that cannot be read");
                }
                Ok(Notice::Retrying { reason, wait }) => {
                    self.save()?;
                    let wait = wait.as_secs_f64();
                    style::note(format!("{reason}; trying again in {wait:.1} s"));
                }
                Err(error) => return Err(exit_code::failure(error)),
            }
        }
    }

    /// Waits for news, and writes the state file meanwhile when that is due.
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

    /// Presents what the file with the key or token holds now.
    async fn refresh(&self, listener: &mut Listener) {
        match self.server.token_in_file() {
            Ok(Some(token)) => listener.refresh(token).await,
            Ok(None) => {}
            Err(failure) => style::warn(format!("no new key or token: {failure}")),
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

/// Waits until the state file is due to be written; for ever if it is not.
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
