//! The code that all calls share: reading requests, making answers and refusals, and bounding both.
//!
//! It knows no route, no resource and no stream.

mod abort;
pub(crate) mod accept;
pub(crate) mod acting;
pub(crate) mod answer;
pub(crate) mod arrival;
mod awaited_key;
pub(crate) mod body;
mod bounds;
pub(crate) mod budget;
pub(crate) mod caller;
mod certificate;
pub(crate) mod client_address;
mod client_tasks;
pub(crate) mod conditional;
mod cookie;
pub(crate) mod cors;
mod creations;
pub(crate) mod credential_room;
mod description;
pub(crate) mod failure;
mod failures;
pub(crate) mod fallbacks;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod granting;
pub(crate) mod guarded;
pub(crate) mod hosts;
pub(crate) mod idempotency;
pub(crate) mod needs;
pub(crate) mod observe;
mod offload;
pub(crate) mod origin;
mod own_tickets;
pub(crate) mod page_cursor;
pub(crate) mod path_id;
pub(crate) mod paths;
mod presented;
pub(crate) mod problem;
mod proof;
pub(crate) mod query;
pub(crate) mod quotas;
mod rates;
pub(crate) mod read_your_writes;
mod state;
pub(crate) mod ticket;
pub(crate) mod token;
mod unauthenticated;
mod unknown_keys;
mod uses;

pub(crate) use self::{
    abort::{Abort, Outcome},
    bounds::Bounds,
    client_tasks::ClientTasks,
    description::Description,
    proof::Proof,
    state::{AppState, Shared},
    uses::{USE_INTERVAL, Uses},
};
