//! Points in time on the command line: a time, or a span from now.

use std::time::{Duration, SystemTime};

use bson::DateTime;

use crate::extjson::time_text;

/// Turns a span into a time that far ahead. Any other text goes to the service as it is.
pub(super) fn ahead(text: &str) -> String {
    from_now(text, SystemTime::checked_add)
}

/// Turns a span into a time that long ago. Any other text goes to the service as it is.
pub(super) fn ago(text: &str) -> String {
    from_now(text, SystemTime::checked_sub)
}

fn from_now(text: &str, count: fn(&SystemTime, Duration) -> Option<SystemTime>) -> String {
    let span = humantime::parse_duration(text.trim());
    match span.map(|span| count(&SystemTime::now(), span)) {
        // The service takes no time before 1970.
        Ok(Some(time)) if time >= SystemTime::UNIX_EPOCH => {
            time_text(DateTime::from_system_time(time)).unwrap_or_else(|| text.to_owned())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_counted_from_now_and_a_time_is_passed_on() {
        let time = |text: String| humantime::parse_rfc3339(&text).unwrap();
        let now = SystemTime::now();
        for text in ["10m", "2h30m", "1d", " 5s "] {
            assert!(time(ago(text)) < now, "{text}");
            assert!(time(ahead(text)) > now, "{text}");
        }
        for text in ["2030-01-31T12:00:00Z", "yesterday", "", "-5m", "99999years"] {
            assert_eq!(ago(text), text);
        }
        // The last is beyond the years that RFC 3339 has.
        for text in ["2030-01-31T12:00:00Z", "9000years"] {
            assert_eq!(ahead(text), text);
        }
    }
}
