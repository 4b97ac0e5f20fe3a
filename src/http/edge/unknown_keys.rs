//! The bound on how often the database is asked for keys that this node does not know.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A key that is not stored is not asked for again for this long.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Questions in that time at most.
const QUESTIONS: usize = 100;

/// The questions of the last moment.
#[derive(Default, Debug)]
pub(crate) struct UnknownKeys(Mutex<Questions>);

#[derive(Default, Debug)]
struct Questions {
    since: Option<Instant>,
    asked: usize,
    /// Keys that are not stored. There are at most as many as questions.
    absent: HashMap<Box<str>, Instant>,
}

/// The answer to whether a key may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It may.
    Ask,
    /// It was, a moment ago, and is not stored.
    Absent,
    /// Too many were.
    TooMany,
}

impl UnknownKeys {
    /// Returns whether the database may be asked for a key now, which then counts as asked.
    pub(super) fn ask(&self, id: &str) -> Answer {
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if questions
            .since
            .is_none_or(|since| since.elapsed() >= REMEMBERED)
        {
            questions.since = Some(Instant::now());
            questions.asked = 0;
            questions.absent.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        let known = questions.absent.get(id);
        let is_absent = known.is_some_and(|at| at.elapsed() < REMEMBERED);
        if is_absent {
            return Answer::Absent;
        }
        if questions.asked == QUESTIONS {
            return Answer::TooMany;
        }
        questions.asked += 1;
        Answer::Ask
    }

    /// Notes that a key is not stored.
    pub(super) fn note_absent(&self, id: &str) {
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.absent.len() < QUESTIONS {
            questions.absent.insert(id.into(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_stored_is_asked_for_once_and_all_questions_are_bounded() {
        let keys = UnknownKeys::default();
        // It may be stored, and only not applied yet.
        assert_eq!(keys.ask("a"), Answer::Ask);
        assert_eq!(keys.ask("a"), Answer::Ask);
        keys.note_absent("a");
        assert_eq!(keys.ask("a"), Answer::Absent);
        let asked = (0..QUESTIONS * 2).filter(|n| keys.ask(&n.to_string()) == Answer::Ask);
        assert!(asked.count() < QUESTIONS);
        assert_eq!(keys.ask("b"), Answer::TooMany);
        for n in 0..QUESTIONS * 2 {
            keys.note_absent(&n.to_string());
        }
        assert!(keys.0.lock().unwrap().absent.len() <= QUESTIONS);
    }
}
