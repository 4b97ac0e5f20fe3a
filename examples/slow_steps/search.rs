//! A search for filters and events that cost more than their steps say: pairs come from a grammar, and the most
//! expensive ones are kept and changed.

use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use tidegate::filter::{Filter, Steps};

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound.max(1) as u64).unwrap_or(0)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Returns a number that is mostly small, and now and then up to `most`.
    fn size(&mut self, most: usize) -> usize {
        let scale = self.below(most.ilog2() as usize + 1);
        self.below((1 << scale) + 1)
    }
}

/// A filter, an event, and the cost of their match.
#[derive(Clone)]
pub(crate) struct Pair {
    /// The filter.
    pub(crate) filter: Document,
    /// The event.
    pub(crate) event: Document,
    /// The steps of the match, each counted.
    pub(crate) steps: u64,
    /// The bound of its steps.
    pub(crate) most: u64,
    /// The time that it took.
    pub(crate) time: Duration,
}

impl Pair {
    /// Returns the nanoseconds for each step.
    pub(crate) fn nanos_per_step(&self) -> f64 {
        self.time.as_secs_f64() * 1e9 / precise(self.steps.max(1))
    }

    /// Matches the two, timed by `time`. `None` if the filter is refused.
    fn of(filter: Document, event: Document, time: &Timer) -> Option<Self> {
        let compiled = Filter::parse(&raw(&filter)).ok()?;
        let document = raw(&event);
        let mut bound = Steps::new(u64::MAX);
        let mut steps = Steps::default();
        let mut matches = || {
            steps = Steps::default();
            // The cost counts, whether it is too expensive or not.
            compiled
                .matches_counted(&document, &mut steps)
                .unwrap_or(false)
        };
        let time = time(&mut matches);
        compiled.matches_within(&document, &mut bound).ok()?;
        let (steps, most) = (steps.spent(), bound.spent());
        Some(Self {
            filter,
            event,
            steps,
            most,
            time,
        })
    }
}

/// A stopwatch.
pub(crate) type Timer = dyn Fn(&mut dyn FnMut() -> bool) -> Duration;

/// The search, and the best pairs that it has found.
pub(crate) struct Search<'t> {
    random: Random,
    timer: &'t Timer,
    kept: Vec<Pair>,
    /// The number of pairs that were tried.
    pub(crate) tried: usize,
    /// The pair with the most time for each step, of those that took long enough to be timed.
    pub(crate) slowest: Option<Pair>,
    /// The pair with the most time.
    pub(crate) longest: Option<Pair>,
    /// A pair that took more steps than its bound.
    pub(crate) beyond: Option<Pair>,
}

/// Most bytes of a filter or an event.
const MOST_BYTES: usize = 1 << 20;
/// Most levels of an event: a server stores no more.
const MOST_LEVELS: usize = 180;
const KEPT: usize = 40;
/// The least time that is measured well.
const LEAST: Duration = Duration::from_micros(100);

impl<'t> Search<'t> {
    /// Makes a search from a seed.
    pub(crate) fn new(seed: u64, timer: &'t Timer) -> Self {
        Self {
            random: Random(seed),
            timer,
            kept: Vec::new(),
            tried: 0,
            slowest: None,
            longest: None,
            beyond: None,
        }
    }

    /// Tries one more pair: a new one, or a changed one of those that were kept.
    pub(crate) fn step(&mut self) {
        let random = &mut self.random;
        let (mut filter, mut event) = match self.kept.len() {
            0 => (filter(random, 3), event(random)),
            kept => {
                let pair = &self.kept[random.below(kept)];
                (pair.filter.clone(), pair.event.clone())
            }
        };
        match random.below(6) {
            0 => (filter, event) = (self::filter(random, 3), self::event(random)),
            1 => filter = self::filter(random, 3),
            2 => event = self::event(random),
            3 => filter.extend(self::filter(random, 2)),
            4 => {
                let copies = random.size(30).min(MOST_BYTES / size(&filter)) + 1;
                let all = vec![Bson::Document(filter); copies];
                filter = doc! { random.pick(&["$and", "$or", "$nor"]): all };
            }
            _ => {
                let copies = random.size(100).min(MOST_BYTES / size(&event));
                let more = vec![Bson::Document(event.clone()); copies];
                event.insert(random.pick(&NAMES), more);
            }
        }
        if depth(&event) < MOST_LEVELS
            && size(&event) < MOST_BYTES
            && let Some(pair) = Pair::of(filter, event, self.timer)
        {
            self.tried += 1;
            self.keep(pair);
        }
    }

    fn keep(&mut self, pair: Pair) {
        if pair.steps > pair.most {
            self.beyond = Some(pair.clone());
        }
        if self
            .longest
            .as_ref()
            .is_none_or(|longest| pair.time > longest.time)
        {
            self.longest = Some(pair.clone());
        }
        let slower = |other: &Pair| pair.nanos_per_step() > other.nanos_per_step();
        if pair.time >= LEAST && self.slowest.as_ref().is_none_or(slower) {
            self.slowest = Some(pair.clone());
        }
        self.kept.push(pair);
        if self.kept.len() > KEPT {
            // Drops, in turn, the one that took the fewest steps and the one with the least time for each step.
            let by_steps = |pair: &Pair| precise(pair.steps);
            let by_time = |pair: &Pair| match pair.time {
                time if time < LEAST => 0.0,
                _ => pair.nanos_per_step(),
            };
            let value = |pair: &Pair| {
                if self.tried.is_multiple_of(2) {
                    by_steps(pair)
                } else {
                    by_time(pair)
                }
            };
            let values = self.kept.iter().map(value).enumerate();
            let least = values.min_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some((at, _)) = least {
                self.kept.swap_remove(at);
            }
        }
    }
}

/// Counts the levels of documents and arrays.
fn depth(document: &Document) -> usize {
    fn of(value: &Bson) -> usize {
        match value {
            Bson::Document(inner) => depth(inner),
            Bson::Array(inner) => 1 + inner.iter().take(3).map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    1 + document.values().map(of).max().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn precise(steps: u64) -> f64 {
    steps as f64
}

fn size(document: &Document) -> usize {
    raw(document).as_bytes().len()
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("documents have a raw form")
}

const NAMES: [&str; 5] = ["a", "b", "0", "1", ""];

fn path(random: &mut Random) -> String {
    let components = (0..=random.size(12)).map(|_| random.pick(&["a", "a", "b", "0", "0", "1"]));
    components.collect::<Vec<_>>().join(".")
}

const PATTERNS: [&str; 16] = [
    "a",
    "^ab",
    "b$",
    "[ab]*a[ab]{9}c",
    "[ab]*a[ab]{300}c",
    "(a|aa)*c",
    "(?i)É.*ß",
    r"\pL+\d",
    r"\w+\s\w+$",
    r"[^a]{50}",
    r"(.*,){5}z",
    r"\b[a-z]{3,200}\b!",
    "(a?){60}a{60}",
    "([a-z0-9]+[.-])+[A-Z]",
    "(?m)^b*a$",
    r"(\pL|\pN){40}x",
];

fn scalar(random: &mut Random) -> Bson {
    let decimals = [
        "0.1",
        "1E-320",
        "1E+300",
        "9007199254740993",
        "4.940656458412465441765687928682213E-324",
    ];
    let doubles = [0.1, 5e-324, 1e300, 1e-300, f64::MAX, 1.0];
    match random.below(9) {
        0 => Bson::Null,
        1 => Bson::Double(random.pick(&doubles)),
        2 => Bson::Decimal128(random.pick(&decimals).parse().expect("a number")),
        3 => Bson::String(text(random)),
        4 => Bson::Boolean(true),
        5 => Bson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: vec![0xff; random.size(1 << 14)],
        }),
        _ => Bson::Int32(i32::try_from(random.below(4)).unwrap_or(0)),
    }
}

fn text(random: &mut Random) -> String {
    let letters = random.pick(&[
        "ab",
        "abc ",
        "aé,1",
        "a",
        "abcdefghijklmnopqrstuvwxyz0123456789.-",
    ]);
    let letters: Vec<char> = letters.chars().collect();
    (0..random.size(1 << 17))
        .map(|_| random.pick(&letters))
        .collect()
}

fn value(random: &mut Random, depth: usize) -> Bson {
    match random.below(if depth == 0 { 1 } else { 4 }) {
        0 => scalar(random),
        1 => Bson::Document(members(random, depth - 1)),
        2 => {
            let alike = value(random, depth - 1);
            let copies = random
                .size(2_000)
                .min(MOST_BYTES / size(&doc! { "a": &alike }));
            Bson::Array(vec![alike; copies + 1])
        }
        _ => {
            let number = random.size(30) + 1;
            Bson::Array((0..number).map(|_| value(random, depth - 1)).collect())
        }
    }
}

fn members(random: &mut Random, depth: usize) -> Document {
    let number = random.below(4) + 1;
    (0..number)
        .map(|_| (random.pick(&NAMES).to_owned(), value(random, depth)))
        .collect()
}

fn event(random: &mut Random) -> Document {
    let mut event = members(random, 3);
    if random.below(3) == 0 {
        for _ in 0..random.size(60) {
            let name = random.pick(&["a", "0", "0"]);
            event = if random.below(2) == 0 {
                doc! { name: [event] }
            } else {
                doc! { name: event }
            };
        }
    }
    event
}

fn operand(random: &mut Random) -> Bson {
    match random.below(8) {
        0 => Bson::Document(members(random, 2)),
        1 => Bson::Array(vec![scalar(random); random.size(1_000)]),
        _ => scalar(random),
    }
}

fn operators(random: &mut Random, depth: usize) -> Document {
    let number = random.size(300) + 1;
    let compare = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"];
    let each = |random: &mut Random, one: fn(&mut Random, usize) -> Bson| -> Vec<Bson> {
        (0..number).map(|at| one(random, at)).collect()
    };
    match random.below(if depth == 0 { 9 } else { 13 }) {
        0 => {
            doc! { random.pick(&["$in", "$nin", "$all"]): each(random, |random, _| operand(random)) }
        }
        1 | 2 => {
            let options = random.pick(&["", "i", "s", "m"]);
            doc! { "$regex": random.pick(&PATTERNS), "$options": options }
        }
        3 => doc! { "$size": 3 },
        4 => {
            let bit = |_: &mut Random, at| Bson::Int64(i64::try_from(at).unwrap_or(0));
            doc! { "$bitsAllSet": each(random, bit) }
        }
        5 => doc! { "$mod": [7, 3] },
        6 => doc! { "$exists": random.below(2) == 0 },
        7 | 8 => doc! { random.pick(&compare): operand(random) },
        9 => doc! { "$elemMatch": filter(random, depth - 1) },
        10 => doc! { "$elemMatch": operators(random, depth - 1) },
        11 => {
            let inner = filter(random, depth - 1);
            let all = vec![Bson::Document(doc! { "$elemMatch": inner }); number.min(50)];
            doc! { "$all": all }
        }
        _ => doc! { "$not": operators(random, depth - 1) },
    }
}

/// Conditions on some paths.
pub(crate) fn filter(random: &mut Random, depth: usize) -> Document {
    let number = random.size(40) + 1;
    (0..number)
        .map(|_| {
            let operators = operators(random, depth.saturating_sub(1));
            (path(random), Bson::Document(operators))
        })
        .collect()
}
