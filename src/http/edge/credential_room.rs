//! The room for stored credentials: what is made over REST must find some, and a tenant has a share of it.

use super::{
    problem::{Kind, Problem},
    state::AppState,
};
use crate::access::{CredentialKind, Room};

/// The name of the limit, in problems and metrics.
const LIMIT: &str = "credentials_bytes";

/// Refuses a credential of so many bytes if this node could not hold it, or if it would be too much for the tenant of who
/// makes it: it would take the room of others.
pub(crate) fn check_room(
    state: &AppState,
    kind: CredentialKind,
    tenant: Option<&str>,
    length: usize,
) -> Result<(), Problem> {
    let bytes = Room::for_document(length);
    let of = kind.collection();
    let (has, exceeded) = state.router().credentials().read(|all| {
        let room = all.room(kind);
        let exceeded = tenant.and_then(|tenant| room.exceeded_by(tenant, bytes));
        (room.has(bytes), exceeded)
    });
    if let Some(most) = exceeded {
        state.metrics().access.limited(LIMIT);
        let detail = format!(
            "the {of} of the tenant have as many bytes as they may ({most}, a sixteenth of limits.{LIMIT})"
        );
        let problem = Problem::new(Kind::QuotaExceeded, detail);
        return Err(problem
            .with("quota", LIMIT.into())
            .with("limit", most.into()));
    }
    if has {
        return Ok(());
    }
    state.metrics().access.limited(LIMIT);
    let detail = format!("this node holds as many {of} as limits.{LIMIT} allows");
    Err(Problem::new(Kind::Overloaded, detail))
}
