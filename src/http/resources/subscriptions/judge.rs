//! Stored documents as this node sees them.

use bson::RawDocumentBuf;

use crate::{
    http::edge::{
        AppState,
        problem::{Kind, Problem},
    },
    subscription::CompiledSubscription,
};

/// Compiles stored documents and asks the router about each: another document with the same id may make one invalid
/// that is valid by itself. Whoever asks waits behind its own `tenant`.
pub(crate) async fn judge(
    state: &AppState,
    tenant: Option<&str>,
    documents: Vec<RawDocumentBuf>,
) -> Result<Vec<CompiledSubscription>, Problem> {
    let limits = state.filter_limits();
    let compile = move || {
        let documents = documents.into_iter();
        documents
            .map(|document| CompiledSubscription::compile(document, &limits))
            .collect()
    };
    let filtering = state.bounds.filtering.for_tenant(tenant);
    let compiled = filtering.offload(compile).await?;
    Ok(state.router().judge(compiled).await?)
}

/// Judges one document.
pub(crate) async fn judge_one(
    state: &AppState,
    tenant: Option<&str>,
    document: RawDocumentBuf,
) -> Result<CompiledSubscription, Problem> {
    let judged = judge(state, tenant, vec![document]).await?.pop();
    judged.ok_or_else(|| Problem::new(Kind::NotReady, "this node is stopping"))
}
