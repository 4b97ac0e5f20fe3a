//! The extractor of the id in a path.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};

use super::problem::{Kind, Problem};
use crate::event::input::has_broken_escape;

/// The percent-decoded `{id}` of a path. A route without one stands for the id that it spells: `batch`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unreadable = || {
            Problem::new(
                Kind::MalformedRequest,
                "the path is not percent-encoded UTF-8",
            )
        };
        let path = parts.uri.path();
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        if has_broken_escape(path) {
            return Err(unreadable());
        }
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| unreadable())?;
        let id = params.iter().find(|(name, _)| *name == "id");
        Ok(Self(id.map_or(last, |(_, id)| id.to_owned())))
    }
}
