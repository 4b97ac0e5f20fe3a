//! A diagnosis if the driver finds no server to work with: each address is asked directly.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use mongodb::{
    Client,
    options::{ClientOptions, ServerAddress},
};
use tokio::{net::TcpStream, time::timeout};

use super::check_hello;
use crate::{config::Config, store::StartupError};

/// Time that all addresses together may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// The most addresses that are asked.
const MOST_ADDRESSES: usize = 5;
const DEFAULT_PORT: u16 = 27_017;

/// A conclusion from what the servers at the addresses of the connection string say of themselves.
#[derive(Debug)]
pub(super) enum Diagnosis {
    /// Waiting will not help.
    Hopeless(StartupError),
    /// Waiting may help, or somebody elsewhere can.
    Hint(String),
    /// No server answered, and no address gave a reason.
    Silence,
}

/// Asks each address of the connection string.
pub(super) async fn diagnose(config: &Config) -> Diagnosis {
    let Ok(options) = ClientOptions::parse(&config.mongodb_uri).await else {
        return Diagnosis::Silence;
    };
    let asking = options
        .hosts
        .iter()
        .take(MOST_ADDRESSES)
        .map(async |address| match hello(&options, address).await {
            Some(hello) => Ok(hello),
            None => Err(format!("{address}: {}", silence(address).await)),
        });
    let mut silent = Vec::new();
    for answer in join_all(asking).await {
        match answer {
            Ok(hello) => return read(&hello, options.repl_set_name.as_deref(), config),
            Err(reason) => silent.push(reason),
        }
    }
    if silent.is_empty() {
        return Diagnosis::Silence;
    }
    Diagnosis::Hint(silent.join("; "))
}

async fn hello(options: &ClientOptions, address: &ServerAddress) -> Option<Document> {
    let mut direct = options.clone();
    direct.hosts = vec![address.clone()];
    direct.direct_connection = Some(true);
    direct.repl_set_name = None;
    direct.credential = None;
    direct.server_selection_timeout = Some(TIMEOUT);
    direct.connect_timeout = Some(TIMEOUT);
    let client = Client::with_options(direct).ok()?;
    let admin = client.database("admin");
    let asked = admin.run_command(doc! {"hello": 1}).into_future();
    timeout(TIMEOUT, asked).await.ok()?.ok()
}

/// Says why an address does not answer, as far as the network tells.
async fn silence(address: &ServerAddress) -> String {
    let ServerAddress::Tcp { host, port } = address else {
        return "does not answer".to_owned();
    };
    let connecting = TcpStream::connect((host.as_str(), port.unwrap_or(DEFAULT_PORT)));
    match timeout(TIMEOUT, connecting).await {
        Ok(Ok(_)) => {
            "accepts the connection, but does not answer as MongoDB (does the TLS setting match?)"
                .to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "does not answer".to_owned(),
    }
}

fn read(hello: &Document, wanted: Option<&str>, config: &Config) -> Diagnosis {
    if hello.get_bool("isreplicaset").unwrap_or(false) {
        return Diagnosis::Hint(
            "the replica set is not initiated: run rs.initiate() once".to_owned(),
        );
    }
    let name = match check_hello(hello, "(by its wire protocol)", config) {
        Ok(name) => name,
        Err(error) => return Diagnosis::Hopeless(error),
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != name) {
        return Diagnosis::Hint(format!(
            "the connection string asks for replica set {wanted}, but the server belongs to {name}"
        ));
    }
    let members = hello.get_array("hosts").cloned().unwrap_or_default();
    let members: Vec<_> = members
        .iter()
        .filter_map(|member| member.as_str())
        .collect();
    let members = members.join(", ");
    Diagnosis::Hint(match hello.get_str("primary") {
        Ok(primary) => format!(
            "a server answers and names {primary} as the primary, which must be reachable from here by \
             that name (members: {members}); for a single member, directConnection=true helps"
        ),
        Err(_) => format!("the replica set has no primary now (members: {members})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(hello: &Document, wanted: Option<&str>) -> String {
        match read(hello, wanted, &Config::default()) {
            Diagnosis::Hopeless(error) => format!("hopeless: {error}"),
            Diagnosis::Hint(hint) => hint,
            Diagnosis::Silence => "silence".to_owned(),
        }
    }

    #[test]
    fn what_a_server_says_of_itself_becomes_advice() {
        let member = doc! {"maxWireVersion": 17, "setName": "a", "hosts": ["x:1", "y:2"]};
        for (hello, wanted, advice) in [
            (
                doc! {"maxWireVersion": 17},
                None,
                "hopeless: the server at 127.0.0.1:27017 is not a member",
            ),
            (
                doc! {"maxWireVersion": 13, "setName": "a"},
                None,
                "hopeless: MongoDB",
            ),
            (
                doc! {"maxWireVersion": 17, "isreplicaset": true},
                None,
                "rs.initiate()",
            ),
            (
                member.clone(),
                Some("b"),
                "asks for replica set b, but the server belongs to a",
            ),
            (
                member.clone(),
                Some("a"),
                "no primary now (members: x:1, y:2)",
            ),
        ] {
            let found = found(&hello, wanted);
            assert!(found.contains(advice), "{hello}: {found}");
        }
    }
}
