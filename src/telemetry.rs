//! What operators see: log lines, metrics, and the health of each part.
//!
//! Others report here; nothing here decides anything.

mod health;
mod lag;
mod metrics;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use self::health::{BEHIND_AFTER, FeedState, Health, Part};
pub use self::lag::{Lag, Unapplied};
pub use self::metrics::{Figures, HttpLabels, Metrics, OPENMETRICS_CONTENT_TYPE};
use crate::config::LogFormat;

/// Starts logging to standard error for the whole process. `filter` is `tracing`'s filter language.
/// A second call in one process changes nothing.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<(), String> {
    // The reason quotes the filter.
    let filter = EnvFilter::try_new(filter)
        .map_err(|_| "must be a level, or levels by module, such as warn,tidegate::feed=debug")?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was started already");
    }
    Ok(())
}
