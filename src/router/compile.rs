//! Compiling subscriptions away from the threads that serve sockets.

use std::panic::resume_unwind;

use bson::RawDocumentBuf;
use tokio::task::spawn_blocking;

use crate::{filter::Limits, subscription::CompiledSubscription};

/// Compiles documents, in order, on a thread for long work: filters come from users, and callers may run where
/// sockets are served.
pub(crate) async fn compile_off_thread(
    documents: Vec<RawDocumentBuf>,
    limits: Limits,
) -> Vec<CompiledSubscription> {
    let compile = move |document| CompiledSubscription::compile(document, &limits);
    let compiling = spawn_blocking(|| documents.into_iter().map(compile).collect());
    match compiling.await {
        Ok(compiled) => compiled,
        Err(error) => match error.try_into_panic() {
            // It was not that of one filter.
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and this with it.
            Err(_) => std::future::pending().await,
        },
    }
}
