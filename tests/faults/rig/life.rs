//! Everyone at work in a world, and the reckoning at the end.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bson::doc;
use tidegate::protocol::Dialect;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    checker::{self, Violation},
    clients::{Client, Habit, Setting, TICKS, Wish, listen},
    keyring,
    many::ManyClient,
    node::Node,
    publishers,
    record::{Kinds, LAST, Notes, TICK, Version},
    truth::{self, Commit},
    world::World,
    writers::{self, Path, Pool, Writer},
};

/// Time for everything to come to rest.
const REST: Duration = Duration::from_secs(90);

/// The numbers of clients and writers.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    /// Clients that move from one subscription to another, per kind.
    pub(crate) wanderers: usize,
    /// Clients with one socket for many subscriptions.
    pub(crate) many: usize,
    /// Clients of durable subscriptions.
    pub(crate) durable: usize,
    /// True for a process of the reference client on each node.
    pub(crate) listeners: bool,
    /// True for one writer of each kind.
    pub(crate) writers: bool,
    /// The silence that clients bear.
    pub(crate) silence: Duration,
    /// The binary.
    pub(crate) program: PathBuf,
}

/// Everyone at work.
pub(crate) struct Life {
    work: JoinSet<Result<()>>,
    clients: JoinSet<Result<()>>,
    stop_work: CancellationToken,
    last: watch::Sender<Option<u64>>,
    setting: Setting,
    next_client: usize,
    /// The permanent subscriptions, and the kinds of events that they match.
    standing: Vec<(String, u8)>,
}

/// The evidence to judge at the end.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) notes: Notes,
    pub(crate) commits: Vec<Commit>,
    pub(crate) violations: Vec<Violation>,
}

impl Life {
    /// Starts everyone.
    pub(crate) async fn start(world: &World, population: &Population, seed: u64) -> Result<Self> {
        let (last, watched) = watch::channel(None);
        let mut life = Self {
            work: JoinSet::new(),
            clients: JoinSet::new(),
            stop_work: CancellationToken::new(),
            last,
            setting: Setting {
                notebook: world.notebook.clone(),
                pool: Pool::default(),
                fronts: world.fronts(),
                silence: population.silence,
                last: watched,
                stop: CancellationToken::new(),
                program: population.program.clone(),
                keyring: world.keyring.clone(),
            },
            next_client: 0,
            standing: standing(population),
        };
        life.ensure_standing(world).await?;
        life.start_publishers(world, seed);
        if population.writers {
            life.start_writers(world, seed)?;
        }
        life.start_clients(world, population, seed);
        Ok(life)
    }

    /// Makes the permanent subscriptions that do not exist.
    pub(crate) async fn ensure_standing(&self, world: &World) -> Result<()> {
        for (name, kinds) in &self.standing {
            if let Some(id) = self.setting.pool.standing(name) {
                let there = world.subscriptions().find_one(doc! {"_id": &id}).await?;
                if there.is_some() {
                    continue;
                }
            }
            let id = format!("{name}-{}", world.notebook.number());
            let mut document = writers::stored(&id, wanting(*kinds));
            document.insert("durable", name != TICKS);
            world.subscriptions().insert_one(document).await?;
            self.setting.pool.set_standing(name, id);
        }
        Ok(())
    }

    fn start_publishers(&mut self, world: &World, seed: u64) {
        let (notebook, stop) = (&world.notebook, &self.stop_work);
        let ticking = publishers::tick(world.events(), notebook.clone(), stop.clone());
        self.work.spawn(finish(ticking));
        let direct =
            publishers::publish_directly(world.events(), notebook.clone(), seed, stop.clone());
        self.work.spawn(finish(direct));
        for (node, front) in world.fronts().into_iter().enumerate() {
            let seed = seed + 1 + node as u64;
            let front = (front, world.keyring.clone());
            let over_http =
                publishers::publish_over_http(front, node, notebook.clone(), seed, stop.clone());
            self.work.spawn(over_http);
        }
        let keyring = world.keyring.clone();
        let revoking = keyring::revoke(keyring, notebook.clone(), seed + 50, stop.clone());
        self.work.spawn(revoking);
    }

    fn start_writers(&mut self, world: &World, seed: u64) -> Result<()> {
        let mut paths = vec![Path::Direct(world.subscriptions())];
        for (node, front) in world.fronts().into_iter().enumerate() {
            let keyring = world.keyring.clone();
            paths.push(Path::Http {
                node,
                front,
                keyring,
            });
        }
        for (number, path) in paths.into_iter().enumerate() {
            let (notebook, pool) = (world.notebook.clone(), self.setting.pool.clone());
            let writer = Writer::new(path, notebook, pool, seed + 100 + number as u64)?;
            let stop = self.stop_work.clone();
            self.work.spawn(finish(writer.run(stop)));
        }
        Ok(())
    }

    fn start_clients(&mut self, world: &World, population: &Population, seed: u64) {
        const DIALECTS: [Dialect; 3] = [Dialect::Tidegate, Dialect::CloudEvents, Dialect::Sse];
        for node in 0..world.nodes.len() {
            for dialect in DIALECTS {
                self.start_client(dialect, Habit::Resume, Wish::Ticks(node), seed);
            }
            if population.listeners {
                self.clients.spawn(listen(self.setting.clone(), node));
            }
        }
        for _ in 0..population.wanderers {
            for dialect in DIALECTS {
                for habit in [Habit::Resume, Habit::Afresh] {
                    self.start_client(dialect, habit, Wish::Any, seed);
                }
            }
        }
        for _ in 0..population.many {
            self.start_client_for_many(seed);
        }
        for (name, _) in self.standing.clone() {
            if name != TICKS {
                let wish = Wish::Durable(name);
                self.start_client(Dialect::Tidegate, Habit::Acknowledge, wish, seed);
            }
        }
    }

    fn start_client(&mut self, dialect: Dialect, habit: Habit, wish: Wish, seed: u64) {
        let number = self.next_client;
        self.next_client += 1;
        let seed = seed + 1_000 + number as u64;
        let watches = matches!(wish, Wish::Ticks(_));
        let client = Client::new(self.setting.clone(), number, dialect, habit, wish, seed);
        if watches {
            let name = client.name().to_owned();
            self.setting
                .notebook
                .note(|notes| notes.ticks.insert(name, 0));
        }
        self.clients.spawn(finish(client.run()));
    }

    /// Waits until every client is connected that has not finished. Who was cut off a moment ago, and starts afresh behind
    /// the very last event, would wait for it in vain.
    async fn everyone_is_there(&mut self, world: &World) -> Result<()> {
        let begun = Instant::now();
        loop {
            while let Some(done) = self.clients.try_join_next() {
                done??;
            }
            let mut connected = 0;
            for node in &world.nodes {
                connected += Readings(node.metrics().await?).sum("tidegate_connections ");
            }
            // If somebody never is, the checker says what they missed.
            if usize::try_from(connected) == Ok(self.clients.len()) || begun.elapsed() > REST {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn start_client_for_many(&mut self, seed: u64) {
        let number = self.next_client;
        self.next_client += 1;
        let client = ManyClient::new(self.setting.clone(), number, seed + 2_000 + number as u64);
        let name = client.name().to_owned();
        let watches = |notes: &mut Notes| notes.ticks.insert(name, 0);
        self.setting.notebook.note(watches);
        self.clients.spawn(finish(client.run()));
    }

    /// Lets everyone finish, and judges. The faults must be healed.
    pub(crate) async fn settle(mut self, world: &World) -> Result<Evidence> {
        self.ensure_standing(world).await?;
        self.stop_work.cancel();
        while let Some(done) = timeout(REST, self.work.join_next())
            .await
            .context("work goes on")?
        {
            done??;
        }
        writers::resume_all(&world.subscriptions()).await?;
        let number = world.notebook.number();
        self.last.send_replace(Some(number));
        self.everyone_is_there(world).await?;
        publishers::publish_last(&world.events(), &world.notebook, number).await;
        let until = Instant::now() + REST;
        while let Ok(Some(done)) = tokio::time::timeout_at(until, self.clients.join_next()).await {
            done??;
        }
        // A client that is still connected has not got the last event. The checker will report that.
        self.setting.stop.cancel();
        while let Some(done) = self.clients.join_next().await {
            done??;
        }
        let commits = truth::read(&world.direct, super::world::DATABASE, world.since).await?;
        let notes = world.notebook.note(|notes| notes.clone());
        let violations = checker::check(&commits, &notes);
        for node in &world.nodes {
            check_books(node).await?;
        }
        Ok(Evidence {
            notes,
            commits,
            violations,
        })
    }
}

/// Makes work that cannot fail fit among work that can.
async fn finish(work: impl Future<Output = ()>) -> Result<()> {
    work.await;
    Ok(())
}

fn standing(population: &Population) -> Vec<(String, u8)> {
    let durable = (0..population.durable).map(|number| (format!("durable{number}"), 0b1_1110));
    let ticks = (TICKS.to_owned(), 1 << TICK);
    durable.chain([ticks]).collect()
}

fn wanting(kinds: u8) -> Version {
    Version {
        number: 1,
        kinds: Kinds(kinds | 1 << LAST),
        active: true,
    }
}

/// Checks the books once nobody is connected: whatever was opened was closed for a reason, nothing waits, nothing
/// panicked, and no fault of the service's own ended anything.
async fn check_books(node: &Node) -> Result<()> {
    let begun = Instant::now();
    loop {
        let metrics = Readings(node.metrics().await?);
        if metrics.sum("tidegate_connections ") == 0 || begun.elapsed() > REST {
            let opened = metrics.sum("tidegate_connections_opened_total ");
            let closed = metrics.sum("tidegate_connections_closed_total{");
            let open = metrics.sum("tidegate_connections ");
            ensure!(
                open == 0,
                "node {}: {open} connections of nobody",
                node.number
            );
            ensure!(
                opened == closed,
                "node {}: {opened} opened, {closed} closed",
                node.number
            );
            let channels = metrics.sum("tidegate_channels_opened_total ");
            let closed = metrics.sum("tidegate_channels_closed_total{");
            ensure!(
                metrics.sum("tidegate_channels ") == 0 && channels == closed,
                "node {}: {channels} channels opened, {closed} closed",
                node.number
            );
            let faults = "tidegate_connections_closed_total{reason=\"internal_error\"}";
            ensure!(
                metrics.sum(faults) == 0,
                "node {}: internal errors",
                node.number
            );
            let waiting = metrics.sum("tidegate_outbox_bytes ");
            ensure!(
                waiting == 0,
                "node {}: {waiting} bytes wait for nobody",
                node.number
            );
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let panics = node.panics();
    ensure!(panics.is_empty(), "node {}: {panics:?}", node.number);
    Ok(())
}

/// Metrics as text.
pub(crate) struct Readings(pub(crate) String);

impl Readings {
    /// Sums the lines that begin with this text.
    pub(crate) fn sum(&self, prefix: &str) -> i64 {
        let values = self.0.lines().filter_map(|line| {
            let value = line.strip_prefix(prefix)?.rsplit(' ').next()?;
            value.parse::<i64>().ok()
        });
        values.sum()
    }
}
