//! Programs that run patterns: a plain search if that is enough, else a bounded automaton.

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
    /// A part that the text must contain.
    Contains(Box<str>),
    /// A text that the text must begin with.
    Prefix(Box<str>),
    /// An automaton, for all other patterns.
    Automaton(Box<Automaton>),
}

/// One NFA and the ways to run it, each in time proportional to the text.
///
/// Long texts are run through a lazy DFA first: by far the fastest way, unless too many states come up. Otherwise
/// `short` is the faster one; it refuses texts that are too long for its memory.
#[derive(Clone, Debug)]
pub(super) struct Automaton {
    short: BoundedBacktracker,
    long: PikeVM,
}

/// The steps to begin a search.
const SEARCH_STEPS: usize = 100;
/// The steps for a byte of a plain search.
const SEARCHED_BYTE_STEPS: usize = 1;
/// The steps to follow one state of the NFA over one byte.
const NFA_STATE_STEPS: usize = 8;
/// The steps to set up a lazy DFA.
const DFA_SETUP_STEPS: usize = 20_000;
/// The steps to follow a known transition of the DFA.
const DFA_BYTE_STEPS: usize = 2;
/// The steps to compute a new transition of the DFA, and those for each state of the NFA besides.
const TRANSITION_STEPS: usize = 300;
const TRANSITION_STATE_STEPS: usize = 8;

/// Most bytes of memory of a lazy DFA.
const DFA_BYTES: usize = 256 << 10;
/// Bytes from which on a text is worth a lazy DFA.
const LONG_TEXT_BYTES: usize = 4 << 10;

thread_local! {
    /// Working memory for all patterns: no pattern keeps any.
    static CACHES: RefCell<Caches> = const { RefCell::new(Caches { short: None, long: None }) };
}

struct Caches {
    short: Option<backtrack::Cache>,
    long: Option<pikevm::Cache>,
}

impl Program {
    /// Compiles a program of at most `most` bytes.
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

    /// Returns the bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Contains(text) | Self::Prefix(text) => text.len(),
            Self::Automaton(automaton) => size_of::<Automaton>() + automaton.nfa().memory_usage(),
        }
    }

    /// Returns the most steps of a match with an empty text, and those for each byte.
    pub(super) fn most_steps(&self) -> (usize, usize) {
        match self {
            Self::Contains(text) => (SEARCH_STEPS + text.len(), SEARCHED_BYTE_STEPS),
            Self::Prefix(text) => (SEARCH_STEPS + text.len(), 0),
            // A lazy DFA in vain, then once more.
            Self::Automaton(automaton) => {
                let states = automaton.states();
                (
                    SEARCH_STEPS + states,
                    DFA_BYTE_STEPS
                        + DFA_SETUP_STEPS.div_ceil(LONG_TEXT_BYTES)
                        + 2 * states * NFA_STATE_STEPS,
                )
            }
        }
    }

    /// Whether the pattern matches anywhere in `text`.
    pub(super) fn is_match<M: Meter>(&self, text: &str, meter: &mut M) -> Result<bool, M::Over> {
        match self {
            Self::Contains(part) => {
                meter.charge(SEARCH_STEPS + part.len() + text.len() * SEARCHED_BYTE_STEPS)?;
                Ok(text.contains(&**part))
            }
            Self::Prefix(part) => {
                meter.charge(SEARCH_STEPS + part.len())?;
                Ok(text.starts_with(&**part))
            }
            Self::Automaton(automaton) => {
                CACHES.with_borrow_mut(|memory| automaton.is_match(text, memory, meter))
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

    /// Returns the most steps to follow all states of the NFA over a text.
    fn cost(&self, text: &str) -> usize {
        text.len() * self.states() * NFA_STATE_STEPS
    }

    fn is_match<M: Meter>(
        &self,
        text: &str,
        memory: &mut Caches,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        let input = Input::new(text).earliest(true);
        if text.len() >= LONG_TEXT_BYTES
            && let Some(matched) = self.by_dfa(text, meter)?
        {
            return Ok(matched);
        }
        meter.charge(SEARCH_STEPS + self.states() + self.cost(text))?;
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

    /// Runs a lazy DFA, which is dropped afterwards: patterns keep no states. `None` if its memory fills too
    /// quickly, or if it computes so many transitions that following all states of the NFA costs no more.
    fn by_dfa<M: Meter>(&self, text: &str, meter: &mut M) -> Result<Option<bool>, M::Over> {
        meter.charge(DFA_SETUP_STEPS + text.len() * DFA_BYTE_STEPS)?;
        let config = DFA::config()
            .cache_capacity(DFA_BYTES)
            .minimum_cache_clear_count(Some(4))
            .minimum_bytes_per_state(Some(16));
        let nfa = self.nfa().clone();
        let Ok(dfa) = DFA::builder().configure(config).build_from_nfa(nfa) else {
            return Ok(None);
        };
        let lazy_dfa = LazyDfa {
            cache: dfa.create_cache(),
            dfa,
            transition_steps: TRANSITION_STEPS + self.states() * TRANSITION_STATE_STEPS,
            worth_steps: self.cost(text),
        };
        lazy_dfa.run(text, meter)
    }
}

/// A deterministic automaton, computed while it runs.
struct LazyDfa {
    dfa: DFA,
    cache: Cache,
    /// The most steps to compute one transition.
    transition_steps: usize,
    /// The steps for which it is still worth while.
    worth_steps: usize,
}

impl LazyDfa {
    /// Runs over a text, as in "Lazy DFA" in the documentation of `regex_automata`: a match is known one byte after its
    /// end.
    fn run<M: Meter>(mut self, text: &str, meter: &mut M) -> Result<Option<bool>, M::Over> {
        let input = Input::new(text).earliest(true);
        let Ok(mut at) = self.dfa.start_state_forward(&mut self.cache, &input) else {
            return Ok(None);
        };
        self.cache.search_start(0);
        for (place, byte) in text.bytes().enumerate() {
            let known = if at.is_tagged() {
                None
            } else {
                let next = self.dfa.next_state_untagged(&self.cache, at, byte);
                (!next.is_unknown()).then_some(next)
            };
            at = if let Some(next) = known {
                next
            } else {
                meter.charge(self.transition_steps)?;
                let Some(left) = self.worth_steps.checked_sub(self.transition_steps) else {
                    return Ok(None);
                };
                self.worth_steps = left;
                self.cache.search_update(place);
                match self.dfa.next_state(&mut self.cache, at, byte) {
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
        meter.charge(self.transition_steps)?;
        let end = self.dfa.next_eoi_state(&mut self.cache, at);
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

    /// In the middle of characters and at the ends of texts too.
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
                let lazy_dfa = automaton.by_dfa(text, &mut Steps::default());
                // A DFA that is not worth while has no answer.
                let by_dfa = lazy_dfa.expect("few steps").unwrap_or(plain);
                assert_eq!(by_dfa, plain, "{source} on {text:.20}");
                assert_eq!(is_match(&pattern, text), plain, "{source} on {text:.20}");
            }
        }
    }

    /// It would take too much memory as a DFA.
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
