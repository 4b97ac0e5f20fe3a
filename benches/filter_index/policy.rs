//! The price of a policy: an index of filters that are narrowed to their tenants, beside one of the same filters as they are.

use std::process::Command;

use bson::{RawDocumentBuf, rawdoc};
use tidegate::filter::{Filter, FilterIndex};
use tidegate::internal::{Claims, Policy};

use crate::workload::{self, Random};
use crate::{EVENTS, index_rate, parsed, ratio, resident_bytes};

const FILTERS: usize = 1_000_000;
/// Rounds, in each of which both indexes see all events.
const ROUNDS: usize = 9;
/// Accounts in all. The fewer there are, the more filters match an event.
const ACCOUNTS: [u64; 2] = [100_000, 10_000];
/// The least ratio of events per second.
const GOAL: f64 = 0.9;
/// The word by which this program asks itself for the memory of one index.
pub(crate) const MEMORY: &str = "memory-of";

/// A side of the comparison.
#[derive(Clone, Copy)]
enum Side {
    Plain,
    Narrowed,
}

impl Side {
    const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Narrowed => "narrowed",
        }
    }

    fn index(self, random: &mut Random, accounts: u64) -> FilterIndex<u32> {
        let policy = rawdoc! {"_id": "default", "read": {"tenant": "$claims.tenant"}};
        let policy = Policy::read(&policy).expect("a policy");
        let bind = |tenant| {
            let bound = policy.bind(Some(&workload::tenant(tenant)), &Claims::default());
            bound.expect("it names the tenant alone")
        };
        // In the service, too, each subscription has a policy bound for itself.
        let filter = |key| -> (u32, Filter) {
            let (tenant, raw) = workload::w_of_tenant(random, accounts);
            let filter = parsed(&raw);
            match self {
                Self::Plain => (key, filter),
                Self::Narrowed => (key, bind(tenant).narrow(&filter)),
            }
        };
        (0..).take(FILTERS).map(filter).collect()
    }
}

/// Prints the rates of both, taken in turn, and their memory.
pub(crate) fn policy() {
    println!(
        "| filters of {} tenants | number | matches/event | as they are, events/s | with a policy | ratio | goal | \
         bytes/filter as they are | with a policy |",
        workload::TENANTS
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for accounts in ACCOUNTS {
        row(accounts);
    }
}

fn row(accounts: u64) {
    let [plain_bytes, narrowed_bytes] =
        [Side::Plain, Side::Narrowed].map(|side| memory_in_a_process_of_its_own(side, accounts));
    let plain = Side::Plain.index(&mut Random::new(1), accounts);
    let narrowed = Side::Narrowed.index(&mut Random::new(1), accounts);
    let random = &mut Random::new(2);
    let events: Vec<RawDocumentBuf> = (0..EVENTS)
        .map(|_| workload::event_of_tenant(random, accounts))
        .collect();
    let (mut of_plain, mut of_narrowed) = (Vec::new(), Vec::new());
    let mut matches = [0.0; 2];
    for _ in 0..ROUNDS {
        let (rate, found) = index_rate(&plain, &events);
        of_plain.push(rate);
        let (rate, found_narrowed) = index_rate(&narrowed, &events);
        of_narrowed.push(rate);
        matches = [found, found_narrowed];
    }
    let (plain, narrowed) = (median(of_plain), median(of_narrowed));
    println!(
        "| W, A = {accounts} | {FILTERS} | {:.2}, {:.2} | {plain:.0} | {narrowed:.0} | {:.2} | {GOAL} | {plain_bytes:.0} | \
         {narrowed_bytes:.0} |",
        matches[0],
        matches[1],
        narrowed / plain
    );
}

/// Prints the bytes of a filter in one index, for whoever has started this process.
pub(crate) fn print_memory(words: &[String]) {
    let side = match words.first().map(String::as_str) {
        Some("plain") => Side::Plain,
        _ => Side::Narrowed,
    };
    let accounts = words.get(1).and_then(|word| word.parse().ok());
    let accounts = accounts.expect("the number of accounts");
    let before = resident_bytes();
    let index = side.index(&mut Random::new(1), accounts);
    let held = resident_bytes().saturating_sub(before);
    println!("{}", ratio(held, index.len()));
}

/// Measures in a new process: what an index leaves behind in the allocator would be in the figure of the next.
fn memory_in_a_process_of_its_own(side: Side, accounts: u64) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args([MEMORY, side.word(), &accounts.to_string()]);
    let output = command.output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or(f64::NAN)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
