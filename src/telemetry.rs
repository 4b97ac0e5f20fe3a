//! Log lines, metrics, and the health of each part, for operators.
//!
//! Others report here. Nothing here decides anything.

mod health;
mod lag;
mod logging;
mod metrics;
mod printable;

pub(crate) use self::health::{BEHIND_AFTER, FeedState, Health, Part};
pub(crate) use self::lag::{Lag, Unapplied};
pub(crate) use self::logging::start_logging;
pub(crate) use self::metrics::{Level, Metrics, OPENMETRICS_CONTENT_TYPE};
pub(crate) use self::printable::{Printable, PrintableJson, steers};
