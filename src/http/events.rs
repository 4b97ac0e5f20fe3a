//! Events over REST: publishing, and what was published.

mod list;
mod one;
mod publish;
mod receive;
mod show;

pub(crate) use self::{list::list, one::get, publish::publish};
