//! Patterns that are in use, so that each is compiled once and kept once, however many filters have it.
//!
//! To compile one takes a thousand times as long as to find it, and whoever only shows a subscription
//! reads its filter, too. For those whose subscriptions are paused or gone from the index, some that
//! were used last are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::Compiled;

/// A pattern as written, and the memory that it may take.
type Key = (Box<str>, Box<str>, usize);

/// The memory for patterns that may be in use by nobody, in bytes.
const KEPT_BYTES: usize = 8 << 20;

static PATTERNS: LazyLock<Mutex<Patterns>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Patterns {
    known: HashMap<Key, Weak<Compiled>>,
    /// How many may be known before those that are gone are looked for.
    room: usize,
    /// Those compiled last.
    kept: VecDeque<Arc<Compiled>>,
    kept_bytes: usize,
}

/// The pattern, made by `compile` if nobody has it.
pub(super) fn compiled(
    source: &str,
    options: &str,
    most: usize,
    compile: impl FnOnce() -> Result<Compiled, String>,
) -> Result<Arc<Compiled>, String> {
    let key = (source.into(), options.into(), most);
    if let Some(known) = find(&key) {
        return Ok(known);
    }
    // Without the lock: other threads wait for no pattern but their own.
    let new = Arc::new(compile()?);
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    patterns.known.insert(key, Arc::downgrade(&new));
    patterns.keep(&new);
    patterns.forget();
    Ok(new)
}

fn find(key: &Key) -> Option<Arc<Compiled>> {
    let patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    patterns.known.get(key)?.upgrade()
}

impl Patterns {
    fn keep(&mut self, new: &Arc<Compiled>) {
        self.kept_bytes += new.bytes();
        self.kept.push_back(Arc::clone(new));
        while self.kept_bytes > KEPT_BYTES
            && let Some(oldest) = self.kept.pop_front()
        {
            self.kept_bytes -= oldest.bytes();
        }
    }

    /// Forgets those that are gone, once half of what is known may be.
    fn forget(&mut self) {
        if self.known.len() > self.room {
            self.known.retain(|_, pattern| pattern.strong_count() > 0);
            self.room = 2 * self.known.len() + 64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::Limits;
    use super::super::Pattern;
    use super::*;

    #[test]
    fn equal_patterns_are_one() {
        let compile = |options| Pattern::compile("sha+red", options, &Limits::default()).unwrap();
        let (one, same, other) = (compile(""), compile(""), compile("i"));
        assert!(Arc::ptr_eq(&one.0, &same.0));
        assert!(!Arc::ptr_eq(&one.0, &other.0));
    }

    #[test]
    fn patterns_that_nobody_uses_are_forgotten_for_others() {
        let mut patterns = Patterns::default();
        for number in 0..600 {
            let source = format!("[a-z]{{1000}}{number}");
            let new = Pattern::compile(&source, "", &Limits::default()).unwrap();
            let key = (source.into(), "".into(), 0);
            patterns.known.insert(key, Arc::downgrade(&new.0));
            patterns.keep(&new.0);
            patterns.forget();
        }
        assert!(patterns.kept_bytes <= KEPT_BYTES);
        let kept: usize = patterns.kept.iter().map(|kept| kept.bytes()).sum();
        assert_eq!(patterns.kept_bytes, kept);
        let kept = patterns.kept.len();
        assert!(kept > 10 && kept < 600, "{kept}");
    }
}
