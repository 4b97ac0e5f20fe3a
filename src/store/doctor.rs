//! A check-up of a database, before a node runs on it or when one cannot.
//!
//! Everything here only reads, and needs as few rights as possible. What cannot be read is reported as
//! unknown.

mod access;
mod oplog;
mod rights;
mod writers;

use std::time::{Duration, Instant};

use bson::{DateTime, Document, doc};
use mongodb::{Client, Database, options::ClientOptions};

pub use self::{access::AccessSurvey, oplog::Oplog, rights::Rights, writers::Writers};
use super::{
    StoreError,
    client::{connect, error},
};
use crate::config::Config;

/// Time that the whole check-up may take.
const CHECKUP_TIMEOUT: Duration = Duration::from_secs(20);

/// The results of a check-up.
#[derive(Debug)]
pub struct Checkup {
    /// The server.
    pub server: Server,
    /// The rights of the user.
    pub rights: Rights,
    /// The other users who can write what makes its writer an operator.
    pub writers: Writers,
    /// The oplog.
    pub oplog: Oplog,
    /// The difference between the two clocks.
    pub clock: Clock,
    /// The attempt to open a change stream: the server's words if it failed.
    pub stream: Result<(), String>,
}

/// The server, in its own words.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// Its feature compatibility version, if the user may read it.
    pub compatibility: Option<String>,
    /// The name of its replica set.
    pub set_name: String,
    /// The number of members that hold data.
    pub members: usize,
}

/// The difference between this machine's clock and the server's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Milliseconds by which the server's clock is ahead; negative if it is behind.
    pub ahead_ms: i64,
    /// Milliseconds by which this may be wrong: half the time that the question took.
    pub uncertain_ms: i64,
}

/// Checks the database of a configuration. An error means that it cannot be used at all.
pub async fn check_up(config: &Config) -> Result<Checkup, StoreError> {
    let looking = tokio::time::timeout(CHECKUP_TIMEOUT, look(config));
    let failed = match looking.await {
        Ok(Ok(checkup)) => return Ok(checkup),
        Ok(Err(error)) => error,
        Err(_) => StoreError::TimedOut {
            waited: CHECKUP_TIMEOUT,
        },
    };
    Err(connect::explain(failed, config).await)
}

async fn look(config: &Config) -> Result<Checkup, StoreError> {
    let options = ClientOptions::parse(&config.mongodb_uri).await?;
    let client = Client::with_options(connect::for_requests(options, config))?;
    let database = client.database(&config.database);
    let asked = (DateTime::now(), Instant::now());
    let hello = database.run_command(doc! {"hello": 1}).await?;
    let clock = clock(&hello, asked);
    let set_name = connect::check_server(&database, config).await?;
    Ok(Checkup {
        server: server(&database, &hello, set_name).await?,
        rights: rights::read(&database).await?,
        writers: writers::read(&database).await?,
        oplog: oplog::read(&client).await?,
        clock,
        stream: open_stream(&database).await?,
    })
}

async fn server(
    database: &Database,
    hello: &Document,
    set_name: String,
) -> Result<Server, StoreError> {
    let admin = database.client().database("admin");
    let info = admin.run_command(doc! {"buildInfo": 1}).await?;
    let parameter = doc! {"getParameter": 1, "featureCompatibilityVersion": 1};
    let parameter = permitted(admin.run_command(parameter).await)?;
    let compatibility = parameter.and_then(|answer| {
        let version = answer.get_document("featureCompatibilityVersion").ok()?;
        version.get_str("version").map(ToOwned::to_owned).ok()
    });
    Ok(Server {
        version: info.get_str("version").unwrap_or("unknown").to_owned(),
        compatibility,
        set_name,
        members: hello.get_array("hosts").map_or(0, Vec::len),
    })
}

/// Compares the clocks. The server read its own at some time between the question and the answer.
fn clock(hello: &Document, (asked_at, asked): (DateTime, Instant)) -> Clock {
    let took = i64::try_from(asked.elapsed().as_millis()).unwrap_or(i64::MAX);
    let theirs = hello.get_datetime("localTime").copied().unwrap_or(asked_at);
    let ours = asked_at.timestamp_millis() + took / 2;
    Clock {
        ahead_ms: theirs.timestamp_millis() - ours,
        uncertain_ms: took / 2 + 1,
    }
}

/// Opens a change stream like that of a node, and closes it again.
async fn open_stream(database: &Database) -> Result<Result<(), String>, StoreError> {
    let stream = doc! {"$changeStream": {"fullDocument": "whenAvailable"}};
    match database.aggregate([stream]).await {
        Ok(_) => Ok(Ok(())),
        Err(error) => match StoreError::from(error.clone()) {
            away if away.is_unavailable() => Err(away),
            _ => Ok(Err(error::message(&error))),
        },
    }
}

/// Returns the answer; `None` if the right to ask is missing, or the server does not know the question.
fn permitted<T>(answer: mongodb::error::Result<T>) -> Result<Option<T>, StoreError> {
    const NOT_KNOWN: [i32; 2] = [26, 59];
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error::code(&error).is_some_and(|code| NOT_KNOWN.contains(&code)) => Ok(None),
        Err(error) => match StoreError::from(error) {
            StoreError::NotPermitted { code: Some(13), .. } => Ok(None),
            error => Err(error),
        },
    }
}
