//! Subscriptions over REST.
//!
//! All handlers of writes work alike: [`input`] checks the request, [`attempts`] retries where other programs write the
//! same document, and [`write`] answers once this node has applied the write.

mod ack_progress;
mod attempts;
mod batch;
mod create;
mod delete;
mod get;
pub(crate) mod input;
pub(crate) mod judge;
mod list;
mod patch;
mod put;
mod write;

pub(crate) use self::{
    batch::batch, create::create, delete::delete, get::get, list::list, patch::patch, put::put,
};
