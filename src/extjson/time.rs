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

/// Formats a time in UTC, always with its milliseconds. One that RFC 3339 has no text for becomes the nearest that it has.
pub(crate) fn millis_text(date: DateTime) -> String {
    let (first, last) = (*BOUNDS_MS.start(), *BOUNDS_MS.end());
    let millis = date.timestamp_millis().clamp(first, last);
    let fraction = millis.rem_euclid(1_000);
    let second = time_text(DateTime::from_millis(millis - fraction)).unwrap_or_default();
    format!("{}.{fraction:03}Z", second.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_text_with_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_893_456_000_120, "2030-01-01T00:00:00.120Z"),
            (*BOUNDS_MS.start(), "0000-01-01T00:00:00.000Z"),
            (*BOUNDS_MS.end(), "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(millis_text(DateTime::from_millis(millis)), text);
        }
    }

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
