//! The router's figures, which one scrape shows as they were at one moment.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Numbers that only make sense together: opened connections are the open and the closed ones.
#[derive(Clone, Default, Debug)]
pub(crate) struct Figures {
    /// Connections opened since the start.
    pub(crate) opened: u64,
    /// Connections open now.
    pub(crate) open: u64,
    /// Connections ended since the start, by reason.
    pub(crate) closed: Vec<(&'static str, u64)>,
    /// Channels opened since the start, open now, and ended since the start, by reason.
    pub(crate) channels_opened: u64,
    pub(crate) channels: u64,
    pub(crate) channels_closed: Vec<(&'static str, u64)>,
    /// Subscriptions by status.
    pub(crate) subscriptions: Vec<(&'static str, u64)>,
    /// Filters that the index cannot look up and tries one by one.
    pub(crate) filters_scanned: u64,
}

/// Shows [`Figures`] as metric families.
#[derive(Debug)]
pub(super) struct FiguresCollector(pub(super) Arc<Mutex<Figures>>);

impl Collector for FiguresCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = ConstCounter::new(figures.opened);
        opened.encode(encoder.encode_descriptor(
            "connections_opened",
            "Connections opened",
            None,
            opened.metric_type(),
        )?)?;
        let open = ConstGauge::new(figures.open);
        open.encode(encoder.encode_descriptor(
            "connections",
            "Connections open now",
            None,
            open.metric_type(),
        )?)?;
        let mut closed = encoder.encode_descriptor(
            "connections_closed",
            "Connections ended, by reason",
            None,
            opened.metric_type(),
        )?;
        for (reason, count) in &figures.closed {
            let counter = ConstCounter::new(*count);
            counter.encode(closed.encode_family(&[("reason", *reason)])?)?;
        }
        encode_channels(&figures, &mut encoder)?;
        let scanned = ConstGauge::new(figures.filters_scanned);
        scanned.encode(encoder.encode_descriptor(
            "filters_scanned",
            "Different filters that the index cannot look up and tries on every event",
            None,
            open.metric_type(),
        )?)?;
        let mut subscriptions = encoder.encode_descriptor(
            "subscriptions",
            "Subscriptions that this node knows, by status",
            None,
            open.metric_type(),
        )?;
        for (status, count) in &figures.subscriptions {
            let gauge = ConstGauge::new(*count);
            gauge.encode(subscriptions.encode_family(&[("status", *status)])?)?;
        }
        Ok(())
    }
}

fn encode_channels(
    figures: &Figures,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let opened = ConstCounter::new(figures.channels_opened);
    opened.encode(encoder.encode_descriptor(
        "channels_opened",
        "Channels opened: subscriptions on connections",
        None,
        opened.metric_type(),
    )?)?;
    let open = ConstGauge::new(figures.channels);
    open.encode(encoder.encode_descriptor(
        "channels",
        "Channels open now",
        None,
        open.metric_type(),
    )?)?;
    let mut closed = encoder.encode_descriptor(
        "channels_closed",
        "Channels ended, by reason",
        None,
        opened.metric_type(),
    )?;
    for (reason, count) in &figures.channels_closed {
        let counter = ConstCounter::new(*count);
        counter.encode(closed.encode_family(&[("reason", *reason)])?)?;
    }
    Ok(())
}
