//! Following the connections of deletes until they are closed.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::timeout;

use crate::{router::registry::Closed, store::Receipt};

type Follow = Pin<Box<dyn Future<Output = (Number, Receipt, Arc<[Closed]>)> + Send>>;

/// The number of a delete that ended connections. Several may stand at one position.
pub(super) type Number = u64;

/// The deletes whose connections are not all closed.
#[derive(Default)]
pub(super) struct ClosingDeletes(FuturesUnordered<Follow>);

impl ClosingDeletes {
    /// Follows a delete until all its connections are closed, `patience` at most. Then its receipt is due, with the count
    /// of those that are closed.
    pub(super) fn follow(
        &mut self,
        number: Number,
        receipt: Receipt,
        connections: Arc<[Closed]>,
        patience: Duration,
    ) {
        self.0.push(Box::pin(async move {
            let all = timeout(patience, all_closed(&connections)).await;
            if all.is_err() {
                tracing::warn!("connections of a deleted subscription did not close in time");
            }
            let receipt = counted(receipt, &connections);
            (number, receipt, connections)
        }));
    }

    /// Follows the rest of a delete for as long as it takes.
    fn follow_rest(&mut self, number: Number, receipt: Receipt, connections: Arc<[Closed]>) {
        self.0.push(Box::pin(async move {
            all_closed(&connections).await;
            let receipt = counted(receipt, &connections);
            (number, receipt, connections)
        }));
    }

    /// Returns the next receipt that is due. Never returns if nothing is followed.
    pub(super) async fn next(&mut self) -> (Number, Receipt) {
        let Some((number, receipt, connections)) = self.0.next().await else {
            return std::future::pending().await;
        };
        if receipt.closed < receipt.connections {
            self.follow_rest(number, receipt.clone(), connections);
        }
        (number, receipt)
    }

    /// Whether nothing is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

async fn all_closed(connections: &[Closed]) {
    for connection in connections {
        connection.closed().await;
    }
}

fn counted(mut receipt: Receipt, connections: &[Closed]) -> Receipt {
    let closed = connections.iter().filter(|closed| closed.is_closed());
    receipt.closed = closed.count();
    receipt.counted = Instant::now();
    receipt
}
