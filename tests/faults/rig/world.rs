//! A replica set of three members, nodes of the service on it, and proxies on every way between them.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use bson::{Document, Timestamp, doc};
use mongodb::{
    Client, Collection, Database,
    options::{ClientOptions, ServerAddress, WriteConcern},
};
use tidegate::mongod::{Cluster, Options};

use crate::support::described;

use super::{
    keyring::Keyring,
    node::{Node, Program},
    proxy::Proxy,
    record::Notebook,
    unread::Unread,
};

/// The database of every world.
pub(crate) const DATABASE: &str = "tidegate";
/// The time for which the suite's own calls look for a server. They are repeated anyway.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of a world.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) program: Program,
    pub(crate) nodes: usize,
    pub(crate) oplog_size_mb: u32,
    /// Options of the nodes' connection string, beside the set's name.
    pub(crate) uri_options: String,
    /// True if nodes ask for credentials.
    pub(crate) guarded: bool,
}

/// A running world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    /// A client of the set that passes no proxy.
    pub(crate) direct: Client,
    pub(crate) cluster: Cluster,
    pub(crate) members: Vec<SocketAddr>,
    pub(crate) notebook: Notebook,
    /// The time before anything happened in this world.
    pub(crate) since: Timestamp,
    /// Clients that do not read.
    pub(crate) unread: Unread,
    pub(crate) keyring: Keyring,
    settings: Settings,
}

impl World {
    /// Starts everything. Returns when all nodes are ready.
    pub(crate) async fn start(mut settings: Settings) -> Result<Self> {
        if settings.guarded {
            // All clients have one address, and each may come with a key that was just revoked.
            let asking = [
                ("TIDEGATE_AUTH", "required"),
                ("TIDEGATE_QUOTAS__FAILURES_PER_MINUTE", "0"),
            ];
            let asking = asking.map(|(name, value)| (name.to_owned(), value.to_owned()));
            settings.program.settings.extend(asking);
        }
        let options = Options {
            oplog_size_mb: settings.oplog_size_mb,
            ..Options::default()
        };
        let cluster = Cluster::start(options.parameter("enableTestCommands", "1")).await?;
        let members = addresses(&cluster.uri())?;
        let direct = direct(&cluster.uri()).await?;
        let since = operation_time(&direct).await?;
        let mut world = Self {
            nodes: Vec::new(),
            direct,
            cluster,
            members,
            notebook: Notebook::new(),
            since,
            unread: Unread::default(),
            keyring: Keyring::default(),
            settings,
        };
        for number in 0..world.settings.nodes {
            let node = world.start_node(number).await?;
            described::learn_at(node.address).await;
            world.nodes.push(node);
        }
        if world.settings.guarded && !world.nodes.is_empty() {
            world.make_keys().await?;
        }
        Ok(world)
    }

    async fn make_keys(&mut self) -> Result<()> {
        let program = &self.settings.program.path;
        let addresses = self.nodes.iter().map(|node| node.address).collect();
        let keys = self.database().collection("keys");
        self.keyring = Keyring::make(program, &self.cluster.uri(), keys, addresses).await?;
        for node in &mut self.nodes {
            node.keyring = self.keyring.clone();
        }
        Ok(())
    }

    async fn start_node(&self, number: usize) -> Result<Node> {
        // Each node dials addresses of its own, so that a fault on its way concerns no other node.
        let alias = u8::try_from(number + 2)?;
        let mut backs = Vec::new();
        for member in &self.members {
            backs.push(Proxy::alias(alias, *member).await?);
        }
        let hosts: Vec<_> = backs.iter().map(Proxy::address).collect();
        self.launch(number, &hosts, backs).await
    }

    /// Starts another node, with nothing between it and the database. The caller owns it.
    pub(crate) async fn start_bare_node(&self, number: usize) -> Result<Node> {
        self.launch(number, &self.members, Vec::new()).await
    }

    async fn launch(&self, number: usize, hosts: &[SocketAddr], backs: Vec<Proxy>) -> Result<Node> {
        let Settings {
            program,
            uri_options,
            ..
        } = &self.settings;
        let options = format!("replicaSet=tidegate{uri_options}");
        Node::start(number, program.clone(), hosts, backs, DATABASE, &options).await
    }

    pub(crate) fn database(&self) -> Database {
        self.direct.database(DATABASE)
    }

    pub(crate) fn events(&self) -> Collection<Document> {
        self.database().collection("events")
    }

    pub(crate) fn subscriptions(&self) -> Collection<Document> {
        self.database().collection("subscriptions")
    }

    /// Returns the addresses that clients dial, one per node.
    pub(crate) fn fronts(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.front.address()).collect()
    }

    /// Runs a command on one member, whatever its role.
    pub(crate) async fn on_member(&self, member: usize, command: Document) -> Result<Document> {
        let address = self.members[member];
        let options = ClientOptions::builder()
            .hosts(vec![ServerAddress::Tcp {
                host: address.ip().to_string(),
                port: Some(address.port()),
            }])
            .direct_connection(true)
            .server_selection_timeout(SELECTION_TIMEOUT)
            .app_name("world".to_owned())
            .build();
        let client = Client::with_options(options)?;
        let answer = client.database("admin").run_command(command).await;
        client.shutdown().immediate(true).await;
        Ok(answer?)
    }

    /// Stops the nodes in order, then the database. Fails unless each node ends by itself.
    pub(crate) async fn stop(mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.stop().await?;
        }
        self.direct.shutdown().immediate(true).await;
        self.cluster.stop().await;
        Ok(())
    }
}

/// Makes a client that reaches the members directly, and hears of trouble soon.
async fn direct(uri: &str) -> Result<Client> {
    let mut options = ClientOptions::parse(format!("{uri}&heartbeatFrequencyMS=500")).await?;
    options.server_selection_timeout = Some(SELECTION_TIMEOUT);
    let mut concern = WriteConcern::majority();
    concern.w_timeout = Some(Duration::from_secs(10));
    options.write_concern = Some(concern);
    options.app_name = Some("world".to_owned());
    Ok(Client::with_options(options)?)
}

async fn operation_time(client: &Client) -> Result<Timestamp> {
    let answer = client
        .database("admin")
        .run_command(doc! {"ping": 1})
        .await?;
    answer
        .get_timestamp("operationTime")
        .context("no operation time")
}

fn addresses(uri: &str) -> Result<Vec<SocketAddr>> {
    let hosts = uri
        .strip_prefix("mongodb://")
        .and_then(|rest| rest.split('/').next());
    let Some(hosts) = hosts else {
        bail!("not a connection string: {uri}");
    };
    hosts.split(',').map(|host| Ok(host.parse()?)).collect()
}
