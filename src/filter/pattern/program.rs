//! What runs a pattern: a plain search where that is enough, else a bounded automaton.

use std::cell::RefCell;

use regex_automata::Input;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::nfa::thompson::{
    NFA, WhichCaptures, backtrack, backtrack::BoundedBacktracker, pikevm, pikevm::PikeVM,
};
use regex_syntax::hir::{Hir, HirKind, Look};

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

/// What it takes to follow one state over one byte.
const STATE: usize = 8;
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

    /// How many steps a match takes, whatever the text.
    pub(super) fn fixed_cost(&self) -> usize {
        match self {
            Self::Contains(text) | Self::Prefix(text) => 16 + text.len(),
            Self::Automaton(automaton) => 200 + automaton.states(),
        }
    }

    /// How many steps a match may take for each byte of the text. The slowest way to run an automaton
    /// follows all states that it may be in.
    pub(super) fn cost_per_byte(&self) -> usize {
        match self {
            Self::Contains(_) | Self::Prefix(_) => 1,
            Self::Automaton(automaton) => 1 + automaton.states() * STATE,
        }
    }

    /// Whether the pattern matches anywhere in `text`.
    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Contains(part) => text.contains(&**part),
            Self::Prefix(part) => text.starts_with(&**part),
            Self::Automaton(automaton) => {
                MEMORY.with_borrow_mut(|memory| automaton.is_match(text, memory))
            }
        }
    }
}

impl Automaton {
    fn states(&self) -> usize {
        self.long.get_nfa().states().len()
    }

    fn is_match(&self, text: &str, memory: &mut Memory) -> bool {
        let input = Input::new(text).earliest(true);
        if text.len() >= LONG_TEXT
            && let Some(matched) = self.by_states(&input)
        {
            return matched;
        }
        if text.len() <= self.short.max_haystack_len() {
            let cache = memory
                .short
                .get_or_insert_with(|| self.short.create_cache());
            cache.reset(&self.short);
            if let Ok(matched) = self.short.try_is_match(cache, input.clone()) {
                return matched;
            }
        }
        let cache = memory.long.get_or_insert_with(|| self.long.create_cache());
        cache.reset(&self.long);
        self.long.is_match(cache, input)
    }

    /// Runs as a deterministic automaton that is made on the way, and forgotten afterwards: a pattern
    /// keeps no states. `None` if its memory fills too quickly.
    fn by_states(&self, input: &Input<'_>) -> Option<bool> {
        let config = DFA::config()
            .cache_capacity(STATES_BYTES)
            .minimum_cache_clear_count(Some(4))
            .minimum_bytes_per_state(Some(16));
        let nfa = self.long.get_nfa().clone();
        let states = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let mut cache = states.create_cache();
        let found = states.try_search_fwd(&mut cache, input).ok()?;
        Some(found.is_some())
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
    use super::super::super::limits::Limits;
    use super::super::Pattern;
    use super::*;

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
            let Program::Automaton(automaton) = &pattern.program else {
                continue;
            };
            for text in texts.iter().flatten() {
                let input = Input::new(text).earliest(true);
                let plain = automaton
                    .long
                    .is_match(&mut automaton.long.create_cache(), input.clone());
                assert_eq!(
                    automaton.by_states(&input),
                    Some(plain),
                    "{source} on {text:.20}"
                );
                assert_eq!(
                    pattern.program.is_match(text),
                    plain,
                    "{source} on {text:.20}"
                );
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
        assert!(!pattern.program.is_match(&text));
        assert!(pattern.program.is_match(&(text + "abbbbbbbbbbbbbbbbc")));
    }
}
