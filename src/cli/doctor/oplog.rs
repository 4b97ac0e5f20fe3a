//! The oplog's meaning for clients that are away, in words. Pure.

use std::time::Duration;

use super::finding::{Finding, Verdict};
use crate::{config::Config, store::Oplog};

/// The absence that the oplog should cover.
const WINDOW: Duration = Duration::from_hours(24);
/// The shortest history from which the rate of writes can be estimated, in seconds.
const ENOUGH_HISTORY_SECONDS: u64 = 3_600;
/// The advised minimum: a long weekend.
const ADVISED_HOURS: u64 = 72;

pub(super) fn window(oplog: &Oplog) -> Finding {
    let Some(begin) = oplog.begin else {
        return Finding::with_advice(
            "oplog",
            Verdict::Unknown,
            "its reach may not be read",
            "The service cannot show lossInSeconds and tidegate_oplog_window_seconds, nor warn before \
             positions are lost. Grant the role clusterMonitor on admin, or read on local.",
        );
    };
    let reach = u64::from(oplog.now.time.saturating_sub(begin.time));
    let mut found = format!("reaches back {}", span(reach));
    // A young oplog reaches back to its first day. Its reach once it is full is what counts.
    let mut full = reach;
    if let Some((bytes, most)) = oplog.bytes {
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        found = format!("{found}, {} of {} MB", megabytes(bytes), megabytes(most));
        if bytes < most && reach < ENOUGH_HISTORY_SECONDS {
            let advice = "Too young to estimate its reach once it is full. Look again in an hour.";
            return Finding::with_advice("oplog", Verdict::Unknown, found, advice);
        }
        if bytes > 0 && bytes < most {
            full = u64::try_from(u128::from(reach) * u128::from(most) / u128::from(bytes))
                .unwrap_or(u64::MAX);
            found = format!(
                "{found}; once full, at the rate so far, it will reach back {}",
                span(full)
            );
        }
    }
    let held = Duration::from_secs_f64(oplog.min_retention_hours.unwrap_or(0.0) * 3_600.0);
    if full >= WINDOW.as_secs() || held >= WINDOW {
        return Finding::good("oplog", found);
    }
    Finding::with_advice(
        "oplog",
        Verdict::Warning,
        found,
        "Clients that are away for longer are served from the archive (the collection events): at least \
         once, not exactly once. Give the oplog more time (see below) or more room, on each member:\n  \
         db.adminCommand({replSetResizeOplog: 1, size: MEGABYTES})",
    )
}

pub(super) fn retention(oplog: &Oplog, config: &Config) -> Finding {
    const NAME: &str = "oplog minimum";
    let kept = config.retention.as_secs() / 3_600;
    let hours = ADVISED_HOURS.min(kept.max(1));
    let explained = format!(
        "oplogMinRetentionHours keeps entries of the oplog for at least that long, whatever its size. \
         Without it a burst of writes can push out, within minutes, entries that absent clients and this \
         service still need. It costs disk in such a burst. Choose the longest absence that you want to \
         cover exactly; more than `retention` ({kept} h) is of no use. On each member:\n  \
         db.adminCommand({{replSetResizeOplog: 1, minRetentionHours: {hours}}})\n\
         and in its configuration file, for its next start: storage.oplogMinRetentionHours: {hours}"
    );
    match oplog.min_retention_hours {
        None => Finding::with_advice(
            NAME,
            Verdict::Unknown,
            "the user may not read oplogMinRetentionHours (role clusterMonitor)",
            explained,
        ),
        Some(0.0) => Finding::with_advice(
            NAME,
            Verdict::Warning,
            "oplogMinRetentionHours is 0: only its size decides how far back the oplog reaches",
            explained,
        ),
        Some(hours) => Finding::good(NAME, format!("oplogMinRetentionHours is {hours}")),
    }
}

/// Formats a span of time, to its two largest units.
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
    fn the_advised_minimum_is_at_most_the_retention() {
        let mut config = Config::default();
        let advice = |config: &Config| retention(&oplog(1, None, Some(0.0)), config).advice;
        assert!(advice(&config).unwrap().contains("minRetentionHours: 72"));
        config.retention = Duration::from_hours(10);
        assert!(advice(&config).unwrap().contains("minRetentionHours: 10"));
        let set = retention(&oplog(1, None, Some(2.5)), &config);
        assert_eq!((set.verdict, set.advice), (Verdict::Good, None));
    }
}
