//! Stored events as CloudEvents.

use bson::{DateTime, RawBsonRef, RawDocument};

use crate::{
    event::{Defaults, STORED_AT_FIELD, TS_FIELD, write_json},
    http::problem::Problem,
};

/// Appends a stored event. An event without a time of its own has that of its commit, as near as
/// the document says it: by the server's stamp, else by the date that retention counts from.
pub(super) fn write(
    event: &RawDocument,
    default_source: &str,
    out: &mut String,
) -> Result<(), Problem> {
    let committed = match (event.get(TS_FIELD)?, event.get(STORED_AT_FIELD)?) {
        (Some(RawBsonRef::Timestamp(ts)), _) => {
            Some(DateTime::from_millis(i64::from(ts.time) * 1_000))
        }
        (_, Some(RawBsonRef::DateTime(date))) => Some(date),
        _ => None,
    };
    let defaults = Defaults {
        source: default_source,
        committed,
    };
    write_json(event, defaults, out)?;
    Ok(())
}
