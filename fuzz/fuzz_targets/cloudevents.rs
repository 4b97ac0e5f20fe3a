//! Any bytes as the body of a publish request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::cloudevents;

fuzz_target!(|bytes: &[u8]| cloudevents::run(bytes));
