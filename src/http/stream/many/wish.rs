//! The reading of a `subscribe`: what holds for all items, and each item by itself. Pointers lead into the item, or
//! into the message for what stands outside.

use bson::{
    RawBson, RawDocumentBuf,
    oid::ObjectId,
    raw::{CStr, cstr},
};
use serde_json::{Map, Value};

use crate::{
    access::{Binding, CLAIMS, Caller, POLICY, TENANT},
    extjson::{Faults, read_time},
    filter,
    http::{
        edge::{
            AppState,
            problem::{Kind, Problem},
        },
        resources::subscriptions::input::check_new,
        stream::attach::{is_far_ahead, since_cursor},
    },
    position::Cursor,
    protocol::Wanted,
    router::{AdHoc, AttachError, Subscribe, opened::Wish},
    subscription::CompiledSubscription,
};

/// The part of a message that holds for all of its items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    after: Option<Cursor>,
    close_on_gap: bool,
}

impl Shared {
    /// Reads the part that holds for all items.
    pub(super) async fn read(
        state: &AppState,
        fields: &Map<String, Value>,
    ) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        for name in fields.keys() {
            if !matches!(name.as_str(), "after" | "since" | "onGap") {
                faults.blame(pointer(name), "is unknown");
            }
        }
        let close_on_gap = match fields.get("onGap") {
            None => false,
            Some(value) if value == "end" => true,
            Some(_) => {
                faults.blame("#/onGap", "must be end");
                false
            }
        };
        let start = match (fields.get("after"), fields.get("since")) {
            (Some(_), Some(_)) => {
                faults.blame("#/since", "cannot be combined with after");
                None
            }
            (Some(Value::String(text)), None) => Some(("#/after", Start::After(text))),
            (None, Some(Value::String(text))) => Some(("#/since", Start::Since(text))),
            (Some(_), None) => {
                faults.blame("#/after", "must be a cursor, as a string");
                None
            }
            (None, Some(_)) => {
                faults.blame("#/since", "must be an RFC 3339 time");
                None
            }
            (None, None) => None,
        };
        if !faults.is_empty() {
            return Err(Problem::invalid(faults));
        }
        let after = match start {
            None => None,
            Some((place, start)) => Some(cursor(state, place, start).await?),
        };
        Ok(Self {
            after,
            close_on_gap,
        })
    }
}

/// The point from which a client wants to hear.
enum Start<'a> {
    After(&'a str),
    Since(&'a str),
}

/// Returns the cursor of a start, which is to be within reach.
async fn cursor(state: &AppState, place: &str, start: Start<'_>) -> Result<Cursor, Problem> {
    let bad_cursor = |detail: &dyn std::fmt::Display| refused(Kind::BadCursor, place, detail);
    let (cursor, kind) = match start {
        Start::After(text) => {
            let cursor = Cursor::parse(text).map_err(|error| bad_cursor(&error))?;
            (cursor, Kind::BadCursor)
        }
        Start::Since(text) => {
            let bad = |detail: &str| refused(Kind::BadParameter, place, &detail);
            let time = read_time(text).ok_or_else(|| bad("must be an RFC 3339 time"))?;
            let cursor = since_cursor(state, time);
            let cursor = cursor.ok_or_else(|| bad("is outside the range of cluster times"))?;
            (cursor, Kind::BadParameter)
        }
    };
    if is_far_ahead(state, cursor).await? {
        let detail = "is more than a minute ahead of the database's clock";
        return Err(refused(kind, place, &detail));
    }
    Ok(cursor)
}

fn refused(kind: Kind, place: &str, detail: &dyn std::fmt::Display) -> Problem {
    let mut faults = Faults::default();
    faults.blame(place, detail);
    let name = place.trim_start_matches("#/");
    let mut problem = Problem::new(kind, format_args!("{name}: {detail}"));
    for fault in faults {
        problem.blame_pointer(fault);
    }
    problem
}

/// Returns the pointer to a field.
fn pointer(name: &str) -> String {
    format!("#/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Reads one item: a stored subscription, or a filter of the client's own.
pub(super) async fn read(
    state: &AppState,
    caller: &Caller,
    shared: &Shared,
    number: u64,
    item: Wanted,
) -> Result<Subscribe, Problem> {
    if item.is_adhoc() {
        return read_adhoc(state, caller, shared, number, item).await;
    }
    let Wanted { handle, fields } = item;
    let mut faults = Faults::default();
    for name in fields.keys().filter(|name| *name != "subscription") {
        faults.blame(pointer(name), "is unknown");
    }
    let id = match fields.get("subscription") {
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => {
            faults.blame("#/subscription", "must be an id");
            None
        }
        None => {
            faults.blame("#/subscription", "is required, or filter");
            None
        }
    };
    let (Some(id), true) = (id, faults.is_empty()) else {
        return Err(Problem::invalid(faults));
    };
    let (after, acknowledged) = start_of(state, shared, id).await?;
    let wish = Wish {
        subscription: id.into(),
        after,
        acknowledged,
        close_on_gap: shared.close_on_gap,
        warnings: Vec::new(),
    };
    Ok(Subscribe {
        handle,
        number,
        wish,
        adhoc: None,
    })
}

/// Returns where delivery begins, and whether that is the acknowledged position: a client of a durable subscription
/// that names no start goes on there.
async fn start_of(
    state: &AppState,
    shared: &Shared,
    id: &str,
) -> Result<(Option<Cursor>, bool), Problem> {
    if shared.after.is_some() {
        return Ok((shared.after, false));
    }
    let resumed = state.positions().resume(id).await;
    let after = resumed.map_err(|error| {
        tracing::warn!(%error, "an acknowledged position cannot be read");
        Problem::new(Kind::DatabaseUnavailable, AttachError::Unavailable)
    })?;
    Ok((after, after.is_some()))
}

/// Reads a filter of the client's own. It is bound as a subscription is that the caller makes now.
async fn read_adhoc(
    state: &AppState,
    caller: &Caller,
    shared: &Shared,
    number: u64,
    item: Wanted,
) -> Result<Subscribe, Problem> {
    let Wanted { handle, fields } = item;
    may_bring_filters(state, caller)?;
    let mut faults = Faults::default();
    for name in fields.keys() {
        match name.as_str() {
            "filter" | "source" => {}
            "subscription" => faults.blame("#/subscription", "cannot be combined with filter"),
            _ => faults.blame(pointer(name), "is unknown"),
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let binding = Binding::of(caller, &state.router().credentials().policies());
    let limits = state.limits().clone();
    let read = move || {
        let checked = check_new(Value::Object(fields), "#", &[], &limits);
        let checked = checked.map_err(Problem::malformed_json)??;
        let filter = checked.filter.unwrap_or_default();
        let mut document = RawDocumentBuf::new();
        // A document has one; nobody is told of this one, and nothing is found by it.
        document.append(cstr!("_id"), ObjectId::from_bytes([0; 12]));
        document.append(cstr!("filter"), filter);
        for (name, field) in BOUND {
            if let Some(value) = binding.value(field) {
                let value = RawBson::try_from(value.clone());
                let value = value.map_err(|error| Problem::new(Kind::InternalError, error))?;
                document.append(name, value);
            }
        }
        let compiled = CompiledSubscription::compile(document, &filter::Limits::from(&limits));
        Ok::<_, Problem>((compiled.into_parts(), checked.warnings))
    };
    let filtering = state.bounds.filtering.for_tenant(caller.tenant.as_deref());
    let ((subscription, filter), warnings) = filtering.offload(read).await??;
    let wish = Wish {
        subscription: Box::default(),
        after: shared.after,
        acknowledged: false,
        close_on_gap: shared.close_on_gap,
        warnings,
    };
    let adhoc = AdHoc {
        subscription,
        filter,
    };
    Ok(Subscribe {
        handle,
        number,
        wish,
        adhoc: Some(Box::new(adhoc)),
    })
}

/// The fields of a binding. The owner is none of them: an ad-hoc subscription is its session's.
const BOUND: [(&CStr, &str); 3] = [
    (cstr!("tenant"), TENANT),
    (cstr!("policy"), POLICY),
    (cstr!("claims"), CLAIMS),
];

/// Refuses a caller who may receive some subscriptions only.
fn may_bring_filters(state: &AppState, caller: &Caller) -> Result<(), Problem> {
    let limits = &caller.limits;
    if limits.subscriptions.is_some() || limits.ticket.is_some() {
        let detail = "the credential is for the events of its subscriptions only";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    if !state.context.socket.adhoc {
        let detail = "this node takes no filters without a subscription (socket.adhoc)";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    Ok(())
}
