//! Building the router's table while the documents are still being read.
//!
//! Compiling and indexing take longer than reading. Each has a thread, away from those that serve sockets, so that
//! both end shortly after the last document has arrived.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc as blocking},
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle, spawn_blocking},
};

use crate::{
    access::Policies,
    filter::{CompiledFilter, FilterCompiler, Limits},
    router::{Capacity, Table, TableBuilder},
    store::{StoreError, SubscriptionBatch},
    subscription::{CompiledSubscription, FILTER_PANICKED, Subscription},
};

/// Replies of the server that may wait to be compiled.
const BATCHES_AHEAD: usize = 2;
/// The size of the groups in which subscriptions are handed on, and how many groups may wait.
const GROUP: usize = 512;
const GROUPS_AHEAD: usize = 16;

/// Subscriptions, each with its filter if events are to be matched with it.
type Group = Vec<(Subscription, Option<CompiledFilter>)>;

/// The two threads that build a table. They end by themselves once no more documents can come.
#[derive(Debug)]
pub(super) struct Assembly {
    compiling: JoinHandle<Result<FilterCompiler, StoreError>>,
    gathering: JoinHandle<TableBuilder>,
}

impl Assembly {
    /// Starts with an empty table. The documents are sent through the channel that this returns.
    pub(super) fn start(
        limits: &Limits,
        capacity: Capacity,
        policies: Arc<Policies>,
    ) -> (mpsc::Sender<SubscriptionBatch>, Self) {
        let (documents, arriving) = mpsc::channel(BATCHES_AHEAD);
        let (sender, groups) = blocking::sync_channel(GROUPS_AHEAD);
        let limits = limits.clone();
        let (compiler, gathering) =
            TableBuilder::start(limits.clone(), capacity, Arc::clone(&policies));
        let assembly = Self {
            compiling: spawn_blocking(move || {
                compile(arriving, compiler, &sender, &limits, &policies)
            }),
            gathering: spawn_blocking(move || gather(gathering, &groups)),
        };
        (documents, assembly)
    }

    /// Returns the table of all documents that were sent. Waits until nobody can send any more.
    pub(super) async fn table(self) -> Result<Box<Table>, StoreError> {
        let compiler = done(self.compiling.await)?;
        let gathering = done(self.gathering.await);
        let finish = spawn_blocking(move || gathering.finish(compiler));
        Ok(done(finish.await))
    }
}

fn compile(
    mut arriving: mpsc::Receiver<SubscriptionBatch>,
    mut compiler: FilterCompiler,
    groups: &blocking::SyncSender<Group>,
    limits: &Limits,
    policies: &Policies,
) -> Result<FilterCompiler, StoreError> {
    let mut group = Group::with_capacity(GROUP);
    while let Some(documents) = arriving.blocking_recv() {
        documents.each(|document| {
            let subscription = CompiledSubscription::compile(document.to_owned(), limits);
            group.push(compile_filter(subscription, policies, &mut compiler));
            if group.len() == GROUP {
                hand_on(&mut group, groups);
            }
        })?;
    }
    hand_on(&mut group, groups);
    Ok(compiler)
}

/// Narrows the filter, and compiles it for the index. If that panics, the filter alone is blamed.
fn compile_filter(
    subscription: CompiledSubscription,
    policies: &Policies,
    compiler: &mut FilterCompiler,
) -> (Subscription, Option<CompiledFilter>) {
    let (mut subscription, filter) = subscription.narrowed(policies).into_parts();
    let compiling = AssertUnwindSafe(|| filter.map(|filter| compiler.compile(filter)));
    if let Ok(filter) = catch_unwind(compiling) {
        return (subscription, filter);
    }
    subscription.fault = Some(FILTER_PANICKED.into());
    (subscription, None)
}

fn hand_on(group: &mut Group, groups: &blocking::SyncSender<Group>) {
    let full = std::mem::replace(group, Group::with_capacity(GROUP));
    if groups.send(full).is_err() {
        // The other thread has panicked; whoever waits for the table learns of that.
        tracing::trace!("nobody takes compiled subscriptions");
    }
}

fn gather(mut gathering: TableBuilder, groups: &blocking::Receiver<Group>) -> TableBuilder {
    for group in groups {
        for (subscription, filter) in group {
            gathering.add(subscription, filter);
        }
    }
    gathering
}

/// Returns the result of a thread, or goes on with its panic.
fn done<T>(ended: Result<T, JoinError>) -> T {
    match ended {
        Ok(made) => made,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
