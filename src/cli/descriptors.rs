//! The descriptors of this process: each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. Shells and supervisors often give 1,024, which is for programs that use
/// `select`; this one does not.
pub(crate) fn raise() {
    let before = getrlimit(Resource::Nofile);
    if before.current == before.maximum {
        return;
    }
    let (from, to) = (before.current, before.maximum);
    let raised = Rlimit {
        current: to,
        maximum: to,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::info!(from, to, "the limit of descriptors is raised"),
        Err(error) => tracing::warn!(%error, from, to, "the limit of descriptors cannot be raised"),
    }
}
