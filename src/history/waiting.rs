//! The clients that wait for a reader of the oplog.
//!
//! Tenants take turns at readers. A reader is for a client of the tenant whose turn it is, and for everybody, of whatever
//! tenant, who wants about the same stretch. Those without a tenant take turns like one.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::ReplayRequest;
use crate::position::Position;

/// Clients that may wait. More are refused as busy, and come back. A tenant may have half of the places.
const MOST: usize = 32_768;
const MOST_OF_TENANT: usize = MOST / 2;

pub(super) type Tenant = Option<Box<str>>;

/// The clients that wait, by tenant.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    /// None of them is empty.
    queues: HashMap<Tenant, Vec<ReplayRequest>>,
    /// The same tenants. The next turn is the first one's.
    order: VecDeque<Tenant>,
    count: usize,
}

/// Clients that one reader is for.
#[derive(Debug)]
pub(super) struct Group {
    /// The tenant whose turn it was.
    pub(super) tenant: Tenant,
    pub(super) requests: Vec<ReplayRequest>,
    /// True if it was made for a client that has waited for long.
    pub(super) is_late: bool,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Lets a client wait, or gives its request back if too many do who still want an answer.
    pub(super) fn add(&mut self, request: ReplayRequest) -> Result<(), ReplayRequest> {
        if self.is_full_for(&request.tenant) {
            self.forget_those_who_left();
        }
        if self.is_full_for(&request.tenant) {
            return Err(request);
        }
        self.count += 1;
        let queue = self.queues.entry(request.tenant.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(request.tenant.clone());
        }
        queue.push(request);
        Ok(())
    }

    fn is_full_for(&self, tenant: &Tenant) -> bool {
        let of_tenant = self.queues.get(tenant).map_or(0, Vec::len);
        self.count >= MOST || (tenant.is_some() && of_tenant >= MOST_OF_TENANT)
    }

    /// Forgets clients that do not want an answer any more.
    pub(super) fn forget_those_who_left(&mut self) {
        drop(self.extract(|request| request.reply.is_closed()));
    }

    /// Whether somebody waits whose tenant may have a reader.
    pub(super) fn any_of(&self, may: impl Fn(&Tenant) -> bool) -> bool {
        self.order.iter().any(may)
    }

    /// Takes the clients that are best served together: one of the tenant whose turn it is among those that may have a
    /// reader, and all whose stretch is not much longer or shorter. A client that was away for days does not hold up those
    /// that were away for a minute. The one is the tenant's client that waits longest, if that is longer than `turn`, else
    /// the one with the newest cursor. `None` if nobody waits.
    pub(super) fn take_group(
        &mut self,
        may: impl Fn(&Tenant) -> bool,
        turn: Option<Duration>,
    ) -> Option<Group> {
        const AT_LEAST: u32 = 60;
        let now = bson::DateTime::now().timestamp_millis() / 1_000;
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let away = |from: Position| now.saturating_sub(from.cluster_time().time);
        let at = self.order.iter().position(may)?;
        let tenant = self.order.remove(at)?;
        let own = self.queues.get(&tenant)?;
        let late = own.iter().min_by_key(|request| request.since);
        let late = late.filter(|first| turn.is_some_and(|turn| first.since.elapsed() > turn));
        let is_late = late.is_some();
        let newest = own.iter().map(|request| away(request.from)).min();
        let one = late.map(|request| away(request.from)).or(newest)?;
        let together = one / 2..=one.saturating_mul(2).saturating_add(AT_LEAST);
        self.order.push_back(tenant.clone());
        Some(Group {
            requests: self.extract(|request| together.contains(&away(request.from))),
            tenant,
            is_late,
        })
    }

    /// Takes the clients whose stretch begins here or later.
    pub(super) fn take_from(&mut self, start: Position) -> Vec<ReplayRequest> {
        self.extract(|request| request.from >= start)
    }

    fn extract(&mut self, takes: impl Fn(&ReplayRequest) -> bool) -> Vec<ReplayRequest> {
        let mut extracted = Vec::new();
        for queue in self.queues.values_mut() {
            extracted.extend(queue.extract_if(.., |request| takes(request)));
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.order.retain(|tenant| self.queues.contains_key(tenant));
        self.count -= extracted.len();
        extracted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, Timestamp};
    use tokio::{sync::oneshot, time::Instant};

    type Answer = oneshot::Receiver<Result<super::super::OplogShare, super::super::Refusal>>;

    fn now() -> u32 {
        u32::try_from(DateTime::now().timestamp_millis() / 1_000).unwrap()
    }

    /// A request of a client that was away for so many seconds.
    fn request(tenant: Option<&str>, away: u32) -> (ReplayRequest, Answer) {
        let (reply, answer) = oneshot::channel();
        let time = now() - away;
        let request = ReplayRequest {
            tenant: tenant.map(Into::into),
            from: Position::at(Timestamp { time, increment: 0 }),
            since: Instant::now(),
            reply,
        };
        (request, answer)
    }

    fn waiting(of: &[(Option<&str>, u32)]) -> (Waiting, Vec<Answer>) {
        let mut waiting = Waiting::default();
        let mut answers = Vec::new();
        for (tenant, away) in of {
            let (request, answer) = request(*tenant, *away);
            waiting.add(request).unwrap();
            answers.push(answer);
        }
        (waiting, answers)
    }

    fn away(group: &Group) -> Vec<u32> {
        let away = |request: &ReplayRequest| now() - request.from.cluster_time().time;
        let mut away: Vec<_> = group.requests.iter().map(away).collect();
        away.sort_unstable();
        away
    }

    /// Compares two lists of seconds, but for the second that may pass meanwhile.
    fn assert_about(found: &[u32], expected: &[u32]) {
        let same = found.len() == expected.len();
        let near = |(found, expected): (&u32, &u32)| found.abs_diff(*expected) <= 2;
        assert!(
            same && found.iter().zip(expected).all(near),
            "{found:?}, not {expected:?}"
        );
    }

    const ALL: fn(&Tenant) -> bool = |_| true;

    #[test]
    fn the_newest_go_first_until_one_has_waited_too_long() {
        let of = [10, 86_400, 100, 100_000, 30].map(|away| (None, away));
        let (mut all, _answers) = waiting(&of);
        let group = all.take_group(ALL, None).unwrap();
        assert_about(&away(&group), &[10, 30]);
        assert!(!group.is_late);
        // The first that came has waited longest.
        let of = [100_000, 10, 86_400, 100].map(|away| (None, away));
        let (mut all, _answers) = waiting(&of);
        let group = all.take_group(ALL, Some(Duration::ZERO)).unwrap();
        assert_about(&away(&group), &[86_400, 100_000]);
        assert!(group.is_late);
        assert!(Waiting::default().take_group(ALL, None).is_none());
    }

    #[test]
    fn tenants_take_turns_and_whoever_wants_the_same_goes_along() {
        let (a, b) = (Some("a"), Some("b"));
        let (mut all, _answers) = waiting(&[
            (a, 10),
            (a, 1_000),
            (a, 10_000),
            (a, 100_000),
            (b, 90_000),
            (None, 9_000),
        ]);
        let mut order = Vec::new();
        while let Some(group) = all.take_group(ALL, None) {
            order.push((group.tenant.clone(), away(&group)));
        }
        let expected: [(Option<&str>, &[u32]); 4] = [
            (a, &[10]),
            (b, &[90_000, 100_000]),
            (None, &[9_000, 10_000]),
            (a, &[1_000]),
        ];
        assert_eq!(order.len(), expected.len());
        for ((tenant, found), (whose, expected)) in order.iter().zip(expected) {
            assert_eq!(tenant.as_deref(), whose);
            assert_about(found, expected);
        }
        assert!(all.is_empty() && all.order.is_empty() && all.count == 0);
    }

    #[test]
    fn who_may_have_no_reader_keeps_its_turn() {
        let (mut all, _answers) = waiting(&[(Some("a"), 10), (Some("b"), 10_000)]);
        let not_a = |tenant: &Tenant| tenant.as_deref() != Some("a");
        assert!(all.any_of(not_a));
        let group = all.take_group(not_a, None).unwrap();
        assert_eq!(group.tenant.as_deref(), Some("b"));
        assert!(!all.any_of(not_a) && all.take_group(not_a, None).is_none());
        assert_about(&away(&all.take_group(ALL, None).unwrap()), &[10]);
    }

    #[test]
    fn a_tenant_has_half_of_the_places_and_those_who_left_have_none() {
        let mut all = Waiting::default();
        let mut answers = Vec::new();
        for _ in 0..MOST_OF_TENANT {
            let (request, answer) = request(Some("a"), 10);
            all.add(request).unwrap();
            answers.push(answer);
        }
        assert!(all.add(request(Some("a"), 10).0).is_err());
        let (other, _answer) = request(Some("b"), 10);
        all.add(other).unwrap();
        answers.truncate(5);
        all.add(request(Some("a"), 10).0).unwrap();
        assert_eq!(all.count, 7);
    }
}
