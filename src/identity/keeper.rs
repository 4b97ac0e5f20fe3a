//! The task that keeps the keys of one issuer.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::source::{Read, Source, SourceFault};
use crate::{
    access::KeySet,
    config::{self, ConfigError},
    router::RouterHandle,
    telemetry::Metrics,
};

/// The shortest time between two reads for tokens that name unknown keys. Anybody can make such a token.
const PAUSE_BETWEEN_ASKS: Duration = Duration::from_secs(30);
/// The longest time until a read is tried again that failed.
const RETRY: Duration = Duration::from_secs(10);

/// The keys of an issuer, as its keeper has them.
#[derive(Clone, Default, Debug)]
pub(super) struct Known {
    /// True once a read was tried.
    pub(super) tried: bool,
    /// `None` until they were read; empty once they are too old.
    pub(super) keys: Option<Arc<KeySet>>,
}

/// The keeper of an issuer's keys. [`Keeper::run`] is its task.
#[derive(Debug)]
pub(crate) struct Keeper {
    name: Box<str>,
    source: Source,
    refresh: Duration,
    stale: Duration,
    known: watch::Sender<Known>,
    asks: mpsc::Receiver<oneshot::Sender<()>>,
    metrics: Arc<Metrics>,
    /// The time of the last good read.
    read_at: Option<Instant>,
    next_read: Instant,
    /// The time of the last read that a token asked for.
    asked_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        name: &str,
        source: Source,
        settings: &config::Issuer,
        asks: mpsc::Receiver<oneshot::Sender<()>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            name: name.into(),
            source,
            refresh: settings.jwks_refresh,
            stale: settings.jwks_stale,
            known: watch::Sender::default(),
            asks,
            metrics,
            read_at: None,
            next_read: Instant::now(),
            asked_at: None,
        }
    }

    pub(super) fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Reads the keys of a file, which must be there at the start.
    pub(super) async fn read_file(&mut self) -> Result<(), ConfigError> {
        let Some(setting) = self.source.file_setting() else {
            return Ok(());
        };
        let read = self.source.read().await;
        let setting = format!("issuers.{}.{setting}", self.name);
        let read = read.map_err(|fault| ConfigError::refused(setting, fault.to_string()))?;
        self.accept(read);
        Ok(())
    }

    /// Keeps the keys. Tells the router which of them left.
    pub(crate) async fn run(mut self, router: RouterHandle) {
        loop {
            let asked = {
                let mut due = pin!(sleep_until(self.next_read));
                tokio::select! {
                    () = &mut due => None,
                    Some(ask) = self.asks.recv() => Some(ask),
                }
            };
            if asked.is_none() || self.may_ask() {
                self.read(&router).await;
            }
            if let Some(ask) = asked
                && ask.send(()).is_err()
            {
                tracing::trace!("the request no longer waits for keys");
            }
        }
    }

    /// Whether a token may have the keys read now.
    fn may_ask(&mut self) -> bool {
        let soon = |at: Instant| at.elapsed() < PAUSE_BETWEEN_ASKS;
        if self.asked_at.is_some_and(soon) {
            return false;
        }
        self.asked_at = Some(Instant::now());
        true
    }

    async fn read(&mut self, router: &RouterHandle) {
        let before = self.known.borrow().keys.clone();
        match self.source.read().await {
            Ok(read) => self.accept(read),
            Err(fault) => self.fail(&fault),
        }
        let now = self.known.borrow().keys.clone();
        let (Some(now), before) = (now, before.unwrap_or_default()) else {
            return;
        };
        if let Some(change) = now.change_from(&before, &self.name) {
            let (left, came) = (change.left.len(), change.came.len());
            tracing::info!(issuer = %self.name, left, came, "the keys of an issuer have changed");
            if !router.keys_changed(change).await {
                tracing::debug!("the router has ended");
            }
        }
    }

    fn accept(&mut self, read: Read) {
        let Read { keys, fresh_for } = read;
        let (usable, skipped) = keys.counts();
        if usable == 0 {
            tracing::warn!(issuer = %self.name, skipped, "an issuer has no key that can be used: none of its tokens stands");
        }
        let issuers = &self.metrics.issuers;
        issuers.read(&self.name, "ok");
        issuers.has_keys(&self.name, usable, skipped);
        let now = Instant::now();
        self.read_at = Some(now);
        let pause = fresh_for.unwrap_or(self.refresh).min(self.stale);
        self.next_read = now + early(pause);
        self.known.send_replace(Known {
            tried: true,
            keys: Some(Arc::new(keys)),
        });
    }

    /// Notes a read that failed. The keys of the last good one count on, for a time.
    fn fail(&mut self, fault: &SourceFault) {
        let issuers = &self.metrics.issuers;
        issuers.read(&self.name, fault.outcome());
        tracing::warn!(issuer = %self.name, error = %fault, "cannot read the keys of an issuer");
        let now = Instant::now();
        self.next_read = now + early(RETRY.min(self.refresh));
        let end = self.read_at.map(|at| at + self.stale);
        let is_stale = end.is_some_and(|end| end <= now);
        if let Some(end) = end.filter(|_| !is_stale) {
            self.next_read = self.next_read.min(end);
        }
        self.known.send_modify(|known| {
            known.tried = true;
            let has_any = |keys: &Arc<KeySet>| keys.counts().0 > 0;
            if is_stale && known.keys.as_ref().is_some_and(has_any) {
                tracing::error!(issuer = %self.name, "the keys of an issuer are too old: none of its tokens stands");
                issuers.has_keys(&self.name, 0, 0);
                known.keys = Some(Arc::default());
            }
        });
    }
}

/// Returns a time up to a tenth shorter, so that nodes do not ask at the same moment.
fn early(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.9..1.0))
}
