//! Events over REST: publishing, and reading what was published.

mod get;
mod list;
pub(crate) mod matches;
mod page;
mod publish;
mod receive;
mod show;

pub(crate) use self::{get::get, list::list, publish::publish};
