//! The availability of the database, and the evidence for it.
//!
//! The driver monitors every server of the set: each answers a `hello` as soon as something changes. So
//! the driver knows whether one of them takes writes. That is the evidence; a single call that fails is
//! none. If no server has taken writes for `limits.away_after`, the database is *unavailable*: calls are
//! refused at once, and calls under way end. A shorter time without a primary, as in most elections, is
//! waited out. Reads are no exception, even if a secondary is up: they must show what was written before.
//!
//! Beside it stands the right that the database lately refused, if any. That refuses no call: the server
//! answers such a call as fast as this module could, and may allow the next one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::{
    Database,
    event::{
        EventHandler,
        sdam::{SdamEvent, TopologyDescription},
    },
};
use rand::RngExt as _;
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};

use super::error::{StoreError, brief};
use crate::store::Store;

/// Time that one attempt to find a primary may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long without a new refusal, a missing right counts as granted.
const MISSING_RIGHT_MEMORY: Duration = Duration::from_secs(15);

/// The database's availability at one moment.
#[derive(Clone, Debug)]
pub enum Availability {
    /// Some server takes writes.
    Up,
    /// No server takes writes, but not yet for `limits.away_after`.
    NoPrimary(Outage),
    /// No server has taken writes for `limits.away_after`.
    Unavailable(Outage),
}

/// A time in which no server takes writes.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Its beginning.
    pub since: Instant,
    /// The last words of the servers, in one line.
    pub reason: String,
}

/// The database's availability, kept up to date by the driver. Clones share one state.
#[derive(Clone, Debug)]
pub struct AvailabilityWatch {
    state: Arc<watch::Sender<State>>,
    unavailable_after: Duration,
}

#[derive(Clone, Default, Debug)]
struct State {
    outage: Option<Outage>,
    missing_right: Option<MissingRight>,
}

/// A right for want of which a call was refused.
#[derive(Clone, Debug)]
struct MissingRight {
    last_refusal: Instant,
    detail: String,
}

impl AvailabilityWatch {
    /// Begins with a database that was just reached.
    pub(in crate::store) fn new(unavailable_after: Duration) -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State::default())),
            unavailable_after,
        }
    }

    /// Returns the handler that the driver reports to.
    pub(super) fn observer(&self) -> EventHandler<SdamEvent> {
        let watch = self.clone();
        EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(change) = event {
                let topology = &change.new_description;
                watch.observe((!topology.has_writable_server()).then(|| reason(topology)));
            }
        })
    }

    /// Takes an observation: the reason why no server takes writes, or none if one does.
    fn observe(&self, no_primary: Option<String>) {
        self.state
            .send_if_modified(|state| match (no_primary, &mut state.outage) {
                (None, None) => false,
                (None, outage) => {
                    *outage = None;
                    true
                }
                // The outage goes on. The new reason may be a better one.
                (Some(reason), Some(outage)) => {
                    outage.reason = reason;
                    false
                }
                (Some(reason), outage) => {
                    let since = Instant::now();
                    *outage = Some(Outage { since, reason });
                    true
                }
            });
    }

    /// Returns the availability now.
    pub fn now(&self) -> Availability {
        let outage = self.state.borrow().outage.clone();
        match outage {
            None => Availability::Up,
            Some(outage) if outage.since.elapsed() < self.unavailable_after => {
                Availability::NoPrimary(outage)
            }
            Some(outage) => Availability::Unavailable(outage),
        }
    }

    /// Whether some server takes writes now.
    pub fn has_primary(&self) -> bool {
        self.state.borrow().outage.is_none()
    }

    /// Waits until the database is unavailable.
    pub async fn wait_unavailable(&self) -> Outage {
        loop {
            let outage = self.state.borrow().outage.clone();
            let Some(outage) = outage else {
                self.wait_no_primary().await;
                continue;
            };
            let due = outage.since + self.unavailable_after;
            tokio::select! {
                () = sleep_until(due.into()) => return outage,
                () = self.wait_primary() => {}
            }
        }
    }

    /// Waits until no server takes writes, which may be for a moment only.
    pub async fn wait_no_primary(&self) {
        self.wait_until(|state| state.outage.is_some()).await;
    }

    /// Waits until a server takes writes. Returns at once if one does.
    pub async fn wait_primary(&self) {
        self.wait_until(|state| state.outage.is_none()).await;
    }

    /// Notes that a call was refused for want of a right.
    pub fn note_missing_right(&self, detail: &str) {
        let missing_right = MissingRight {
            last_refusal: Instant::now(),
            detail: detail.to_owned(),
        };
        self.state
            .send_modify(|state| state.missing_right = Some(missing_right));
    }

    /// Returns the right that was refused lately, in the server's words.
    pub fn missing_right(&self) -> Option<String> {
        let state = self.state.borrow();
        let recent = state
            .missing_right
            .as_ref()
            .filter(|right| right.is_recent());
        recent.map(|right| right.detail.clone())
    }

    /// Waits until a right is missing.
    pub async fn wait_missing_right(&self) {
        self.wait_until(|state| {
            let missing_right = state.missing_right.as_ref();
            missing_right.is_some_and(MissingRight::is_recent)
        })
        .await;
    }

    async fn wait_until(&self, holds: impl FnMut(&State) -> bool) {
        let mut state = self.state.subscribe();
        let sender_is_gone = state.wait_for(holds).await.is_err();
        if sender_is_gone {
            // Cannot happen: `self` holds the sender.
            std::future::pending::<()>().await;
        }
    }
}

impl MissingRight {
    fn is_recent(&self) -> bool {
        self.last_refusal.elapsed() < MISSING_RIGHT_MEMORY
    }
}

impl Store {
    /// Returns the watch on the database's availability.
    pub fn availability(&self) -> &AvailabilityWatch {
        &self.inner.availability
    }

    /// Looks for a server that takes writes, even if the database is known to be unavailable. Meanwhile
    /// the driver's monitors look twice a second; otherwise they look seldom.
    pub async fn look_for_primary(&self) -> Result<(), StoreError> {
        let ping = self.database().run_command(bson::doc! {"ping": 1});
        match timeout(ATTEMPT_TIMEOUT, ping.into_future()).await {
            Ok(answer) => answer.map(drop).map_err(StoreError::from),
            Err(_) => Err(StoreError::TimedOut {
                waited: ATTEMPT_TIMEOUT,
            }),
        }
    }
}

/// Returns a pause of about this length, so that many nodes do not come back at once.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.5))
}

/// Says why no server takes writes, one clause a server.
fn reason(topology: &TopologyDescription) -> String {
    let mut servers: Vec<String> = topology
        .servers()
        .iter()
        .map(|(address, server)| match server.error() {
            Some(error) => format!("{address}: {}", brief(error)),
            None => format!("{address}: {}", in_words(server.server_type())),
        })
        .collect();
    servers.sort_unstable();
    servers.join("; ")
}

fn in_words(server: mongodb::ServerType) -> &'static str {
    match server {
        mongodb::ServerType::RsSecondary => "secondary",
        mongodb::ServerType::RsArbiter => "arbiter",
        mongodb::ServerType::Unknown => "unknown yet",
        _ => "takes no writes",
    }
}

/// Returns the database that these options describe, watched by `watch`.
pub(in crate::store) fn watched(
    mut options: mongodb::options::ClientOptions,
    name: &str,
    watch: &AvailabilityWatch,
) -> mongodb::error::Result<Database> {
    options.sdam_event_handler = Some(watch.observer());
    Ok(mongodb::Client::with_options(options)?.database(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_hours(1);
    const REFUSED: &str = "a:1: connection refused";

    fn lose_primary(watch: &AvailabilityWatch, reason: &str) {
        watch.observe(Some(reason.to_owned()));
    }

    fn outage(watch: &AvailabilityWatch) -> Outage {
        match watch.now() {
            Availability::Unavailable(outage) => outage,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_database_without_a_primary_is_unavailable_only_after_a_while() {
        let patient = AvailabilityWatch::new(GRACE);
        lose_primary(&patient, REFUSED);
        assert!(matches!(patient.now(), Availability::NoPrimary(_)));
        let strict = AvailabilityWatch::new(Duration::ZERO);
        assert!(
            matches!(strict.now(), Availability::Up),
            "it was just reached"
        );
        lose_primary(&strict, REFUSED);
        let since = outage(&strict).since;
        lose_primary(&strict, "a:1: not primary");
        let longer = outage(&strict);
        assert_eq!((longer.since, &*longer.reason), (since, "a:1: not primary"));
        strict.observe(None);
        assert!(matches!(strict.now(), Availability::Up));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_told_of_both() {
        let watch = AvailabilityWatch::new(Duration::ZERO);
        watch.wait_primary().await;
        let waiting = watch.clone();
        let unavailable = tokio::spawn(async move { waiting.wait_unavailable().await });
        lose_primary(&watch, REFUSED);
        assert!(unavailable.await.unwrap().reason.contains("refused"));
        let waiting = watch.clone();
        let primary = tokio::spawn(async move { waiting.wait_primary().await });
        watch.observe(None);
        primary.await.unwrap();
    }

    #[tokio::test]
    async fn a_short_outage_is_waited_out() {
        let watch = AvailabilityWatch::new(GRACE);
        lose_primary(&watch, REFUSED);
        let unavailable = watch.wait_unavailable();
        let mut unavailable = std::pin::pin!(unavailable);
        assert!(futures_util::poll!(unavailable.as_mut()).is_pending());
        watch.observe(None);
        assert!(futures_util::poll!(unavailable.as_mut()).is_pending());
    }

    #[test]
    fn a_missing_right_is_remembered_and_refuses_nothing() {
        let watch = AvailabilityWatch::new(Duration::ZERO);
        assert_eq!(watch.missing_right(), None);
        watch.note_missing_right("not authorized");
        assert_eq!(watch.missing_right().as_deref(), Some("not authorized"));
        assert!(matches!(watch.now(), Availability::Up));
    }
}
