//! What runs a pattern: a plain search where that is enough, else a bounded automaton.

use std::cell::RefCell;

use regex_automata::Input;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{
    NFA, WhichCaptures, backtrack, backtrack::BoundedBacktracker, pikevm, pikevm::PikeVM,
};
use regex_syntax::hir::{Hir, HirKind, Look};

use super::super::cost::Meter;

/// A pattern ready to run.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// The text contains this.
    Contains(Box<str>),
    /// The text begins with this.
    Prefix(Box<str>),
    /// Anything else.
    Automaton(Box<Automaton>),
}

/// One automaton and the ways to run it, each in time proportional to the text. For long texts its
/// states are put together as they are met, which is by far the fastest unless it comes to too many of
/// them. Else the first of these is faster, and gives up on long texts before it begins.
#[derive(Clone, Debug)]
pub(super) struct Automaton {
    short: BoundedBacktracker,
    long: PikeVM,
}

/// What it takes, in steps: to begin a search,
const SEARCH: usize = 100;
/// a byte of a plain search,
const SEARCHED: usize = 1;
/// to follow one state over one byte,
const STATE: usize = 8;
/// to set a deterministic automaton up,
const MAKING: usize = 20_000;
/// a byte of it,
const BYTE: usize = 2;
/// and to find out where a byte leads, at all and for each state that it may come from.
const MADE: usize = 300;
const STATE_MADE: usize = 8;

/// The memory for states put together.
const STATES_BYTES: usize = 256 << 10;
/// Texts shorter than this are not worth making them.
const LONG_TEXT: usize = 4 << 10;

thread_local! {
    /// Working memory for all patterns: a pattern of its own keeps none.
    static MEMORY: RefCell<Memory> = const { RefCell::new(Memory { short: None, long: None }) };
}

struct Memory {
    short: Option<backtrack::Cache>,
    long: Option<pikevm::Cache>,
}

impl Program {
    /// Compiles within `most` bytes.
    pub(super) fn compile(hir: &Hir, most: usize) -> Result<Self, String> {
        if let Some(text) = literal(hir) {
            return Ok(Self::Contains(text));
        }
        if let Some(text) = prefix(hir) {
            return Ok(Self::Prefix(text));
        }
        let config = NFA::config()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(most));
        let nfa = NFA::compiler().configure(config).build_from_hir(hir);
        let too_large = |_| format!("The regular expression compiles to more than {most} bytes.");
        let nfa = nfa.map_err(too_large)?;
        let short = BoundedBacktracker::new_from_nfa(nfa.clone()).map_err(unsupported)?;
        let long = PikeVM::new_from_nfa(nfa).map_err(unsupported)?;
        Ok(Self::Automaton(Box::new(Automaton { short, long })))
    }

    /// The memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Contains(text) | Self::Prefix(text) => text.len(),
            Self::Automaton(automaton) => size_of::<Automaton>() + automaton.nfa().memory_usage(),
        }
    }

    /// How many steps a match may take for a text of no bytes, and for each byte of one.
    pub(super) fn most_steps(&self) -> (usize, usize) {
        match self {
            Self::Contains(text) => (SEARCH + text.len(), SEARCHED),
            Self::Prefix(text) => (SEARCH + text.len(), 0),
            // In vain as a deterministic automaton, then once more.
            Self::Automaton(automaton) => {
                let states = automaton.states();
                (
                    SEARCH + states,
                    BYTE + MAKING.div_ceil(LONG_TEXT) + 2 * states * STATE,
                )
            }
        }
    }

    /// Whether the pattern matches anywhere in `text`.
    pub(super) fn is_match<M: Meter>(&self, text: &str, meter: &mut M) -> Result<bool, M::Over> {
        match self {
            Self::Contains(part) => {
                meter.charge(SEARCH + part.len() + text.len() * SEARCHED)?;
                Ok(text.contains(&**part))
            }
            Self::Prefix(part) => {
                meter.charge(SEARCH + part.len())?;
                Ok(text.starts_with(&**part))
            }
            Self::Automaton(automaton) => {
                MEMORY.with_borrow_mut(|memory| automaton.is_match(text, memory, meter))
            }
        }
    }
}

impl Automaton {
    fn nfa(&self) -> &NFA {
        self.long.get_nfa()
    }

    fn states(&self) -> usize {
        self.nfa().states().len()
    }

    /// The most that it takes to follow all states over a text.
    fn cost(&self, text: &str) -> usize {
        text.len() * self.states() * STATE
    }

    fn is_match<M: Meter>(
        &self,
        text: &str,
        memory: &mut Memory,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        let input = Input::new(text).earliest(true);
        if text.len() >= LONG_TEXT
            && let Some(matched) = self.by_states(text, meter)?
        {
            return Ok(matched);
        }
        meter.charge(SEARCH + self.states() + self.cost(text))?;
        if text.len() <= self.short.max_haystack_len() {
            let cache = memory
                .short
                .get_or_insert_with(|| self.short.create_cache());
            cache.reset(&self.short);
            if let Ok(matched) = self.short.try_is_match(cache, input.clone()) {
                return Ok(matched);
            }
        }
        let cache = memory.long.get_or_insert_with(|| self.long.create_cache());
        cache.reset(&self.long);
        Ok(self.long.is_match(cache, input))
    }

    /// Runs as a deterministic automaton that is made on the way, and forgotten afterwards: a pattern
    /// keeps no states. `None` if its memory fills too quickly, or if so many states are made that
    /// following each costs no more.
    fn by_states<M: Meter>(&self, text: &str, meter: &mut M) -> Result<Option<bool>, M::Over> {
        meter.charge(MAKING + text.len() * BYTE)?;
        let config = DFA::config()
            .cache_capacity(STATES_BYTES)
            .minimum_cache_clear_count(Some(4))
            .minimum_bytes_per_state(Some(16));
        let nfa = self.nfa().clone();
        let Ok(states) = DFA::builder().configure(config).build_from_nfa(nfa) else {
            return Ok(None);
        };
        let making = Making {
            cache: states.create_cache(),
            states,
            one: MADE + self.states() * STATE_MADE,
            left: self.cost(text),
        };
        making.run(text, meter)
    }
}

/// A deterministic automaton while it is made.
struct Making {
    states: DFA,
    cache: Cache,
    /// How many steps it may take to find out where one byte leads.
    one: usize,
    /// How many it is worth.
    left: usize,
}

impl Making {
    /// After "Lazy DFA" in the documentation of `regex_automata`: whether there is a match is known one
    /// byte behind it.
    fn run<M: Meter>(mut self, text: &str, meter: &mut M) -> Result<Option<bool>, M::Over> {
        let input = Input::new(text).earliest(true);
        let Ok(mut at) = self.states.start_state_forward(&mut self.cache, &input) else {
            return Ok(None);
        };
        self.cache.search_start(0);
        for (place, byte) in text.bytes().enumerate() {
            let known = if at.is_tagged() {
                None
            } else {
                let next = self.states.next_state_untagged(&self.cache, at, byte);
                (!next.is_unknown()).then_some(next)
            };
            at = if let Some(next) = known {
                next
            } else {
                meter.charge(self.one)?;
                let Some(left) = self.left.checked_sub(self.one) else {
                    return Ok(None);
                };
                self.left = left;
                self.cache.search_update(place);
                match self.states.next_state(&mut self.cache, at, byte) {
                    Ok(next) => next,
                    Err(_) => return Ok(None),
                }
            };
            if at.is_match() || at.is_dead() {
                return Ok(Some(at.is_match()));
            }
            if at.is_quit() {
                return Ok(None);
            }
        }
        meter.charge(self.one)?;
        let end = self.states.next_eoi_state(&mut self.cache, at);
        Ok(end.ok().map(|end| end.is_match()))
    }
}

fn unsupported(error: impl std::fmt::Display) -> String {
    format!("The regular expression is not supported: {error}.")
}

fn literal(hir: &Hir) -> Option<Box<str>> {
    match hir.kind() {
        HirKind::Empty => Some("".into()),
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(Into::into),
        _ => None,
    }
}

fn prefix(hir: &Hir) -> Option<Box<str>> {
    match hir.kind() {
        HirKind::Look(Look::Start) => Some("".into()),
        HirKind::Concat(parts) => match &parts[..] {
            [start, text] if matches!(start.kind(), HirKind::Look(Look::Start)) => literal(text),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cost::{Free, Steps, sure};
    use super::super::super::limits::Limits;
    use super::super::Pattern;
    use super::*;

    fn is_match(pattern: &Pattern, text: &str) -> bool {
        sure(pattern.program().is_match(text, &mut Free))
    }

    /// All ways to run a pattern agree, in the middle of characters and at the ends of texts too.
    #[test]
    fn every_way_to_run_a_pattern_finds_the_same() {
        let texts = [
            "",
            "é",
            "aé\n",
            "foo bar",
            "x\u{1f600}y",
            "a\r\nb",
            "1234567890",
        ];
        let texts = texts.map(|text| {
            [
                text.to_owned(),
                text.repeat(1_000),
                text.repeat(2_000) + "z",
            ]
        });
        for source in [
            r"\B",
            r"é\B.",
            r"\b1",
            r"(a|b)*a(a|b){3}z",
            "^.$",
            "(?m)^b$",
            r"\n$",
            "(?i)É",
            "[^a]z$",
            "x?",
            "(a|aa|a*)*z",
            r"(.*,){3}z|0{2}",
            "o b|y.x",
        ] {
            let pattern = Pattern::compile(source, "", &Limits::default()).unwrap();
            let Program::Automaton(automaton) = &pattern.program() else {
                continue;
            };
            for text in texts.iter().flatten() {
                let input = Input::new(text).earliest(true);
                let plain = automaton
                    .long
                    .is_match(&mut automaton.long.create_cache(), input.clone());
                let making = automaton.by_states(text, &mut Steps::default());
                // What is not worth it is run otherwise.
                let by_states = making.expect("few steps").unwrap_or(plain);
                assert_eq!(by_states, plain, "{source} on {text:.20}");
                assert_eq!(is_match(&pattern, text), plain, "{source} on {text:.20}");
            }
        }
    }

    /// What would take too much memory is run otherwise.
    #[test]
    fn a_pattern_of_very_many_states_is_run_all_the_same() {
        let pattern = Pattern::compile("(a|b)*a(a|b){16}c", "", &Limits::default()).unwrap();
        let mut word = 1_u32;
        let letters = (0..30_000).map(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if word >> 31 == 0 { 'a' } else { 'b' }
        });
        let text: String = letters.collect();
        assert!(!is_match(&pattern, &text));
        assert!(is_match(&pattern, &(text + "abbbbbbbbbbbbbbbbc")));
    }
}
