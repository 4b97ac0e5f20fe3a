//! The patterns in use, so that each is compiled once and stored once, however many filters have it.
//!
//! Compiling one takes a thousand times as long as finding it, and showing a subscription parses its filter too.
//! Some of the last ones are kept even if nobody uses them: their subscriptions may be paused.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::CompiledPattern;

/// A pattern and its options as written, and the bound of its memory.
type PatternKey = (Box<str>, Box<str>, usize);

/// Most bytes of patterns that are kept whether anybody uses them or not.
const KEPT_BYTES: usize = 8 << 20;

static PATTERNS: LazyLock<Mutex<Patterns>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Patterns {
    by_source: HashMap<PatternKey, Weak<CompiledPattern>>,
    /// The number of entries above which dead ones are swept.
    sweep_above: usize,
    /// The patterns compiled last.
    kept: VecDeque<Arc<CompiledPattern>>,
    kept_bytes: usize,
}

/// Finds a pattern, or makes it by `compile` if nobody has it.
pub(super) fn compiled(
    source: &str,
    options: &str,
    most: usize,
    compile: impl FnOnce() -> Result<CompiledPattern, String>,
) -> Result<Arc<CompiledPattern>, String> {
    let key = (source.into(), options.into(), most);
    if let Some(known) = find(&key) {
        return Ok(known);
    }
    // Without the lock, so that no thread waits for another one's pattern.
    let new = Arc::new(compile()?);
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    patterns.by_source.insert(key, Arc::downgrade(&new));
    patterns.keep(&new);
    patterns.sweep();
    Ok(new)
}

fn find(key: &PatternKey) -> Option<Arc<CompiledPattern>> {
    let patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    patterns.by_source.get(key)?.upgrade()
}

impl Patterns {
    fn keep(&mut self, new: &Arc<CompiledPattern>) {
        self.kept_bytes += new.bytes();
        self.kept.push_back(Arc::clone(new));
        while self.kept_bytes > KEPT_BYTES
            && let Some(oldest) = self.kept.pop_front()
        {
            self.kept_bytes -= oldest.bytes();
        }
    }

    /// Drops dead entries, once half of all entries may be dead.
    fn sweep(&mut self) {
        if self.by_source.len() > self.sweep_above {
            self.by_source
                .retain(|_, pattern| pattern.strong_count() > 0);
            self.sweep_above = 2 * self.by_source.len() + 64;
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
            patterns.by_source.insert(key, Arc::downgrade(&new.0));
            patterns.keep(&new.0);
            patterns.sweep();
        }
        assert!(patterns.kept_bytes <= KEPT_BYTES);
        let kept: usize = patterns.kept.iter().map(|kept| kept.bytes()).sum();
        assert_eq!(patterns.kept_bytes, kept);
        let kept = patterns.kept.len();
        assert!(kept > 10 && kept < 600, "{kept}");
    }
}
