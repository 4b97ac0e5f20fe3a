//! Whether the database is there: one state, and the evidence for it.
//!
//! The driver watches every server of the set (by a `hello` that a server answers as soon as something
//! changes) and knows whether one of them takes writes. That is the evidence; a single call that fails is
//! none. Where no server has taken writes for `limits.away_after`, the database is *away*: calls are refused
//! at once, and those under way end. A shorter time, such as most elections, is waited for. Reads are no
//! exception, although a secondary may be there: they are to show what was written before.
//!
//! Beside it stands whether the database lately forbade what this service needs. That refuses nothing: the
//! server answers such a call as fast as this could, and the next one may be allowed.

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

use super::{Store, StoreError, error::brief};

/// How long one question for the database may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// A right that was missing this long ago, and was not asked for since, counts as given again.
const FORBIDDEN_FOR: Duration = Duration::from_secs(15);

/// Whether the database is there; clones share what they know.
#[derive(Clone, Debug)]
pub struct Presence {
    known: Arc<watch::Sender<Known>>,
    away_after: Duration,
}

/// What is known.
#[derive(Clone, Default, Debug)]
struct Known {
    lost: Option<Lost>,
    forbidden: Option<Forbidden>,
}

/// No server takes writes.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Since when.
    pub since: Instant,
    /// What the servers last said, in one line.
    pub reason: String,
}

/// A call was refused for want of a right.
#[derive(Clone, Debug)]
struct Forbidden {
    last: Instant,
    detail: String,
}

impl Presence {
    /// A database that was just reached.
    pub(super) fn new(away_after: Duration) -> Self {
        Self {
            known: Arc::new(watch::Sender::new(Known::default())),
            away_after,
        }
    }

    /// What the driver is to tell its observations to.
    pub(super) fn observer(&self) -> EventHandler<SdamEvent> {
        let presence = self.clone();
        EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(change) = event {
                let topology = &change.new_description;
                presence.observed((!topology.has_writable_server()).then(|| reason(topology)));
            }
        })
    }

    /// Some server takes writes, or none does for this reason.
    fn observed(&self, lost: Option<String>) {
        self.known
            .send_if_modified(|known| match (lost, &mut known.lost) {
                (None, None) => false,
                (None, was) => {
                    *was = None;
                    true
                }
                // It is as long ago as it was; the reason may be a better one.
                (Some(reason), Some(was)) => {
                    was.reason = reason;
                    false
                }
                (Some(reason), was) => {
                    let since = Instant::now();
                    *was = Some(Lost { since, reason });
                    true
                }
            });
    }

    /// A call was refused for want of a right.
    pub fn forbidden(&self, detail: &str) {
        let last = Instant::now();
        let detail = detail.to_owned();
        self.known
            .send_modify(|known| known.forbidden = Some(Forbidden { last, detail }));
    }

    /// The right that is missing, in the server's words, if one was missed lately.
    pub fn missing_right(&self) -> Option<String> {
        let known = self.known.borrow();
        let recent = known.forbidden.as_ref().filter(|f| f.is_recent());
        recent.map(|forbidden| forbidden.detail.clone())
    }

    /// Whether no server takes writes now, which need not be for long.
    pub fn is_lost(&self) -> bool {
        self.known.borrow().lost.is_some()
    }

    /// Whether the database is away, and since when.
    pub fn away(&self) -> Option<Lost> {
        let lost = self.known.borrow().lost.clone();
        lost.filter(|lost| lost.since.elapsed() >= self.away_after)
    }

    /// Waits until the database is away.
    pub async fn gone(&self) -> Lost {
        loop {
            let lost = self.known.borrow().lost.clone();
            let Some(lost) = lost else {
                self.lost().await;
                continue;
            };
            let due = lost.since + self.away_after;
            tokio::select! {
                () = sleep_until(due.into()) => return lost,
                () = self.back() => {}
            }
        }
    }

    /// Waits until no server takes writes, which need not be for long.
    pub async fn lost(&self) {
        self.until(|known| known.lost.is_some()).await;
    }

    /// Waits until a right is missed.
    pub async fn until_forbidden(&self) {
        self.until(|known| {
            let forbidden = known.forbidden.as_ref();
            forbidden.is_some_and(Forbidden::is_recent)
        })
        .await;
    }

    /// Waits until a server takes writes; returns at once where one does.
    pub async fn back(&self) {
        self.until(|known| known.lost.is_none()).await;
    }

    async fn until(&self, holds: impl FnMut(&Known) -> bool) {
        let mut known = self.known.subscribe();
        let sender_is_gone = known.wait_for(holds).await.is_err();
        if sender_is_gone {
            // Not to be: this value holds it.
            std::future::pending::<()>().await;
        }
    }
}

impl Forbidden {
    fn is_recent(&self) -> bool {
        self.last.elapsed() < FORBIDDEN_FOR
    }
}

impl Store {
    /// Whether the database is there.
    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// Asks for a server that takes writes, whatever is known. The driver's monitors look twice a second
    /// while someone asks, and seldom else.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let ping = self.database().run_command(bson::doc! {"ping": 1});
        match timeout(PROBE_TIMEOUT, ping.into_future()).await {
            Ok(answer) => answer.map(drop).map_err(StoreError::from),
            Err(_) => Err(StoreError::TimedOut {
                waited: PROBE_TIMEOUT,
            }),
        }
    }
}

/// A pause of about this length, so that many nodes do not come back at once.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.5))
}

/// Why no server takes writes, one clause a server.
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

/// The database that `client` options describe, watched.
pub(super) fn watched(
    mut options: mongodb::options::ClientOptions,
    name: &str,
    presence: &Presence,
) -> mongodb::error::Result<Database> {
    options.sdam_event_handler = Some(presence.observer());
    Ok(mongodb::Client::with_options(options)?.database(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_hours(1);
    const REFUSED: &str = "a:1: connection refused";

    fn lose(presence: &Presence, reason: &str) {
        presence.observed(Some(reason.to_owned()));
    }

    #[test]
    fn a_database_without_a_primary_is_away_only_after_a_while() {
        let patient = Presence::new(GRACE);
        lose(&patient, REFUSED);
        assert!(patient.away().is_none());
        let strict = Presence::new(Duration::ZERO);
        assert!(strict.away().is_none(), "it was just reached");
        lose(&strict, REFUSED);
        let since = strict.away().expect("away").since;
        lose(&strict, "a:1: not primary");
        let away = strict.away().expect("away still");
        assert_eq!((away.since, &*away.reason), (since, "a:1: not primary"));
        strict.observed(None);
        assert!(strict.away().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_of_both() {
        let presence = Presence::new(Duration::ZERO);
        presence.back().await;
        let watching = presence.clone();
        let gone = tokio::spawn(async move { watching.gone().await });
        lose(&presence, REFUSED);
        assert!(gone.await.unwrap().reason.contains("refused"));
        let watching = presence.clone();
        let back = tokio::spawn(async move { watching.back().await });
        presence.observed(None);
        back.await.unwrap();
    }

    #[tokio::test]
    async fn a_short_loss_is_waited_for() {
        let presence = Presence::new(GRACE);
        lose(&presence, REFUSED);
        let gone = presence.gone();
        let mut gone = std::pin::pin!(gone);
        assert!(futures_util::poll!(gone.as_mut()).is_pending());
        presence.observed(None);
        assert!(futures_util::poll!(gone.as_mut()).is_pending());
    }

    #[test]
    fn a_missing_right_is_remembered_and_refuses_nothing() {
        let presence = Presence::new(Duration::ZERO);
        assert_eq!(presence.missing_right(), None);
        presence.forbidden("not authorized");
        assert_eq!(presence.missing_right().as_deref(), Some("not authorized"));
        assert!(presence.away().is_none());
    }
}
