//! `tidegate dev`: everything on this machine with one command.

mod play;

use std::{convert::Infallible, path::PathBuf, sync::OnceLock, time::Duration};

use reqwest::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

use self::play::PlayKeys;
use super::{
    failure::Failure,
    node,
    settings::Settings,
    signals,
    style::{self, DIM, GOOD, STRONG, paint},
};
use crate::{
    client::{Client, parse_address},
    config::{Auth, Config},
    mongod::{self, Mongod},
};

/// The size of the oplog, which bounds how far back a client can resume.
const OPLOG_MB: u32 = 512;
/// The default log filter of this command: it shows what is written over HTTP too.
const LOG: &str = "info,tidegate::writes=debug";
/// The pause between two questions whether the service is ready.
const READY_POLL: Duration = Duration::from_millis(50);
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// A service for development.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The folder for the data of the private mongod
    #[arg(long, value_name = "DIR", default_value = ".tidegate")]
    data_dir: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// The first commands to try where a key is needed: those of a tenant, whose ids begin with its name.
const TRY_AS_TENANT: [&str; 3] = [
    r#"subscription create --id acme:demo --filter '{"type": "demo"}'"#,
    "listen acme:demo",
    r#"publish --type demo --data '{"hello": "world"}'"#,
];

/// The first commands to try. The README has the same.
const TRY_IT: [&str; 4] = [
    r#"subscription create --id demo --filter '{"type": "demo"}'"#,
    "listen demo",
    r#"publish --type demo --data '{"hello": "world"}'"#,
    "subscription delete demo",
];

const EXAMPLES: &str = "\
Examples:
  tidegate dev
  tidegate dev --listen 127.0.0.1:9000 --data-dir /tmp/play
  tidegate dev --auth required
  tidegate dev --mongodb-uri 'mongodb://127.0.0.1:27017/?replicaSet=rs0'

Runs a private mongod (an installed one, or one fetched once), applies migrations and serves.
The next start finds the same data. A connection string, given by flag, variable or file, takes
the place of the private mongod. Ctrl-C stops the service, then mongod.

With --auth required, and a private mongod, each start makes a key of an operator and one of a
tenant, and prints them.";

/// Runs until it is told to stop. The service ends first, then mongod.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut loaded = args.settings.read(&[])?;
    if loaded.config.log == Config::default().log {
        LOG.clone_into(&mut loaded.config.log);
    }
    let mut config = Settings::begin(loaded)?;
    if config.tls.is_on() {
        let reason = "dev speaks plain HTTP on this machine; serve speaks HTTPS";
        return Err(Failure::setting("tls.certificate", &reason));
    }
    config.cors.local = config.listen.ip().is_loopback();
    let stop = signals::stop_token()?;
    let socket = node::bind(config.listen)?;
    let url = node::local_url(socket.local_addr()?, false);
    let mut mongod = None;
    if !args.settings.names_a_database(&config) {
        let Some(started) = stop.run_until_cancelled(start(args.data_dir)).await else {
            return Ok(());
        };
        config.mongodb_uri = mongod.insert(started?).uri();
    }
    let mut keys = None;
    if let Some(private) = mongod.as_ref().filter(|_| config.auth == Auth::Required) {
        match make_keys(&config, private, &stop).await {
            Ok(Some(made)) => keys = Some(made),
            ended => {
                if let Some(mongod) = mongod {
                    mongod.stop().await;
                }
                return ended.map(drop);
            }
        }
    }
    let listener = node::listen(socket)?;
    let lost = OnceLock::new();
    let served = tokio::select! {
        served = node::serve(config, listener, stop.clone()) => served,
        never = watch(&url, mongod.as_ref(), keys, &stop, &lost) => match never {},
    };
    if let Some(mongod) = mongod {
        mongod.stop().await;
    }
    if let Some(reason) = lost.get() {
        return Err(lost_mongod(reason));
    }
    served
}

/// Makes keys to play with. Returns `None` if it is told to stop meanwhile.
async fn make_keys(
    config: &Config,
    mongod: &Mongod,
    stop: &CancellationToken,
) -> Result<Option<PlayKeys>, Failure> {
    tokio::select! {
        made = stop.run_until_cancelled(play::prepare(config)) => made.transpose(),
        reason = mongod.ended() => Err(lost_mongod(&reason)),
    }
}

fn lost_mongod(reason: &str) -> Failure {
    Failure::unusable_database(format!("the private mongod ended by itself: {reason}"))
}

async fn start(data_dir: PathBuf) -> Result<Mongod, Failure> {
    style::note(format!(
        "starting a private mongod in {}",
        data_dir.display()
    ));
    let options = mongod::Options {
        data_dir: Some(data_dir),
        oplog_size_mb: OPLOG_MB,
        ..mongod::Options::default()
    };
    Mongod::start(options).await.map_err(|error| match error {
        mongod::Error::UnusableBinary { .. } => Failure::setting("TIDEGATE_MONGOD", &error),
        error => Failure::unusable_database(error.to_string()),
    })
}

/// Watches beside the service: says when it is ready, and stops it if mongod ends.
async fn watch(
    url: &str,
    mongod: Option<&Mongod>,
    keys: Option<PlayKeys>,
    stop: &CancellationToken,
    lost: &OnceLock<String>,
) -> Infallible {
    let watch_mongod = async {
        if let Some(mongod) = mongod {
            let reason = mongod.ended().await;
            lost.get_or_init(|| reason);
            stop.cancel();
        }
    };
    tokio::join!(watch_mongod, announce(url, mongod, keys));
    std::future::pending().await
}

/// Waits until the service is ready, and then says what to try.
async fn announce(url: &str, mongod: Option<&Mongod>, keys: Option<PlayKeys>) {
    let client = parse_address(url).map(Client::new);
    while let Ok(Ok(client)) = &client {
        let ready = client.call(client.request(Method::GET, &["ready"])).await;
        if ready.is_ok_and(|answer| answer.status == StatusCode::OK) {
            break;
        }
        tokio::time::sleep(READY_POLL).await;
    }
    // The service goes on without a reader.
    if let Err(error) = style::print(welcome(url, mongod, keys.as_ref())) {
        tracing::debug!(%error, "the welcome cannot be printed");
    }
}

fn welcome(url: &str, mongod: Option<&Mongod>, keys: Option<&PlayKeys>) -> String {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "tidegate".to_owned());
    let server = match url {
        DEFAULT_SERVER => String::new(),
        url => format!(" --server {url}"),
    };
    let database = mongod.map_or_else(String::new, |mongod| {
        let data = mongod.data_dir().display();
        paint(
            DIM,
            format!("MongoDB at {}, data in {data}\n", mongod.uri()),
        )
    });
    let (token, lines, whose) = match keys {
        None => (String::new(), &TRY_IT[..], String::new()),
        Some(keys) => {
            // Nobody can show them again, and this is no log.
            let operators = format!("\nThe key of an operator: {}\n", keys.admin.reveal());
            let tenants = format!("  export TIDEGATE_TOKEN={}\n", keys.tenant.reveal());
            (tenants, &TRY_AS_TENANT[..], operators)
        }
    };
    let who = keys.map_or("", |_| ", as the tenant acme");
    let try_it = paint(STRONG, format!("Try it, in another terminal{who}:"));
    let lines = lines.iter();
    let lines = lines.map(|line| format!("  {} {line}{server}\n", quoted(&program)));
    let lines = lines.collect::<Vec<_>>().concat();
    format!(
        "{} {url}\n{database}Docs, with examples: {url}/api/v1/docs\n\n{try_it}\n{token}{lines}{whose}",
        paint(GOOD, "Tidegate is ready on"),
    )
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_./-+~".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
