//! What runs a pattern: a plain search where that is enough, else a bounded automaton.

use std::cell::RefCell;

use regex_automata::Input;
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

/// One automaton and the two ways to run it. Both take time in proportion to the text; the first
/// is faster and gives up on long ones before it begins.
#[derive(Clone, Debug)]
pub(super) struct Automaton {
    short: BoundedBacktracker,
    long: PikeVM,
}

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
    fn is_match(&self, text: &str, memory: &mut Memory) -> bool {
        let input = Input::new(text).earliest(true);
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
