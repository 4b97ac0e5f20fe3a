//! Times as text: RFC 3339, which has the years 0 to 9999 only.

use bson::DateTime;

/// The first millisecond of year 0 and the last of year 9999, in UTC.
const BOUNDS_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Reads a time with any offset; `None` if it is not RFC 3339, or if RFC 3339 has no text for it in UTC.
pub(crate) fn read_time(text: &str) -> Option<DateTime> {
    let date = DateTime::parse_rfc3339_str(text).ok()?;
    BOUNDS_MS.contains(&date.timestamp_millis()).then_some(date)
}

/// Formats a time in UTC; `None` if RFC 3339 has no text for it.
pub(crate) fn time_text(date: DateTime) -> Option<String> {
    let known = BOUNDS_MS.contains(&date.timestamp_millis());
    known.then(|| date.try_to_rfc3339_string().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_text_is_that_time_again_and_all_else_has_none() {
        for text in [
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59.999Z",
        ] {
            let date = read_time(text).unwrap();
            assert_eq!(time_text(date).as_deref(), Some(text));
        }
        for text in [
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
            "-0001-01-01T00:00:00Z",
            "yesterday",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
        for beyond in [
            *BOUNDS_MS.start() - 1,
            *BOUNDS_MS.end() + 1,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(time_text(DateTime::from_millis(beyond)), None);
        }
    }
}
