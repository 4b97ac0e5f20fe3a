//! The initiation of a replica set on listening mongods, until it takes writes.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error as DriverError, ErrorKind};
use mongodb::options::{ClientOptions, ServerAddress};

use super::error::{Error, Result};
use super::process::Process;

/// The server's answer to `replSetGetConfig` before the first `replSetInitiate`.
const NOT_YET_INITIALIZED: i32 = 94;

/// The state of a set that is starting.
enum State {
    /// The primary takes writes.
    Writable,
    /// No primary was elected yet.
    NoPrimary,
    /// The data belongs to another set, with this name.
    Other(String),
}

/// Initiates the set `name` with `process` as its only member, unless its data has a set already. Then waits until
/// it is the primary and takes writes.
pub(super) async fn single(process: &Process, name: &str) -> Result<()> {
    let client = connect(process)?;
    let outcome = until_writable(&client, process, name).await;
    client.shutdown().immediate(true).await;
    outcome
}

async fn until_writable(client: &Client, process: &Process, name: &str) -> Result<()> {
    loop {
        let state = match advance(client, process, name).await {
            Ok(State::Writable) => return Ok(()),
            Ok(State::NoPrimary) => "it was not elected primary".to_owned(),
            Ok(State::Other(found)) => {
                return Err(Error::OtherReplicaSet {
                    found,
                    wanted: name.to_owned(),
                });
            }
            // A server that has just started refuses some commands for a moment.
            Err(error) => error.kind.to_string(),
        };
        process.pause(state).await?;
    }
}

/// Takes the next step to a writable set.
async fn advance(client: &Client, process: &Process, name: &str) -> Result<State, DriverError> {
    match config(client).await? {
        None => {
            let config = doc! { "_id": name, "members": [member(0, process)] };
            initiate(client, config).await?;
        }
        Some(config) => match config.get_str("_id") {
            Ok(found) if found != name => return Ok(State::Other(found.to_owned())),
            _ if !names(&config, process) => move_to(client, config, process).await?,
            _ => {}
        },
    }
    Ok(if is_writable(client).await? {
        State::Writable
    } else {
        State::NoPrimary
    })
}

/// Initiates a set of several members through one of them, `process`. Waits until there is a primary and all others
/// follow it.
pub(super) async fn several(process: &Process, set: Document) -> Result<()> {
    let client = connect(process)?;
    let outcome = until_complete(&client, process, set).await;
    client.shutdown().immediate(true).await;
    outcome
}

async fn until_complete(client: &Client, process: &Process, set: Document) -> Result<()> {
    loop {
        let state = match advance_several(client, &set).await {
            Ok(true) => return Ok(()),
            Ok(false) => "not all members followed a primary".to_owned(),
            Err(error) => error.kind.to_string(),
        };
        process.pause(state).await?;
    }
}

/// Takes the next step to a complete set. Returns whether it is complete.
async fn advance_several(client: &Client, set: &Document) -> Result<bool, DriverError> {
    if config(client).await?.is_none() {
        initiate(client, set.clone()).await?;
    }
    let answer = admin(client, doc! { "replSetGetStatus": 1 }).await?;
    let members = answer
        .get_array("members")
        .map(Vec::as_slice)
        .unwrap_or_default();
    let roles: Vec<_> = members
        .iter()
        .filter_map(|member| member.as_document()?.get_str("stateStr").ok())
        .collect();
    let follow = roles
        .iter()
        .all(|role| matches!(*role, "PRIMARY" | "SECONDARY"));
    Ok(follow && roles.contains(&"PRIMARY"))
}

/// Connects to this one member, whatever its role in the set.
pub(super) fn connect(process: &Process) -> Result<Client> {
    let address = ServerAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: Some(process.port()),
    };
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .server_selection_timeout(Duration::from_secs(2))
        .build();
    Client::with_options(options).map_err(|error| Error::Spawn(std::io::Error::other(error)))
}

/// Describes a member for a set's configuration.
pub(super) fn member(id: i32, process: &Process) -> Document {
    doc! { "_id": id, "host": process.host() }
}

async fn initiate(client: &Client, config: Document) -> Result<(), DriverError> {
    admin(client, doc! { "replSetInitiate": config })
        .await
        .map(drop)
}

/// Whether this member is the primary and takes writes.
pub(super) async fn is_writable(client: &Client) -> Result<bool, DriverError> {
    let hello = admin(client, doc! { "hello": 1 }).await?;
    Ok(hello.get_bool("isWritablePrimary").unwrap_or(false))
}

/// Reads the set's configuration, if it was initiated.
async fn config(client: &Client) -> Result<Option<Document>, DriverError> {
    match admin(client, doc! { "replSetGetConfig": 1 }).await {
        Ok(mut answer) => Ok(match answer.remove("config") {
            Some(bson::Bson::Document(config)) => Some(config),
            _ => None,
        }),
        Err(error) if code(&error) == Some(NOT_YET_INITIALIZED) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `config` has the current address of the member.
fn names(config: &Document, process: &Process) -> bool {
    let members = config
        .get_array("members")
        .map(Vec::as_slice)
        .unwrap_or_default();
    let host = process.host();
    members.iter().any(|member| {
        member
            .as_document()
            .and_then(|member| member.get_str("host").ok())
            == Some(host.as_str())
    })
}

/// Tells a set of one that the address of its member has changed. The member does not find itself in its
/// configuration and elects nobody, so this takes force.
async fn move_to(
    client: &Client,
    mut config: Document,
    process: &Process,
) -> Result<(), DriverError> {
    config.insert("members", vec![member(0, process)]);
    admin(client, doc! { "replSetReconfig": config, "force": true })
        .await
        .map(drop)
}

async fn admin(client: &Client, command: Document) -> Result<Document, DriverError> {
    client.database("admin").run_command(command).await
}

fn code(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}
