//! The caller of an act that is audited.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{caller::By, client_address::ClientAddress, observe::RequestId, problem::Problem};
use crate::{
    access::{Caller, CallerKind},
    store::Actor,
};

/// The caller of a request, with all that the audit tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Acting {
    pub(crate) caller: Arc<Caller>,
    pub(crate) actor: Actor,
}

impl Acting {
    /// Returns the one who acts on a subscription, as the audit tells. `None` where nobody proves itself: such acts are not
    /// audited.
    pub(crate) fn proved(&self) -> Option<&Actor> {
        (self.caller.kind != CallerKind::None).then_some(&self.actor)
    }
}

impl<S: Sync> FromRequestParts<S> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let By(caller) = By::from_request_parts(parts, state).await?;
        // The subjects of two issuers may have one name.
        let id = match caller.kind {
            CallerKind::Token => caller.owner.clone(),
            CallerKind::None | CallerKind::Key => Some(caller.id.clone()),
        };
        let id = id.filter(|id| !id.is_empty());
        let request = parts.extensions.get::<RequestId>();
        let actor = Actor {
            kind: caller.kind.as_str(),
            id,
            tenant: caller.tenant.clone(),
            remote: ClientAddress::of(&parts.extensions).map(|client| client.to_string()),
            request: request.map(|id| id.text().to_owned()),
        };
        Ok(Self { caller, actor })
    }
}
