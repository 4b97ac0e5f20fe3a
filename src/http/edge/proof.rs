//! The proof that callers of this node have to give.

use std::sync::Arc;

use crate::{access::Caller, config::Auth};

/// The proof that callers have to give: none, so that each is the same caller, or a credential.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// Every request is this caller's.
    None(Arc<Caller>),
    /// A credential.
    Required,
}

impl Proof {
    /// Returns the proof that the settings ask for.
    pub(crate) fn new(auth: Auth) -> Self {
        match auth {
            Auth::None => Self::None(Arc::new(Caller::anybody())),
            Auth::Required => Self::Required,
        }
    }
}
