//! What the oplog means for clients that are away, in words. Pure.

use std::time::Duration;

use super::findings::{Finding, Verdict, amiss, good};
use crate::{config::Config, store::Oplog};

/// A client that was away this long should find everything in the oplog.
const WINDOW: Duration = Duration::from_hours(24);
/// Seconds of writes from which the rate of writes can be told.
const LONG_ENOUGH_TO_TELL: u64 = 3_600;
/// What the advice asks for: a long weekend.
const ADVISED_HOURS: u64 = 72;

pub(super) fn window(oplog: &Oplog) -> Finding {
    let Some(begin) = oplog.begin else {
        return amiss(
            "oplog",
            Verdict::Unknown,
            "how far it reaches back may not be read",
            "The service then cannot show lossInSeconds and tidegate_oplog_window_seconds, nor warn before \
             positions are lost. Grant the role clusterMonitor on admin, or read on local.",
        );
    };
    let reach = u64::from(oplog.now.time.saturating_sub(begin.time));
    let mut found = format!("reaches back {}", span(reach));
    // A young oplog reaches back to its first day; what counts is how far a full one will.
    let mut full = reach;
    if let Some((bytes, most)) = oplog.bytes {
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        found = format!("{found}, {} of {} MB", megabytes(bytes), megabytes(most));
        if bytes < most && reach < LONG_ENOUGH_TO_TELL {
            let advice =
                "Too young to tell how far it reaches when it is full: look again in an hour.";
            return amiss("oplog", Verdict::Unknown, found, advice);
        }
        if bytes > 0 && bytes < most {
            full = u64::try_from(u128::from(reach) * u128::from(most) / u128::from(bytes))
                .unwrap_or(u64::MAX);
            found = format!(
                "{found}; full, at the rate so far, it reaches back {}",
                span(full)
            );
        }
    }
    let held = Duration::from_secs_f64(oplog.min_retention_hours.unwrap_or(0.0) * 3_600.0);
    if full >= WINDOW.as_secs() || held >= WINDOW {
        return good("oplog", found);
    }
    amiss(
        "oplog",
        Verdict::Warning,
        found,
        "Clients that are away for longer are served from the collection of events, at least once and \
         not exactly once. Give it more time (see below) or more room, on each member:\n  \
         db.adminCommand({replSetResizeOplog: 1, size: MEGABYTES})",
    )
}

pub(super) fn retention(oplog: &Oplog, config: &Config) -> Finding {
    const NAME: &str = "oplog minimum";
    let kept = config.retention.as_secs() / 3_600;
    let hours = ADVISED_HOURS.min(kept.max(1));
    let explained = format!(
        "oplogMinRetentionHours keeps entries of the oplog for at least so long, whatever its size: without \
         it a burst of writes can push out within minutes what clients that are away, and this service \
         itself, still need. It costs disk in such a burst. Long enough for the longest absence that you \
         want to bridge exactly; more than `retention` ({kept} h) is of no use. On each member:\n  \
         db.adminCommand({{replSetResizeOplog: 1, minRetentionHours: {hours}}})\n\
         and for its next start in its file: storage.oplogMinRetentionHours: {hours}"
    );
    match oplog.min_retention_hours {
        None => amiss(
            NAME,
            Verdict::Unknown,
            "oplogMinRetentionHours may not be read (role clusterMonitor)",
            explained,
        ),
        Some(0.0) => amiss(
            NAME,
            Verdict::Warning,
            "oplogMinRetentionHours is 0: size alone decides how far the oplog reaches back",
            explained,
        ),
        Some(hours) => good(NAME, format!("oplogMinRetentionHours is {hours}")),
    }
}

/// A span of time, to its two largest units.
fn span(seconds: u64) -> String {
    let unit = match seconds {
        0..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    humantime::format_duration(Duration::from_secs(seconds / unit * unit)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::Timestamp;

    fn oplog(reach: u32, bytes: Option<(u64, u64)>, hours: Option<f64>) -> Oplog {
        let at = |time| Timestamp { time, increment: 0 };
        Oplog {
            begin: Some(at(1_000_000)),
            now: at(1_000_000 + reach),
            bytes,
            min_retention_hours: hours,
        }
    }

    #[test]
    fn an_oplog_is_judged_by_how_far_it_reaches_when_it_is_full() {
        const MB: u64 = 1 << 20;
        let (hour, day) = (3_600, 86_400);
        for (oplog, verdict) in [
            (oplog(day, Some((10 * MB, 10 * MB)), None), Verdict::Good),
            (
                oplog(hour, Some((10 * MB, 10 * MB)), None),
                Verdict::Warning,
            ),
            (
                oplog(hour, Some((10 * MB, 10 * MB)), Some(24.0)),
                Verdict::Good,
            ),
            (oplog(hour, Some((MB, 100 * MB)), None), Verdict::Good),
            (
                oplog(hour, Some((50 * MB, 100 * MB)), None),
                Verdict::Warning,
            ),
            (oplog(60, Some((MB, 100 * MB)), None), Verdict::Unknown),
            (oplog(day, None, None), Verdict::Good),
        ] {
            assert_eq!(window(&oplog).verdict, verdict, "{oplog:?}");
        }
    }

    #[test]
    fn the_advice_on_the_minimum_is_not_more_than_events_are_kept() {
        let mut config = Config::default();
        let advice = |config: &Config| retention(&oplog(1, None, Some(0.0)), config).advice;
        assert!(advice(&config).unwrap().contains("minRetentionHours: 72"));
        config.retention = Duration::from_hours(10);
        assert!(advice(&config).unwrap().contains("minRetentionHours: 10"));
        let set = retention(&oplog(1, None, Some(2.5)), &config);
        assert_eq!((set.verdict, set.advice), (Verdict::Good, None));
    }
}
