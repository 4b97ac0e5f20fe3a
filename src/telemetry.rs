//! What operators see: log lines, metrics, and the health of each part.
//!
//! Others report here; nothing here decides anything.

mod health;
mod lag;
mod logging;
mod metrics;
mod printable;

pub use self::health::{BEHIND_AFTER, FeedState, Health, Part};
pub use self::lag::{Lag, Unapplied};
pub use self::logging::start_logging;
pub use self::metrics::{Figures, HttpLabels, Level, Metrics, OPENMETRICS_CONTENT_TYPE};
pub use self::printable::{Printable, PrintableJson, steers};
