//! MongoDB Extended JSON (v2) to BSON and back, with pointers to the faults.
//!
//! Reading refuses what it could only drop in silence, duplicate keys and over-deep nesting. Both ways go from
//! text to raw BSON in one pass, without a tree between: a tree of small values is a hundred times larger than
//! its text. If several fields have one name, the first is written.

mod fault;
mod json;
mod keys;
mod mend;
mod object;
mod read;
mod sink;
mod time;
mod visit;
mod write;

pub(crate) use self::keys::SeenKeys;
pub(crate) use self::{
    fault::{Fault, Faults, JsonPointer, truncated},
    json::{parse_json, parse_with, without_mark},
    mend::{mend, read_or_mend},
    object::{Members, Object, Scalar},
    read::{ReadOutcome, ReadValue, read_value, to_bson},
    time::{millis_text, read_time, time_text},
    write::{plain_text, write_string, write_value},
};

#[cfg(test)]
mod tests {
    use super::{json::MAX_JSON_DEPTH, read::to_document, write::write_document, *};
    use bson::doc;

    fn round_trip(text: &str) -> String {
        let document = to_document(parse_json(text.as_bytes()).unwrap(), "#").unwrap();
        let raw = bson::RawDocumentBuf::try_from(&document).unwrap();
        let mut out = String::new();
        write_document(&raw, &mut out).unwrap();
        out
    }

    #[test]
    fn every_type_goes_in_and_comes_out_relaxed() {
        for text in [
            r#"{"a":1,"b":2147483648,"c":1.5,"d":"x\"\n","e":[true,null,{}],"f":-0.0}"#,
            r#"{"o":{"$oid":"0123456789abcdef01234567"},"d":{"$date":"2026-01-02T03:04:05.006Z"}}"#,
            r#"{"d":{"$date":{"$numberLong":"-1"}},"n":{"$numberDecimal":"0.10"}}"#,
            r#"{"t":{"$timestamp":{"t":1,"i":2}},"b":{"$binary":{"base64":"AQID","subType":"00"}}}"#,
            r#"{"r":{"$regularExpression":{"pattern":"a/b","options":"i"}},"m":{"$minKey":1}}"#,
            r#"{"x":{"$maxKey":1},"u":{"$undefined":true},"s":{"$symbol":"q"},"c":{"$code":"f"}}"#,
            r#"{"n":{"$numberDouble":"NaN"},"i":{"$numberDouble":"-Infinity"}}"#,
        ] {
            assert_eq!(round_trip(text), text);
        }
        assert_eq!(
            round_trip(r#"{"a":{"$numberLong":"5"},"b":{"$numberInt":"6"}}"#),
            r#"{"a":5,"b":6}"#
        );
    }

    #[test]
    fn query_operators_are_not_type_wrappers() {
        let text = r#"{"a":{"$gte":1},"b":{"$regex":"^a","$options":"i"},"$or":[{"c":1},{"d":2}]}"#;
        assert_eq!(round_trip(text), text);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let value = parse_json(br#"{"a":[{"b/c":{"$oid":"nope"}}]}"#).unwrap();
        let fault = to_document(value, "#/filter").unwrap_err();
        assert_eq!(fault.pointer, "#/filter/a/0/b~1c");
        let value = parse_json(br#"{"$date":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(
            to_document(value, "#/filter").unwrap_err().pointer,
            "#/filter"
        );
        assert!(
            parse_json(br#"{"a":1,"a":2}"#)
                .unwrap_err()
                .contains("twice")
        );
        assert!(parse_json(br#"{"a":1} x"#).is_err());
    }

    #[test]
    fn nesting_is_as_deep_as_the_server_takes_and_no_deeper() {
        let nested = |levels: usize| {
            format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)).into_bytes()
        };
        assert!(parse_json(&nested(MAX_JSON_DEPTH)).is_ok());
        assert!(
            parse_json(&nested(MAX_JSON_DEPTH + 1))
                .unwrap_err()
                .contains("nested")
        );
        assert!(parse_json("[".repeat(1_000_000).as_bytes()).is_err());
    }

    fn read(text: &str, most: usize) -> (Result<ReadOutcome, String>, Faults) {
        let mut faults = Faults::default();
        let read = read_value(text.as_bytes(), most, &mut faults);
        (read, faults)
    }

    #[test]
    fn no_more_is_made_than_a_value_may_have() {
        let document = doc! {"a": [1, {"b": "c"}], "d": 2.5};
        let raw = bson::RawDocumentBuf::try_from(&document).unwrap();
        let text = r#"{"a":[1,{"b":"c"}],"d":2.5}"#;
        let bytes = raw.as_bytes().len();
        assert_eq!(read(text, bytes).0, Ok(ReadOutcome::Value(raw.into())));
        for most in 0..bytes {
            assert_eq!(read(text, most).0, Ok(ReadOutcome::TooLarge), "{most}");
        }
        // Even what is skipped must be JSON.
        assert!(read(r#"{"a":[1,{"b":"c"}],"d":2.5"#, 8).0.is_err());
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000_000));
        assert_eq!(read(&long, 1_000).0, Ok(ReadOutcome::TooLarge));
    }

    #[test]
    fn keys_come_once_at_every_depth_and_in_every_number() {
        for text in [
            r#"[{"a":{"b":1,"c":2,"b":3}}]"#.to_owned(),
            format!("{{{}}}", r#""k":0,"#.repeat(50) + r#""j":0"#),
        ] {
            assert!(read(&text, usize::MAX).0.unwrap_err().contains("twice"));
        }
    }

    #[test]
    fn reading_stops_at_a_hundred_faults() {
        let text = format!("[{}0]", r#"{"$oid":1},"#.repeat(1_000));
        let (read, faults) = read(&text, usize::MAX);
        assert_eq!((read, faults.len()), (Ok(ReadOutcome::Faulty), 100));
    }

    #[test]
    fn a_wrapper_holds_few_values() {
        let text = format!(r#"{{"$code":"f","$scope":[{}0]}}"#, "0,".repeat(1_000_000));
        assert!(read(&text, usize::MAX).0.unwrap_err().contains("values"));
    }

    #[test]
    fn plain_text_of_ids() {
        let raw = bson::RawDocumentBuf::try_from(&doc! {"a": "x", "b": 5, "c": 2.5}).unwrap();
        let texts: Vec<_> = raw
            .iter()
            .map(|element| plain_text(element.unwrap().1).unwrap())
            .collect();
        assert_eq!(texts, ["x", "5", "2.5"]);
    }
}
