//! Who is served by one reader.

use super::{Library, Reading, Refusal, Wish};
use crate::position::Position;

/// Those who are best served together: one of them, and all whose stretch is not much longer or shorter. One
/// who was away for days does not hold up those who were away for a minute. The one is who goes on at
/// `longest`, if somebody has waited too long, else who has the newest cursor.
pub(super) fn take_group(waiting: &mut Vec<Wish>, longest: Option<Position>) -> Vec<Wish> {
    const AT_LEAST: u32 = 60;
    let now = u32::try_from(bson::DateTime::now().timestamp_millis() / 1_000).unwrap_or(u32::MAX);
    let away = |from: Position| now.saturating_sub(from.cluster_time().time);
    let shortest = waiting.iter().map(|wish| away(wish.from)).min();
    let Some(one) = longest.map(away).or(shortest) else {
        return Vec::new();
    };
    let together = one / 2..=one.saturating_mul(2).saturating_add(AT_LEAST);
    let (group, rest) = waiting
        .drain(..)
        .partition(|wish| together.contains(&away(wish.from)));
    *waiting = rest;
    group
}

/// Opens a stream for as many of a group, in the order of their positions, as the history has; returns
/// the first of them. One whose position is lost does not take the others with it.
pub(super) async fn begin(library: &Library, group: &[Wish]) -> Result<(Reading, usize), Refusal> {
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
        let Some(wish) = from else {
            return Err(Refusal::Lost);
        };
        match Reading::begin(library.clone(), wish.from).await {
            Ok(reading) => (best, first) = (Some(reading), at),
            Err(Refusal::Lost) => lost = at + 1,
            Err(Refusal::Busy) => return Err(Refusal::Busy),
        }
        if lost >= group.len() {
            return Err(Refusal::Lost);
        }
    }
    best.map(|reading| (reading, first)).ok_or(Refusal::Lost)
}

pub(super) fn refuse(wishes: impl Iterator<Item = Wish>, refusal: Refusal) {
    for wish in wishes {
        if wish.reply.send(Err(refusal)).is_err() {
            tracing::trace!("the client left before its replay began");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, Timestamp};
    use tokio::{sync::oneshot, time::Instant};

    /// Who goes together, of clients that were away for so many seconds.
    fn check(away: &[u32], longest: Option<u32>, expected: &[u32]) {
        let now = u32::try_from(DateTime::now().timestamp_millis() / 1_000).unwrap();
        let from = |away: u32| {
            Position::at(Timestamp {
                time: now - away,
                increment: 0,
            })
        };
        let wish = |away: &u32| Wish {
            from: from(*away),
            since: Instant::now(),
            reply: oneshot::channel().0,
        };
        let mut waiting: Vec<Wish> = away.iter().map(wish).collect();
        let group = take_group(&mut waiting, longest.map(from));
        let found: Vec<u32> = (group.iter())
            .map(|wish| now - wish.from.cluster_time().time)
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
