//! File descriptors. Each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. Shells and supervisors often set 1,024 for programs that use `select`. This
/// one does not.
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
        Ok(()) => tracing::info!(from, to, "raised the limit of file descriptors"),
        Err(error) => {
            tracing::warn!(%error, from, to, "cannot raise the limit of file descriptors");
        }
    }
}
