//! Grouping of the clients that one oplog reader serves.

use super::{HistoryContext, Refusal, ReplayRequest, oplog::OplogStream};
use crate::position::Position;

/// Takes the clients that are best served together: one of them, and all whose stretch is not much longer or
/// shorter. A client that was away for days does not hold up those that were away for a minute. The one is the client
/// that goes on at `longest`, if somebody has waited too long, else the one with the newest cursor.
pub(super) fn take_group(
    waiting: &mut Vec<ReplayRequest>,
    longest: Option<Position>,
) -> Vec<ReplayRequest> {
    const AT_LEAST: u32 = 60;
    let now = u32::try_from(bson::DateTime::now().timestamp_millis() / 1_000).unwrap_or(u32::MAX);
    let away = |from: Position| now.saturating_sub(from.cluster_time().time);
    let shortest = waiting.iter().map(|request| away(request.from)).min();
    let Some(one) = longest.map(away).or(shortest) else {
        return Vec::new();
    };
    let together = one / 2..=one.saturating_mul(2).saturating_add(AT_LEAST);
    let (group, rest) = waiting
        .drain(..)
        .partition(|request| together.contains(&away(request.from)));
    *waiting = rest;
    group
}

/// Opens a stream for as many of a group, in the order of their positions, as the oplog still has; returns the index
/// of the first of them. A client whose position is lost does not take the others with it.
pub(super) async fn begin(
    context: &HistoryContext,
    group: &[ReplayRequest],
) -> Result<(OplogStream, usize), Refusal> {
    let (mut lost, mut first) = (0, 0);
    let mut best = None;
    // Everything before `lost` is known to be lost; `best` begins where `first` is.
    while best.is_none() || lost < first {
        let (from, at) = if lost == 0 && best.is_none() {
            (group.first(), 0)
        } else if best.is_none() {
            (group.last(), group.len() - 1)
        } else {
            let middle = usize::midpoint(lost, first);
            (group.get(middle), middle)
        };
        let Some(request) = from else {
            return Err(Refusal::Lost);
        };
        match OplogStream::begin(context.clone(), request.from).await {
            Ok(stream) => (best, first) = (Some(stream), at),
            Err(Refusal::Lost) => lost = at + 1,
            Err(Refusal::Busy) => return Err(Refusal::Busy),
        }
        if lost >= group.len() {
            return Err(Refusal::Lost);
        }
    }
    best.map(|stream| (stream, first)).ok_or(Refusal::Lost)
}

pub(super) fn refuse(requests: impl Iterator<Item = ReplayRequest>, refusal: Refusal) {
    for request in requests {
        if request.reply.send(Err(refusal)).is_err() {
            tracing::trace!("the client left before its replay began");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, Timestamp};
    use tokio::{sync::oneshot, time::Instant};

    /// Checks which clients go together, of those that were away for so many seconds.
    fn check(away: &[u32], longest: Option<u32>, expected: &[u32]) {
        let now = u32::try_from(DateTime::now().timestamp_millis() / 1_000).unwrap();
        let from = |away: u32| {
            Position::at(Timestamp {
                time: now - away,
                increment: 0,
            })
        };
        let request = |away: &u32| ReplayRequest {
            from: from(*away),
            since: Instant::now(),
            reply: oneshot::channel().0,
        };
        let mut waiting: Vec<ReplayRequest> = away.iter().map(request).collect();
        let group = take_group(&mut waiting, longest.map(from));
        let found: Vec<u32> = (group.iter())
            .map(|request| now - request.from.cluster_time().time)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(waiting.len(), away.len() - expected.len());
    }

    #[test]
    fn the_newest_go_first_until_one_has_waited_too_long() {
        let away = [10, 86_400, 100, 100_000, 30];
        check(&away, None, &[10, 30]);
        check(&away, Some(100_000), &[86_400, 100_000]);
        check(&away, Some(100), &[100]);
        check(&[], None, &[]);
    }
}
