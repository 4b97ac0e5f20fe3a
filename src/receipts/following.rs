//! Following the connections of one delete to their end.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::timeout;

use super::{Closed, Teardown};
use crate::store::Receipt;

type Follow = Pin<Box<dyn Future<Output = (Number, Receipt, Vec<Closed>)> + Send>>;

/// Tells deletes apart.
pub(super) type Number = u64;

/// The deletes whose connections are not all gone.
#[derive(Default)]
pub(super) struct Following(FuturesUnordered<Follow>);

impl Following {
    /// Follows a delete for so long, then says how many are gone.
    pub(super) fn begin(
        &mut self,
        number: Number,
        teardown: Teardown,
        decided: Instant,
        patience: Duration,
    ) {
        let receipt = Receipt {
            subscription: teardown.subscription,
            deletion: teardown.deletion,
            connections: teardown.connections.len(),
            decided,
            closed: 0,
            counted: decided,
        };
        let connections = teardown.connections;
        self.0.push(Box::pin(async move {
            let all = timeout(patience, all_gone(&connections)).await;
            if all.is_err() {
                tracing::warn!("connections of a deleted subscription did not close in time");
            }
            let receipt = counted(receipt, &connections);
            (number, receipt, connections)
        }));
    }

    /// Follows the rest of a delete for as long as it takes.
    fn go_on(&mut self, number: Number, receipt: Receipt, connections: Vec<Closed>) {
        self.0.push(Box::pin(async move {
            all_gone(&connections).await;
            let receipt = counted(receipt, &connections);
            (number, receipt, connections)
        }));
    }

    /// The next count that is due; never if nothing is followed.
    pub(super) async fn next(&mut self) -> (Number, Receipt) {
        let Some((number, receipt, connections)) = self.0.next().await else {
            return std::future::pending().await;
        };
        if receipt.closed < receipt.connections {
            self.go_on(number, receipt.clone(), connections);
        }
        (number, receipt)
    }

    /// Whether nothing is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

async fn all_gone(connections: &[Closed]) {
    for connection in connections {
        connection.0.cancelled().await;
    }
}

fn counted(mut receipt: Receipt, connections: &[Closed]) -> Receipt {
    let gone = connections.iter().filter(|gone| gone.0.is_cancelled());
    receipt.closed = gone.count();
    receipt.counted = Instant::now();
    receipt
}
