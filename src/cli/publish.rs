//! `tidegate publish`: one event from arguments, or many from JSON lines.

mod batches;
mod lines;
mod outcome;
mod progress;

use std::{path::Path, time::Duration};

use serde_json::{Map, Value};
use tokio::io::{AsyncBufRead, BufReader};

use super::{
    failure::Failure,
    json_argument,
    server::{ServerArgs, warn_if_not_applied},
    style,
};
use crate::client::{Client, ClientError};
use batches::{Batch, Batches};
use lines::Lines;
use outcome::Outcome;
use progress::Progress;

/// The events to publish.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A file with one event per line, as JSON; - is standard input
    #[arg(
        value_name = "FILE",
        required_unless_present = "type",
        conflicts_with_all = ["type", "source", "id", "subject", "time", "data"]
    )]
    file: Option<String>,
    /// Events per request
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Retries of a request while the service is unreachable or overloaded
    #[arg(long, value_name = "N", default_value_t = 6)]
    retries: u32,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    event: Event,
}

/// One event. The service fills in what is left out.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "One event")]
struct Event {
    /// The kind of event, for example transfer
    #[arg(long, value_name = "TEXT")]
    r#type: Option<String>,
    /// The system it happened in
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// An id, unique within the source; a second event with both is a duplicate
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
    /// The thing it is about
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// The time it happened, for example 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// The content: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  tidegate publish --type transfer --source /bank --data '{\"amount\": 1500}'
  tidegate publish events.jsonl
  mongoexport … | tidegate publish - --server https://events.example.com

A line that is refused is reported by its number, and the others are published. A request that is
retried is stored once. Exit code 1 if any event was refused.";

/// Publishes all events in order, one request at a time.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let (input, bytes) = open(&args).await?;
    let mut batches = Batches::new(Lines::new(input), usize::from(args.batch));
    let progress = Progress::new(bytes, args.file.is_some());
    let sender = Sender {
        client,
        retries: args.retries,
        progress: progress.clone(),
    };
    let mut outcome = Outcome::new(args.file.is_some(), progress);
    let published = publish(&mut batches, &sender, &mut outcome).await;
    outcome.print(args.json)?;
    published?;
    outcome.verdict()
}

/// The way to the service.
struct Sender {
    client: Client,
    retries: u32,
    progress: Progress,
}

impl Sender {
    async fn send(&self, body: Vec<u8>) -> Result<Value, ClientError> {
        let retrying = |error: &ClientError, wait: Duration| {
            let (reason, wait) = (error.one_line(), wait.as_secs_f64());
            let text = format!("{reason}; trying again in {wait:.1} s");
            self.progress.suspended(|| style::note(text));
        };
        let sending = self.client.publish(body.into(), self.retries, retrying);
        let answer = sending.await?;
        warn_if_not_applied(&answer);
        Ok(answer.body)
    }
}

async fn publish(
    batches: &mut Batches,
    sender: &Sender,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    while let Some(batch) = batches.next().await? {
        outcome.add_unreadable(&batch);
        if !batch.is_empty() {
            send(&batch, sender, outcome).await?;
        }
        outcome.show_progress(&batch);
    }
    Ok(())
}

async fn send(batch: &Batch, sender: &Sender, outcome: &mut Outcome) -> Result<(), Failure> {
    match sender.send(batch.body()).await {
        Ok(answer) => {
            outcome.add_answer(batch, &answer);
            Ok(())
        }
        Err(error) => outcome.add_refusal(batch, error),
    }
}

/// Opens the lines to publish. Returns their bytes too, where that is known.
async fn open(args: &Args) -> Result<(Box<dyn AsyncBufRead + Send + Unpin>, Option<u64>), Failure> {
    match args.file.as_deref() {
        None => {
            let event = args.event.to_json()?.to_string().into_bytes();
            Ok((Box::new(std::io::Cursor::new(event)), None))
        }
        Some("-") => Ok((Box::new(BufReader::new(tokio::io::stdin())), None)),
        Some(path) => open_file(Path::new(path))
            .await
            .map_err(|error| Failure::Failed(format!("{path}: {error}"))),
    }
}

async fn open_file(
    path: &Path,
) -> std::io::Result<(Box<dyn AsyncBufRead + Send + Unpin>, Option<u64>)> {
    let file = tokio::fs::File::open(path).await?;
    let metadata = file.metadata().await?;
    if metadata.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(64 << 10, file)), bytes))
}

impl Event {
    fn to_json(&self) -> Result<Value, Failure> {
        let mut event = Map::new();
        for (name, value) in [
            ("type", &self.r#type),
            ("source", &self.source),
            ("id", &self.id),
            ("subject", &self.subject),
            ("time", &self.time),
        ] {
            if let Some(value) = value {
                event.insert(name.to_owned(), value.clone().into());
            }
        }
        if let Some(data) = &self.data {
            event.insert("data".to_owned(), json_argument::parse("--data", data)?);
        }
        Ok(event.into())
    }
}
