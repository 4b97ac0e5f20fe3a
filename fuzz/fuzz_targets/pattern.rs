//! Any text as a regular expression, on any text.

#![no_main]

use bson::rawdoc;
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::filter::Filter;

fuzz_target!(|input: (&str, &str, u8)| {
    let (pattern, text, options) = input;
    let options: String = "imsx"
        .chars()
        .enumerate()
        .filter(|(bit, _)| options & (1 << bit) != 0)
        .map(|(_, c)| c)
        .collect();
    let filter = rawdoc! {"a": {"$regex": pattern, "$options": options.as_str()}};
    if let Ok(filter) = Filter::parse(&filter) {
        filter.matches(&rawdoc! {"a": text});
    }
});
