//! A count of work, so that tests can show how it grows.

use std::cell::Cell;

thread_local! {
    static DONE: Cell<usize> = const { Cell::new(0) };
}

/// Counts work that is done on this thread.
pub(crate) fn add(work: usize) {
    DONE.set(DONE.get() + work);
}

/// Returns the work that `task` does.
pub(crate) fn of(task: impl FnOnce()) -> usize {
    let before = DONE.get();
    task();
    DONE.get() - before
}
