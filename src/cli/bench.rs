//! `tidegate bench`: puts load on a running service and measures it, from outside.

mod plan;
mod publisher;
mod report;
mod sockets;
mod status_line;
mod subscriptions;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use mongodb::options::ClientOptions;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    plan::{Plan, Rate},
    publisher::{Published, Target},
    report::Report,
    sockets::Sockets,
    status_line::StatusLine,
    subscriptions::Subscriptions,
};
use super::{failure::Failure, server::ServerArgs, signals};
use crate::{
    client::{Client, counting::now_micros},
    store::EVENTS,
};

/// The load to put on the service.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Sockets to open, spread over the subscriptions
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Subscriptions to create; they are deleted at the end
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    subscriptions: u32,
    /// Open sockets for many subscriptions, with this many handles each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    handles: Option<u32>,
    /// The share of the subscriptions that an event matches, from 0 to 1
    #[arg(long = "match", value_name = "SHARE", default_value = "1", value_parser = plan::share)]
    share: f64,
    /// Events per second, or max
    #[arg(long, value_name = "N", default_value = "100", value_parser = plan::rate)]
    rate: Rate,
    /// Size of an event's data in bytes, as JSON
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    payload: u32,
    /// Time to publish
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Events per request [default: as many as make 100 requests a second, and 500 with max]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: Option<u16>,
    /// Requests in flight at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    publishers: u16,
    /// Sockets that open at once
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    opening: u16,
    /// Insert events straight into the service's MongoDB instead of POST /events
    #[arg(long, value_name = "URI")]
    mongodb_uri: Option<String>,
    /// The service's database there
    #[arg(
        long,
        value_name = "NAME",
        default_value = "tidegate",
        requires = "mongodb_uri"
    )]
    database: String,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate bench
  tidegate bench --connections 1000 --rate max --duration 30s
  tidegate bench --connections 5000 --subscriptions 5000 --match 0.0002 --rate 2000
  tidegate bench --connections 1000 --subscriptions 1000 --handles 100 --match 0.001

The events stay in the database for the retention time. Subscriptions named bench-… are deleted at
the end, also after Ctrl-C; those of a killed run expire an hour after its end.";

/// The silence after which missing messages are given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks at the counters.
const LOOK: Duration = Duration::from_millis(20);

/// Measures, and cleans up however that went.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let plan = Arc::new(Plan::new(&args)?);
    let client = args.server.client()?;
    if client.uses_tls() {
        let text = "bench does not speak TLS; give it the address of the node itself";
        return Err(Failure::Usage(text.to_owned()));
    }
    let target = target(&args, &client).await?;
    let stop = signals::stop_token()?;
    let status = StatusLine::new();
    let mut subscriptions = Subscriptions::new(client.clone());
    let mut sockets = Sockets::new();
    let measured = async {
        subscriptions.create(&plan, &stop, &status).await?;
        let ids = &subscriptions.ids;
        sockets.open(&plan, &client, ids, &stop, &status).await;
        Ok(measure(&plan, &target, &mut sockets, &stop, &status).await)
    };
    let measured: Result<Report, Failure> = measured.await;
    sockets.close().await;
    let deleted = subscriptions.delete(&status).await;
    status.finish();
    let mut report = measured?;
    if stop.is_cancelled() {
        report.add_shortfall("the run was interrupted".to_owned());
    }
    if let Err(reason) = deleted {
        report.add_shortfall(reason);
    }
    report.print(&plan, args.json)
}

async fn target(args: &Args, client: &Client) -> Result<Target, Failure> {
    let Some(uri) = &args.mongodb_uri else {
        return Ok(Target::Service(client.clone()));
    };
    let refused = |error| Failure::Usage(format!("--mongodb-uri: {error}"));
    let options = ClientOptions::parse(uri).await.map_err(refused)?;
    let database = mongodb::Client::with_options(options).map_err(refused)?;
    let database = database.database(&args.database);
    Ok(Target::Database(database.collection(EVENTS)))
}

/// Publishes, waits for the expected messages, and counts.
async fn measure(
    plan: &Arc<Plan>,
    target: &Target,
    sockets: &mut Sockets,
    stop: &CancellationToken,
    status: &StatusLine,
) -> Report {
    let published = Arc::new(Published::default());
    let (began, clock) = (now_micros(), Instant::now());
    let mut publishing = std::pin::pin!(publisher::publish(plan, target, &published, stop));
    let outcome = loop {
        tokio::select! {
            outcome = &mut publishing => break outcome,
            () = tokio::time::sleep(LOOK) => {}
        }
        let events = published.accepted.load(Relaxed);
        let messages = sockets.tally.messages();
        status.show(&format!("publishing, {events} events, {messages} messages"));
    };
    let spent = *outcome.as_ref().unwrap_or(&clock.elapsed());
    drain(&published, sockets, stop, status).await;
    let mut report = Report::new(plan, sockets, &published, began, spent);
    if let Err(reason) = outcome {
        report.add_shortfall(format!("publishing failed: {reason}"));
    }
    report
}

/// Waits until all expected messages have come, or no more come.
async fn drain(
    published: &Published,
    sockets: &mut Sockets,
    stop: &CancellationToken,
    status: &StatusLine,
) {
    let (mut seen, mut since) = (0, Instant::now());
    while !stop.is_cancelled() && since.elapsed() < PATIENCE {
        let (messages, expected) = (sockets.tally.messages(), published.expected.load(Relaxed));
        if messages >= expected || sockets.open_now() == 0 {
            return;
        }
        if messages > seen {
            (seen, since) = (messages, Instant::now());
        }
        status.show(&format!("waiting for {} messages", expected - messages));
        tokio::time::sleep(LOOK).await;
    }
}
