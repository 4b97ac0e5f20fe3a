//! Stored events as CloudEvents.

use bson::RawDocument;

use crate::{
    event::{Defaults, write_json},
    http::edge::problem::Problem,
};

/// Appends a stored event.
pub(super) fn write(
    event: &RawDocument,
    default_source: &str,
    out: &mut String,
) -> Result<(), Problem> {
    let defaults = Defaults {
        source: default_source,
        committed: None,
    };
    write_json(event, defaults, out)?;
    Ok(())
}
