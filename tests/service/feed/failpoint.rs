//! A test's own mongod, which can fail the commands of the service's change stream.

use bson::{Document, doc};
use mongodb::{Client, Collection};
use tidegate::{config::Config, mongod::Mongod};

use super::total;
use crate::support::{Service, database_name, options};

/// A server with fail points, and a node on it.
pub(crate) struct Failing {
    // The node is dropped before the server under it.
    pub(crate) service: Service,
    admin: Client,
    mongod: Mongod,
}

impl Failing {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server and a node with settings of the test's choice.
    pub(crate) async fn start_with(settings: impl FnOnce(&mut Config)) -> Self {
        let mut options = options();
        options.oplog_size_mb = 128;
        let mongod = Mongod::start(options).await.unwrap();
        let admin = Client::with_uri_str(mongod.uri()).await.unwrap();
        let mut config = Config {
            // The driver soon looks again at a server that says it is stepping down.
            mongodb_uri: mongod.uri() + "&heartbeatFrequencyMS=500",
            database: database_name(),
            ..Config::default()
        };
        config.feed.retry_max = std::time::Duration::from_millis(200);
        settings(&mut config);
        Self {
            service: Service::on(config).await,
            admin,
            mongod,
        }
    }

    /// Makes the service's streams fail: `mode` says how often, `failure` how. The test's own do not fail, nor do those of a
    /// node with another `appName`.
    pub(crate) async fn fail(&self, mode: impl Into<bson::Bson>, mut failure: Document) {
        if !failure.contains_key("appName") {
            failure.insert("appName", "tidegate");
        }
        if !failure.contains_key("failCommands") {
            failure.insert("failCommands", ["getMore", "aggregate"].as_slice());
        }
        self.configure(doc! {"mode": mode.into(), "data": failure})
            .await;
    }

    /// Ends the failures.
    pub(crate) async fn heal(&self) {
        self.configure(doc! {"mode": "off"}).await;
    }

    /// Holds all streams up, or lets them go on. What a stream waits for now still comes; it hangs when it asks again.
    pub(crate) async fn hold_streams(&self, hold: bool) {
        let how = doc! {
            "configureFailPoint": "waitAfterPinningCursorBeforeGetMoreBatch",
            "mode": if hold { "alwaysOn" } else { "off" },
            "data": {"shouldCheckForInterrupt": true},
        };
        self.run(how).await;
    }

    /// Holds all reads up before their first reply, or lets them go on.
    pub(crate) async fn hold_searches(&self, hold: bool) {
        let how = doc! {
            "configureFailPoint": "waitInFindBeforeMakingBatch",
            "mode": if hold { "alwaysOn" } else { "off" },
            "data": {"nss": format!("{}.events", self.service.config.database), "shouldCheckForInterrupt": true},
        };
        self.run(how).await;
    }

    async fn configure(&self, how: Document) {
        let mut command = doc! {"configureFailPoint": "failCommand"};
        command.extend(how);
        self.run(command).await;
    }

    async fn run(&self, command: Document) {
        self.admin
            .database("admin")
            .run_command(command)
            .await
            .unwrap();
    }

    pub(crate) fn events(&self) -> Collection<Document> {
        self.service.database.collection("events")
    }

    pub(crate) fn subscriptions(&self) -> Collection<Document> {
        self.service.database.collection("subscriptions")
    }

    /// Counts how often the feed had to open its stream again, whatever the cause.
    pub(crate) async fn resumes(&self) -> u64 {
        total(&self.service, "tidegate_feed_resumes_total{").await
    }

    /// Waits until the feed has failed more often than `before`.
    pub(crate) async fn until_failed(&self, before: u64) {
        self.service
            .until("a failure", async || self.resumes().await > before)
            .await;
    }

    pub(crate) async fn stop(self) {
        self.service.stop().await;
        self.mongod.stop().await;
    }
}
