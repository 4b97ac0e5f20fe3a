//! Who is served by one reader.

use super::{Library, Reading, Refusal, Wish};

/// Those who are best served together: the one with the newest cursor, and all whose stretch is not
/// much longer. One who was away for days does not hold up those who were away for a minute.
pub(super) fn take_group(waiting: &mut Vec<Wish>) -> Vec<Wish> {
    const AT_LEAST: u32 = 60;
    let seconds = |wish: &Wish| wish.from.cluster_time().time;
    let now = u32::try_from(bson::DateTime::now().timestamp_millis() / 1_000).unwrap_or(u32::MAX);
    let Some(newest) = waiting.iter().map(seconds).max() else {
        return Vec::new();
    };
    let reach = now
        .saturating_sub(newest)
        .saturating_mul(2)
        .saturating_add(AT_LEAST);
    let oldest = now.saturating_sub(reach);
    let (group, rest) = waiting.drain(..).partition(|wish| seconds(wish) >= oldest);
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
