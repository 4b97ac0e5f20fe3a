//! Events over REST: publishing, and what was published.

mod list;
mod one;
mod page;
mod publish;
mod receive;
mod show;

pub(super) use self::page::{Search, page};
pub(crate) use self::{list::list, one::get, publish::publish};
