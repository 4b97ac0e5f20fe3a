//! Connecting, and the checks before anything else happens.

mod diagnose;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongodb::{
    Client,
    error::ErrorKind,
    options::{
        Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
    },
};

use self::diagnose::Diagnosis;
use super::{
    availability::{AvailabilityWatch, jittered, watched},
    clock::ServerClock,
    deployment::{self, Deployment},
    error::StoreError,
    startup::StartupError,
};
use crate::{
    config::{Config, connection_string},
    store::{Inner, Store, unreadable::Unreadable},
};

/// MongoDB 6.0, as the version of its wire protocol.
const OLDEST_WIRE_VERSION: i32 = 17;
/// Time for which one operation looks for a server to run on.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks of the driver at a server that says nothing by itself. Together with the time
/// above, it bounds how soon a server is missed whose network drops everything.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Connections for requests, if the connection string does not say.
const REQUEST_CONNECTIONS: u32 = 64;
/// Connections for streams: each open stream keeps one busy.
const STREAM_CONNECTIONS: u32 = 64;
/// Time that the first attempt at start-up may take: short, so that the log soon says what is missing.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
/// Time that each later attempt may take.
const ATTEMPT: Duration = Duration::from_secs(8);
/// Time that every attempt gets, however little of the start-up's time is left.
const LEAST_ATTEMPT: Duration = Duration::from_millis(500);
/// Average pause between two attempts to reach the database at start-up.
const PAUSE: Duration = Duration::from_millis(250);

impl Store {
    /// Connects, and checks that the database can be used: it is a replica set of a supported version
    /// and lets this user in. Waits for it for up to `startup_timeout`. Writes nothing.
    pub async fn connect(config: &Config) -> Result<Self, StoreError> {
        let started = Instant::now();
        let mut told = None;
        let mut most = FIRST_ATTEMPT;
        loop {
            let left = config.startup_timeout.saturating_sub(started.elapsed());
            let error =
                match Self::attempt(config, left.saturating_sub(diagnose::TIMEOUT).min(most)).await
                {
                    Ok(store) => {
                        if told.is_some() {
                            let waited = started.elapsed();
                            tracing::info!(?waited, "the database answers");
                        }
                        return Ok(store);
                    }
                    Err(error) if error.is_unavailable() => error,
                    Err(error) => return Err(at_startup(error, config)),
                };
            most = ATTEMPT;
            let left = config.startup_timeout.saturating_sub(started.elapsed());
            let reason = match diagnose_within(config, left, told.as_deref()).await {
                Diagnosis::Hopeless(error) => return Err(error.into()),
                Diagnosis::Hint(hint) => hint,
                Diagnosis::Silence => error.to_string(),
            };
            if started.elapsed() + PAUSE >= config.startup_timeout {
                return Err(unreachable(reason, started.elapsed(), config));
            }
            // A new reason is told too: somebody may be able to do something about it.
            if told.as_ref() != Some(&reason) {
                tell(&reason, started, config);
                told = Some(reason);
            }
            tokio::time::sleep(jittered(PAUSE)).await;
        }
    }

    async fn attempt(config: &Config, patience: Duration) -> Result<Self, StoreError> {
        let patience = patience.max(LEAST_ATTEMPT);
        let attempt = Self::open(config);
        let in_time = tokio::time::timeout(patience, attempt).await;
        in_time.map_err(|_| StoreError::TimedOut { waited: patience })?
    }

    async fn open(config: &Config) -> Result<Self, StoreError> {
        let options = ClientOptions::parse(&config.mongodb_uri).await?;
        let options = for_requests(options, config);
        let mut feed_options = options.clone();
        feed_options.retry_reads = Some(false);
        feed_options.max_pool_size = Some(
            options
                .max_pool_size
                .map_or(STREAM_CONNECTIONS, |n| n.max(STREAM_CONNECTIONS)),
        );
        let connections = options.max_pool_size.unwrap_or(REQUEST_CONNECTIONS);
        let availability = AvailabilityWatch::new(config.limits.away_after);
        let database = watched(options, &config.database, &availability)?;
        let set_name = check_server(&database, config).await?;
        let stored = deployment::stored(&database).await?;
        let of = |secret| Deployment::of(secret, &set_name, &config.database);
        Ok(Self {
            inner: Arc::new(Inner {
                feed_database: Client::with_options(feed_options)?.database(&config.database),
                database,
                clock: ServerClock::default(),
                candidate: of(rand::random()),
                deployment: stored.map(of).map_or_else(OnceLock::new, OnceLock::from),
                availability,
                connections,
                timeout: config.limits.database_timeout,
                retention: config.retention,
                audit_retention: config.audit.retention,
                adopt: config.adopt.clone(),
                unreadable: Unreadable::default(),
            }),
        })
    }
}

/// Adds our settings to those of the connection string.
pub(in crate::store) fn for_requests(mut options: ClientOptions, config: &Config) -> ClientOptions {
    options
        .app_name
        .get_or_insert_with(|| "tidegate".to_owned());
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.heartbeat_freq.get_or_insert(HEARTBEAT);
    options
        .server_selection_timeout
        .get_or_insert(SERVER_SELECTION_TIMEOUT.min(config.limits.database_timeout));
    options.max_pool_size.get_or_insert(REQUEST_CONNECTIONS);
    let mut concern = WriteConcern::majority();
    concern.w = Some(Acknowledgment::Majority);
    concern.journal = Some(true);
    concern.w_timeout = Some(config.limits.database_timeout.mul_f32(0.9));
    options.write_concern = Some(concern);
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options
}

/// Checks what kind of server it is. Returns the name of its replica set.
pub(in crate::store) async fn check_server(
    database: &mongodb::Database,
    config: &Config,
) -> Result<String, StoreError> {
    let hello = database.run_command(doc! {"hello": 1}).await?;
    let version = match database.run_command(doc! {"buildInfo": 1}).await {
        Ok(info) => info.get_str("version").unwrap_or("unknown").to_owned(),
        Err(_) => "unknown".to_owned(),
    };
    Ok(check_hello(&hello, &version, config)?)
}

fn check_hello(hello: &Document, version: &str, config: &Config) -> Result<String, StartupError> {
    let wire = hello.get_i32("maxWireVersion").unwrap_or(0);
    if wire < OLDEST_WIRE_VERSION {
        return Err(StartupError::TooOld {
            version: version.to_owned(),
        });
    }
    // Behind mongos, changes of two shards may share one position.
    if hello.get_str("msg").ok() == Some("isdbgrid") {
        return Err(StartupError::ShardedCluster {
            hosts: hosts(config),
        });
    }
    hello
        .get_str("setName")
        .map(ToOwned::to_owned)
        .map_err(|_| StartupError::NotReplicaSet {
            hosts: hosts(config),
        })
}

/// Turns an error that waiting does not cure into one of start-up.
fn at_startup(error: StoreError, config: &Config) -> StoreError {
    match error {
        StoreError::NotPermitted {
            detail,
            code: Some(13),
        } => StartupError::MissingRight {
            database: config.database.clone(),
            detail,
        }
        .into(),
        StoreError::NotPermitted { detail, .. } => StartupError::WrongCredentials { detail }.into(),
        StoreError::Other(error) => match *error.kind {
            ErrorKind::IncompatibleServer { .. } => StartupError::TooOld {
                version: error.kind.to_string(),
            }
            .into(),
            _ => StoreError::Other(error),
        },
        StoreError::Refused { detail } => StartupError::BadUri {
            reason: connection_string::redacted(&config.mongodb_uri, &detail),
        }
        .into(),
        other => other,
    }
}

/// Finds out why no server is found. Keeps the reason that was `told` if the time that is `left` does not
/// suffice to look again.
async fn diagnose_within(config: &Config, left: Duration, told: Option<&str>) -> Diagnosis {
    let Some(told) = told else {
        return diagnose::diagnose(config).await;
    };
    let diagnosis = tokio::time::timeout(left, diagnose::diagnose(config)).await;
    diagnosis.unwrap_or_else(|_| Diagnosis::Hint(told.to_owned()))
}

/// Logs what the start waits for, and for how much longer.
fn tell(reason: &str, started: Instant, config: &Config) {
    let left = config.startup_timeout.saturating_sub(started.elapsed());
    tracing::warn!(
        hosts = hosts(config),
        gives_up_in = rounded_up(left),
        reason,
        "waiting for the database"
    );
}

/// Writes a time in whole seconds, and at least one.
fn rounded_up(time: Duration) -> String {
    let seconds = (time + Duration::from_nanos(999_999_999)).as_secs().max(1);
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Turns the error of one attempt into one of start-up.
pub(in crate::store) async fn explain(error: StoreError, config: &Config) -> StoreError {
    if !error.is_unavailable() {
        return at_startup(error, config);
    }
    match diagnose::diagnose(config).await {
        Diagnosis::Hopeless(error) => error.into(),
        Diagnosis::Hint(reason) => unreachable(reason, SERVER_SELECTION_TIMEOUT, config),
        Diagnosis::Silence => unreachable(error.to_string(), SERVER_SELECTION_TIMEOUT, config),
    }
}

fn unreachable(reason: String, waited: Duration, config: &Config) -> StoreError {
    StartupError::Unreachable {
        hosts: hosts(config),
        waited: Duration::from_millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)),
        reason,
    }
    .into()
}

/// Returns the addresses in the connection string, without user and password.
fn hosts(config: &Config) -> String {
    let uri = config.mongodb_uri.as_str();
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_whole_seconds_and_never_none() {
        for (milliseconds, told) in [(0, "1s"), (999, "1s"), (1000, "1s"), (1001, "2s")] {
            assert_eq!(rounded_up(Duration::from_millis(milliseconds)), told);
        }
    }

    #[test]
    fn a_router_of_a_sharded_cluster_is_refused() {
        let member = doc! {"maxWireVersion": 17, "setName": "a"};
        let config = Config::default();
        assert_eq!(check_hello(&member, "6.0.5", &config).unwrap(), "a");
        let router = doc! {"maxWireVersion": 17, "msg": "isdbgrid"};
        let refused = check_hello(&router, "6.0.5", &config).unwrap_err();
        assert!(matches!(refused, StartupError::ShardedCluster { .. }));
        assert!(refused.to_string().contains("mongos"), "{refused}");
    }
}
