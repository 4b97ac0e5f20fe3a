//! Inputs from a seeded generator: the same on every machine.

use bson::{RawDocumentBuf, raw::cstr, rawdoc};

/// The number of types in workload W.
pub(crate) const TYPES: u64 = 50;
/// The bound of amounts, which are whole numbers below it.
pub(crate) const AMOUNTS: u64 = 10_000;
/// The least `$gte` bound of workload W: bounds are uniform between this and [`AMOUNTS`]. It is chosen so that a
/// million filters on a thousand accounts have about nine matches an event.
pub(crate) const LEAST_BOUND: u64 = 1_300;

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    /// Starts the sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Returns a BSON int32 from `from` to below `to`.
    fn int(&mut self, from: u64, to: u64) -> i32 {
        i32::try_from(from + self.below(to - from)).expect("small numbers")
    }
}

/// The number of tenants among whom accounts are divided.
pub(crate) const TENANTS: u64 = 10_000;

/// Makes an event of twelve fields, on one of `accounts` accounts.
pub(crate) fn event(random: &mut Random, accounts: u64) -> RawDocumentBuf {
    let currency = ["EUR", "USD", "GBP", "CHF"][usize::try_from(random.below(4)).expect("small")];
    let tags = [
        format!("tag{}", random.below(1_000)),
        format!("tag{}", random.below(1_000)),
    ];
    rawdoc! {
        "id": format!("evt-{:08x}", random.below(1 << 32)),
        "source": "/bank/core",
        "type": kind(random.below(TYPES)),
        "time": bson::DateTime::from_millis(1_700_000_000_000),
        "account": account(random.below(accounts)),
        "amount": random.int(0, AMOUNTS),
        "currency": currency,
        "region": format!("region-{}", random.below(1_000)),
        "path": format!("/tenant{:03}/device{:04}/reading", random.below(100), random.below(10_000)),
        "priority": random.int(0, 100),
        "tags": bson::RawArrayBuf::from_iter(tags),
        "items": bson::RawArrayBuf::from_iter([
            rawdoc! { "sku": format!("sku-{}", random.below(10_000)), "quantity": random.int(1, 20) },
            rawdoc! { "sku": format!("sku-{}", random.below(10_000)), "quantity": random.int(1, 20) },
        ]),
    }
}

/// Makes an event, and adds its tenant where a stored event has its extension attributes: before its data.
pub(crate) fn event_of_tenant(random: &mut Random, accounts: u64) -> RawDocumentBuf {
    let event = event(random, accounts);
    let account = event.get_str("account").expect("an account");
    let number: u64 = account[ACCOUNT.len()..].parse().expect("a number");
    let mut of_tenant = RawDocumentBuf::new();
    for member in &event {
        let (name, value) = member.expect("well-formed");
        of_tenant.append(name, value);
        if name.as_str() == "time" {
            of_tenant.append(cstr!("tenant"), tenant(number % TENANTS));
        }
    }
    of_tenant
}

/// Returns the name of a tenant.
pub(crate) fn tenant(number: u64) -> String {
    format!("tenant-{number}")
}

/// Makes a filter of workload W: 55 % type, account and a bound; 35 % two equalities; 10 % an `$or` of two of those.
pub(crate) fn w(random: &mut Random, accounts: u64) -> RawDocumentBuf {
    w_on(random, |random| random.below(accounts))
}

/// Makes a filter of workload W on the accounts of one tenant. Returns the tenant's number too.
pub(crate) fn w_of_tenant(random: &mut Random, accounts: u64) -> (u64, RawDocumentBuf) {
    let tenant = random.below(TENANTS);
    let own = accounts / TENANTS;
    let filter = w_on(random, |random| tenant + TENANTS * random.below(own));
    (tenant, filter)
}

fn w_on(random: &mut Random, pick: impl Fn(&mut Random) -> u64) -> RawDocumentBuf {
    if random.below(100) < 90 {
        simple(random, &pick)
    } else {
        rawdoc! { "$or": [simple(random, &pick), simple(random, &pick)] }
    }
}

fn simple(random: &mut Random, pick: impl Fn(&mut Random) -> u64) -> RawDocumentBuf {
    let (kind, account) = (kind(random.below(TYPES)), account(pick(random)));
    match random.below(90) {
        0..55 => {
            let least = random.int(LEAST_BOUND, AMOUNTS);
            rawdoc! { "type": kind, "account": account, "amount": { "$gte": least } }
        }
        other => match other % 3 {
            0 => rawdoc! { "type": kind, "account": account },
            1 => rawdoc! { "type": kind, "amount": random.int(0, AMOUNTS) },
            _ => rawdoc! { "account": account, "amount": random.int(0, AMOUNTS) },
        },
    }
}

/// Makes `{amount: {$gte: x, $lt: x + 1}}` with real bounds: about ten of 100,000 match an event.
pub(crate) fn range(random: &mut Random) -> RawDocumentBuf {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let low = random.below(AMOUNTS * 1_000) as f64 / 1_000.0;
    rawdoc! { "amount": { "$gte": low, "$lt": low + 1.0 } }
}

/// Makes an `$or`: type and account, or one of two other pairs.
pub(crate) fn or(random: &mut Random) -> RawDocumentBuf {
    let branch = |random: &mut Random| match random.below(2) {
        0 => {
            rawdoc! { "type": kind(random.below(TYPES)), "account": account(random.below(10_000)) }
        }
        _ => {
            rawdoc! { "region": format!("region-{}", random.below(1_000)), "priority": random.int(0, 100) }
        }
    };
    rawdoc! { "$or": [branch(random), branch(random)] }
}

/// Makes an `$in` of twenty of 100,000 accounts.
pub(crate) fn list(random: &mut Random) -> RawDocumentBuf {
    let accounts = (0..20).map(|_| account(random.below(100_000)));
    rawdoc! { "account": { "$in": accounts.collect::<bson::RawArrayBuf>() } }
}

/// Makes a filter on a field that exists, and on a tag.
pub(crate) fn exists(random: &mut Random) -> RawDocumentBuf {
    if random.below(2) == 0 {
        present(&format!("extension{}", random.below(50_000)))
    } else {
        rawdoc! {
            "region": format!("region-{}", random.below(1_000)),
            "priority": random.int(0, 100),
            "refund": { "$exists": false },
        }
    }
}

fn present(name: &str) -> RawDocumentBuf {
    let name = bson::raw::CString::try_from(name).expect("names have no NUL");
    let mut filter = RawDocumentBuf::new();
    filter.append(name, rawdoc! { "$exists": true });
    filter
}

/// Makes a filter on a tenant's device, by the prefix of a path.
pub(crate) fn prefix(random: &mut Random) -> RawDocumentBuf {
    let (tenant, device) = (random.below(100), random.below(10_000));
    rawdoc! { "path": { "$regex": format!("^/tenant{tenant:03}/device{device:04}/") } }
}

/// Makes an `$elemMatch` on an item's name and quantity.
pub(crate) fn element(random: &mut Random) -> RawDocumentBuf {
    let sku = format!("sku-{}", random.below(10_000));
    rawdoc! { "items": { "$elemMatch": { "sku": sku, "quantity": { "$gte": random.int(1, 20) } } } }
}

/// Makes a filter of one of the classes above, by turns, and now and then one that demands nothing.
pub(crate) fn mixed(random: &mut Random) -> RawDocumentBuf {
    match random.below(1_000) {
        0..200 => or(random),
        200..400 => list(random),
        400..600 => exists(random),
        600..800 => prefix(random),
        800..999 => element(random),
        _ => {
            rawdoc! { "priority": { "$ne": random.int(0, 100) }, "currency": { "$nin": ["EUR", "USD", "GBP", "CHF"] } }
        }
    }
}

fn kind(number: u64) -> String {
    format!("type-{number}")
}

/// The beginning of the name of an account.
const ACCOUNT: &str = "acc-";

fn account(number: u64) -> String {
    format!("{ACCOUNT}{number:06}")
}
