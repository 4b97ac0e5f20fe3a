//! Windows of time in which a service is measured.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::{Result, bail};
use tidegate::client::counting::Samples;
use tokio::time::Instant;

use super::{load::Load, service::Service};

/// The beginning of a saturated window, which is left out.
const WARM_UP: Duration = Duration::from_secs(1);

/// The figures of a window.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) messages_per_second: f64,
    /// CPU of the service, microseconds.
    pub(crate) cpu_per_message: f64,
    /// From publish to receipt, milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// From publish until a bare change stream beside the service has the event, so that the service could know of it,
    /// milliseconds (p50). Zero where events are published to the service itself.
    pub(crate) known: f64,
    pub(crate) frame_bytes: f64,
}

/// Publishes events one by one at a rate. Each goes to `audience` sockets.
pub(crate) async fn paced(
    load: &mut Load,
    service: &mut impl Service,
    audience: u64,
    rate: u32,
    span: Duration,
) -> Result<Window> {
    let begun = Mark::of(load, service)?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let count = (span.as_secs_f64() * f64::from(rate)).ceil();
    let mut published = 0_u32;
    while f64::from(published) < count {
        ticks.tick().await;
        service.publish(1).await?;
        published += 1;
    }
    load.received(begun.messages + u64::from(published) * audience)
        .await?;
    load.all_open()?;
    begun.until_now(load, service)
}

/// Publishes events in batches, so that about `ahead` are always on their way.
pub(crate) async fn saturated(
    load: &mut Load,
    service: &mut impl Service,
    audience: u64,
    (batch, ahead): (u32, u32),
    span: Duration,
) -> Result<Window> {
    let (before, began) = (load.tally.messages(), Instant::now());
    let (mut owed, mut mark) = (0, None);
    while began.elapsed() < WARM_UP + span {
        if mark.is_none() && began.elapsed() >= WARM_UP {
            mark = Some(Mark::of(load, service)?);
        }
        if owed < load.tally.messages() - before + u64::from(ahead) * audience {
            service.publish(batch).await?;
            owed += u64::from(batch) * audience;
        } else {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
    let Some(mark) = mark else {
        bail!("one batch took the whole window");
    };
    let window = mark.until_now(load, service)?;
    load.received(before + owed).await?;
    load.all_open()?;
    Ok(window)
}

/// The beginning of a window.
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
