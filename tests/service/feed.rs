//! From the database to the socket: order, exactness, and trouble on the way.

mod changes;
mod commits;
mod documents;
pub(crate) mod failpoint;
mod listener;
mod lost;
mod oddities;
mod order;
mod oversized;
mod publishers;
mod restart;
mod resume;
mod tokens;

use crate::support::Service;

/// Sums all lines of the metrics that begin with this text.
async fn total(service: &Service, prefix: &str) -> u64 {
    let text = service.metrics().await;
    let values = text.lines().filter(|line| line.starts_with(prefix));
    values
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
