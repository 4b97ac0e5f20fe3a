//! Any text as a cursor: what is accepted is exactly what would be written, and compares as text as its
//! position does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::position::{Cursor, Position};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for line in text.lines() {
        // A fuzzer finds no checksum, so positions are read in the other form too.
        if let Ok(position) = Position::from_token_data(line) {
            let deployment = tidegate_fuzz::position::DeploymentId([7; 6]);
            let cursor = position.cursor(deployment);
            let read = Cursor::parse(&cursor).expect("what is written can be read");
            assert_eq!((read.position, read.deployment), (position, deployment));
            let start = Position::START.cursor(deployment);
            assert_eq!(start < cursor, Position::START < position);
        }
        if let Ok(cursor) = Cursor::parse(line) {
            assert_eq!(cursor.position.cursor(cursor.deployment), line);
        }
    }
});
