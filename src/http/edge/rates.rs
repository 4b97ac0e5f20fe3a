//! The bounds on how fast tenants, and keys with limits of their own, may publish, connect and ask.
//!
//! Each is a leaky bucket of one second's worth (the generic cell rate algorithm, ITU-T I.371). A batch of events is taken
//! if its first event is, and pays for all of them: what it takes beyond the bucket is a debt, and the next one waits
//! until that is paid. So a batch may be larger than the bucket, and is still no way around the rate. Crates for this refuse
//! what exceeds the bucket, and fix the rate when the bucket is made; a policy may change it at any time.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::access::Quota;

/// The most tenants, and the most keys, that are remembered. Beyond it, the oldest is forgotten that owes nothing.
const MOST_BUCKETS: usize = 10_000;
/// The most that are looked at to find one that owes nothing. If all of them owe, the oldest is forgotten.
const MOST_LOOKS: usize = 16;
/// A bucket holds what flows in within this.
const BURST: Duration = Duration::from_secs(1);

/// The owner of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose<'a> {
    Tenant(&'a str),
    /// The id of a key.
    Key(&'a str),
    /// The name of an issuer. All whose tokens name no tenant share it: they are nobody's.
    Issuer(&'a str),
    /// All who present tickets that are not stored.
    Strangers,
}

/// The part of a batch for which is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The first of the batch, before the others are counted.
    First,
    /// So many others, after the first was taken.
    Rest(u32),
}

/// All buckets of a node.
#[derive(Default, Debug)]
pub(crate) struct Rates {
    tenants: Mutex<Buckets>,
    keys: Mutex<Buckets>,
    issuers: Mutex<Buckets>,
    strangers: Mutex<Buckets>,
}

impl Rates {
    /// Takes a part from a bucket that fills at a rate. If that is too fast, takes nothing and returns the time after which
    /// one more would not be.
    pub(super) fn take(
        &self,
        whose: Whose<'_>,
        quota: Quota,
        per_second: NonZeroU32,
        part: Part,
    ) -> Result<(), Duration> {
        let (buckets, name) = match whose {
            Whose::Tenant(name) => (&self.tenants, name),
            Whose::Key(name) => (&self.keys, name),
            Whose::Issuer(name) => (&self.issuers, name),
            Whose::Strangers => (&self.strangers, ""),
        };
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(name, quota, per_second, part, Instant::now())
    }
}

#[derive(Default, Debug)]
struct Buckets {
    known: HashMap<Box<str>, Owner>,
    /// The same names, in the order in which they came.
    order: VecDeque<Box<str>>,
}

/// The buckets of one tenant or key, by quota.
#[derive(Default, Debug)]
struct Owner {
    /// The time at which each is full again. Until then something is owed.
    full_at: [Option<Instant>; Quota::ALL.len()],
}

impl Owner {
    fn owes(&self, now: Instant) -> bool {
        self.full_at.iter().flatten().any(|full_at| *full_at > now)
    }
}

impl Buckets {
    fn take(
        &mut self,
        name: &str,
        quota: Quota,
        per_second: NonZeroU32,
        part: Part,
        now: Instant,
    ) -> Result<(), Duration> {
        let interval = BURST / per_second.get();
        let known = self.known.get(name);
        let full_at = known.and_then(|owner| owner.full_at[quota as usize]);
        let full_at = full_at.map_or(now, |full_at| full_at.max(now));
        let owed = full_at.duration_since(now);
        let (count, with_one) = match part {
            Part::First => (1, owed + interval),
            // The one is among what is owed.
            Part::Rest(count) => (count, owed),
        };
        if with_one > BURST {
            return Err(with_one.saturating_sub(BURST));
        }
        let full_at = full_at + interval.saturating_mul(count);
        self.find(name, now).full_at[quota as usize] = Some(full_at);
        Ok(())
    }

    /// Returns an owner, who owes nothing yet if it is not known.
    fn find(&mut self, name: &str, now: Instant) -> &mut Owner {
        if !self.known.contains_key(name) {
            if self.order.len() >= MOST_BUCKETS {
                self.forget_one(now);
            }
            self.order.push_back(name.into());
        }
        self.known.entry(name.into()).or_default()
    }

    /// Forgets the oldest that owes nothing, which loses nothing; the oldest, if none is found soon.
    fn forget_one(&mut self, now: Instant) {
        for looks in 1.. {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let owes = self.known.get(&oldest).is_some_and(|owner| owner.owes(now));
            if !owes || looks == MOST_LOOKS {
                self.known.remove(&oldest);
                return;
            }
            self.order.push_back(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISH: Quota = Quota::PublishPerSecond;

    fn rate(per_second: u32) -> NonZeroU32 {
        NonZeroU32::new(per_second).unwrap()
    }

    #[test]
    fn a_bucket_holds_a_second_and_fills_at_the_rate() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let mut take = |at| buckets.take("a", PUBLISH, rate(4), Part::First, start + at);
        for _ in 0..4 {
            assert_eq!(take(Duration::ZERO), Ok(()));
        }
        let quarter = BURST / 4;
        assert_eq!(take(Duration::ZERO), Err(quarter));
        assert_eq!(take(quarter / 2), Err(quarter / 2));
        assert_eq!(take(quarter), Ok(()));
        assert_eq!(take(quarter), Err(quarter));
        // It never holds more than a second's worth.
        for _ in 0..4 {
            assert_eq!(take(9 * BURST), Ok(()));
        }
        assert_eq!(take(9 * BURST), Err(quarter));
    }

    #[test]
    fn a_batch_is_taken_if_its_first_is_and_paid_for_afterwards() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let rest = Part::Rest(24);
        assert_eq!(
            buckets.take("a", PUBLISH, rate(10), Part::First, now),
            Ok(())
        );
        assert_eq!(buckets.take("a", PUBLISH, rate(10), rest, now), Ok(()));
        // 25 events are two and a half seconds' worth.
        let owed = BURST * 3 / 2 + BURST / 10;
        let first =
            |buckets: &mut Buckets, at| buckets.take("a", PUBLISH, rate(10), Part::First, at);
        assert_eq!(first(&mut buckets, now), Err(owed));
        // Another one that was let in before is one too many now.
        let rest = buckets.take("a", PUBLISH, rate(10), rest, now);
        assert_eq!(rest, Err(BURST * 3 / 2));
        assert_eq!(first(&mut buckets, now + owed), Ok(()));
    }

    #[test]
    fn a_batch_that_is_alone_is_taken_at_the_lowest_rate() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        for part in [Part::First, Part::Rest(9)] {
            assert_eq!(buckets.take("a", PUBLISH, rate(1), part, now), Ok(()));
        }
        let next = buckets.take("a", PUBLISH, rate(1), Part::First, now);
        assert_eq!(next, Err(BURST * 10));
    }

    #[test]
    fn names_and_quotas_are_counted_apart() {
        let rates = Rates::default();
        let take = |whose, quota| rates.take(whose, quota, rate(1), Part::First).is_ok();
        assert!(take(Whose::Tenant("a"), PUBLISH));
        assert!(!take(Whose::Tenant("a"), PUBLISH));
        assert!(take(Whose::Tenant("a"), Quota::RequestsPerSecond));
        assert!(take(Whose::Tenant("b"), PUBLISH));
        assert!(take(Whose::Key("a"), PUBLISH));
        assert!(take(Whose::Issuer("a"), PUBLISH));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_owes_nothing_first() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let take = |buckets: &mut Buckets, n: usize, at| {
            buckets.take(&n.to_string(), PUBLISH, rate(1), Part::First, start + at)
        };
        for n in 0..MOST_BUCKETS {
            // The second one has paid long before the others.
            let at = if n == 1 { Duration::ZERO } else { BURST };
            assert_eq!(take(&mut buckets, n, at), Ok(()));
        }
        assert_eq!(take(&mut buckets, MOST_BUCKETS, BURST), Ok(()));
        assert!(buckets.known.contains_key("0") && !buckets.known.contains_key("1"));
        // Now all of them owe.
        assert_eq!(take(&mut buckets, MOST_BUCKETS + 1, BURST), Ok(()));
        assert_eq!(buckets.known.len(), MOST_BUCKETS);
        assert_eq!(buckets.order.len(), MOST_BUCKETS);
    }
}
