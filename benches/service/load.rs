//! The load's side: sockets that count, and windows of time in which they do.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::{Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    receiver::Receiver,
    samples::Samples,
    service::Service,
    socket::{self, End},
    tally::Tally,
};

/// Sockets that connect at the same time.
pub(crate) const CONNECTING: usize = 50;
/// How long nothing may come while something is owed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of a saturated window, what is left out at its beginning.
const WARM_UP: Duration = Duration::from_secs(1);

/// Open sockets of one service.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) tally: Arc<Tally>,
    tasks: JoinSet<End>,
}

/// What a window has shown.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) messages_per_second: f64,
    /// Server CPU, microseconds.
    pub(crate) cpu_per_message: f64,
    /// From publish to receipt, milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// From publish until the service could know of it, milliseconds (p50): until a bare change stream
    /// beside it has the event. Zero where publishing is telling the service itself.
    pub(crate) known: f64,
    pub(crate) frame_bytes: f64,
}

impl Load {
    /// Opens a socket for each of the paths.
    pub(crate) async fn open(&mut self, host: &str, paths: Vec<String>) -> Result<()> {
        let mut opening = stream::iter(paths)
            .map(async |path| socket::open(host, &path).await.map_err(anyhow::Error::msg))
            .buffer_unordered(CONNECTING);
        while let Some((stream, first)) = opening.try_next().await? {
            let receiver = Receiver::new(Arc::clone(&self.tally), self.tasks.len() as u64);
            self.tasks.spawn(receiver.read(stream, first));
        }
        Ok(())
    }

    /// Takes a socket that speaks something else.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = End> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until so many have been greeted.
    pub(crate) async fn greeted(&self, sockets: u64) -> Result<()> {
        self.until(|tally| tally.connected.load(Relaxed) >= sockets)
            .await
    }

    /// Waits until so many messages have come in all.
    pub(crate) async fn received(&self, messages: u64) -> Result<()> {
        self.until(|tally| tally.messages() >= messages).await
    }

    async fn until(&self, done: impl Fn(&Tally) -> bool) -> Result<()> {
        let (mut seen, mut since) = (0, Instant::now());
        while !done(&self.tally) {
            let now = self.tally.messages() + self.tally.connected.load(Relaxed);
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                bail!("nothing came for {PATIENCE:?}, after {now} messages");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Nobody was closed: a figure of those that are left would be none of all.
    pub(crate) fn all_open(&mut self) -> Result<()> {
        let ended = self.tasks.try_join_next();
        ensure!(ended.is_none(), "a socket was closed: {ended:?}");
        Ok(())
    }

    /// Events one by one at a rate; every one goes to `audience` sockets.
    pub(crate) async fn paced(
        &mut self,
        service: &mut impl Service,
        audience: u64,
        rate: u32,
        span: Duration,
    ) -> Result<Window> {
        let begun = Mark::of(self, service)?;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        let count = (span.as_secs_f64() * f64::from(rate)).ceil();
        let mut published = 0_u32;
        while f64::from(published) < count {
            ticks.tick().await;
            service.publish(1).await?;
            published += 1;
        }
        self.received(begun.messages + u64::from(published) * audience)
            .await?;
        self.all_open()?;
        begun.until_now(self, service)
    }

    /// Events in batches, so that always about `ahead` are on their way.
    pub(crate) async fn saturated(
        &mut self,
        service: &mut impl Service,
        audience: u64,
        (batch, ahead): (u32, u32),
        span: Duration,
    ) -> Result<Window> {
        let (before, began) = (self.tally.messages(), Instant::now());
        let (mut owed, mut mark) = (0, None);
        while began.elapsed() < WARM_UP + span {
            if mark.is_none() && began.elapsed() >= WARM_UP {
                mark = Some(Mark::of(self, service)?);
            }
            if owed < self.tally.messages() - before + u64::from(ahead) * audience {
                service.publish(batch).await?;
                owed += u64::from(batch) * audience;
            } else {
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        }
        let Some(mark) = mark else {
            bail!("one batch took the whole window");
        };
        let window = mark.until_now(self, service)?;
        self.received(before + owed).await?;
        self.all_open()?;
        Ok(window)
    }
}

/// A moment at which a window begins.
struct Mark {
    at: Instant,
    cpu: Duration,
    messages: u64,
    bytes: u64,
}

impl Mark {
    fn of(load: &Load, service: &impl Service) -> Result<Self> {
        drop(std::mem::take(&mut *load.tally.samples()));
        Ok(Self {
            at: Instant::now(),
            cpu: service.cpu()?,
            messages: load.tally.messages(),
            bytes: load.tally.bytes.load(Relaxed),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn until_now(&self, load: &Load, service: &impl Service) -> Result<Window> {
        let messages = (load.tally.messages() - self.messages) as f64;
        let cpu = service.cpu()?.saturating_sub(self.cpu);
        let mut samples: Samples = std::mem::take(&mut *load.tally.samples());
        let mut millis = |percent| samples.percentile(percent).map_or(f64::NAN, f64::from) / 1e3;
        Ok(Window {
            messages_per_second: messages / self.at.elapsed().as_secs_f64(),
            cpu_per_message: cpu.as_secs_f64() * 1e6 / messages,
            p50: millis(50),
            p99: millis(99),
            known: 0.0,
            frame_bytes: (load.tally.bytes.load(Relaxed) - self.bytes) as f64 / messages,
        })
    }
}
