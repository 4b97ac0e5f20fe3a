//! The sessions that hang on each credential, and the end of each.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::DateTime;

use super::SessionKey;
use crate::access::{Caller, Credential};

/// Sessions by their credentials. Sessions of callers who proved nothing are not in it.
#[derive(Default, Debug)]
pub(super) struct ByCredential {
    keys: HashMap<Box<str>, HashSet<SessionKey>>,
    tokens: HashSet<SessionKey>,
    /// The end of each credential that ends.
    ends: HashMap<SessionKey, DateTime>,
    /// The same in the order of time.
    deadlines: BTreeSet<(DateTime, SessionKey)>,
}

impl ByCredential {
    /// Adds a session.
    pub(super) fn insert(&mut self, session: SessionKey, caller: &Caller) {
        match &caller.credential {
            Credential::None => return,
            Credential::Key { id, .. } => {
                self.keys.entry(id.clone()).or_default().insert(session);
            }
            Credential::Token(_) => _ = self.tokens.insert(session),
        }
        self.ends_at(session, caller.expires_at);
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, session: SessionKey, caller: &Caller) {
        match &caller.credential {
            Credential::None => return,
            Credential::Key { id, .. } => {
                if let Some(sessions) = self.keys.get_mut(id) {
                    sessions.remove(&session);
                    if sessions.is_empty() {
                        self.keys.remove(id);
                    }
                }
            }
            Credential::Token(_) => _ = self.tokens.remove(&session),
        }
        self.ends_at(session, None);
    }

    /// Sets the end of a session's credential.
    pub(super) fn ends_at(&mut self, session: SessionKey, end: Option<DateTime>) {
        let before = match end {
            Some(end) => self.ends.insert(session, end),
            None => self.ends.remove(&session),
        };
        if before == end {
            return;
        }
        if let Some(before) = before {
            self.deadlines.remove(&(before, session));
        }
        if let Some(end) = end {
            self.deadlines.insert((end, session));
        }
    }

    /// Returns the end of a session's credential, if it has one.
    pub(super) fn end_of(&self, session: SessionKey) -> Option<DateTime> {
        self.ends.get(&session).copied()
    }

    /// Returns the time at which the first credential ends.
    pub(super) fn next_end(&self) -> Option<DateTime> {
        self.deadlines.first().map(|(end, _)| *end)
    }

    /// Returns a session whose credential has ended at a time.
    pub(super) fn ended_by(&self, now: DateTime) -> Option<SessionKey> {
        let (end, session) = self.deadlines.first()?;
        (*end <= now).then_some(*session)
    }

    /// Returns the sessions that hang on a key.
    pub(super) fn of_key(&self, id: &str) -> Vec<SessionKey> {
        self.keys.get(id).into_iter().flatten().copied().collect()
    }

    /// Returns the number of sessions that hang on a key.
    pub(super) fn count_of_key(&self, id: &str) -> usize {
        self.keys.get(id).map_or(0, HashSet::len)
    }

    /// Returns the ids of the keys that sessions hang on.
    pub(super) fn keys(&self) -> Vec<Box<str>> {
        self.keys.keys().cloned().collect()
    }

    /// Returns the sessions that hang on any credential.
    pub(super) fn all(&self) -> Vec<SessionKey> {
        let of_keys = self.keys.values().flatten();
        of_keys.chain(&self.tokens).copied().collect()
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.tokens.is_empty()
            && self.ends.is_empty()
            && self.deadlines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(key: &str, end: Option<i64>) -> Caller {
        Caller {
            credential: Credential::Key {
                id: key.into(),
                hash: [0; 32],
                not_after: None,
            },
            expires_at: end.map(DateTime::from_millis),
            ..Caller::anybody()
        }
    }

    #[test]
    fn sessions_are_found_by_their_key_until_they_are_gone() {
        let mut all = ByCredential::default();
        let (a, b) = (caller("a", None), caller("b", Some(5)));
        for (session, caller) in [(1, &a), (2, &b), (3, &a)] {
            all.insert(SessionKey(session), caller);
        }
        all.insert(SessionKey(4), &Caller::anybody());
        let mut of_a = all.of_key("a");
        of_a.sort_unstable();
        assert_eq!(of_a, [SessionKey(1), SessionKey(3)]);
        assert_eq!((all.count_of_key("a"), all.count_of_key("c")), (2, 0));
        assert_eq!(all.all().len(), 3);
        let mut keys = all.keys();
        keys.sort_unstable();
        assert_eq!(keys, ["a".into(), "b".into()]);
        for (session, caller) in [(1, &a), (2, &b), (3, &a), (4, &Caller::anybody())] {
            all.remove(SessionKey(session), caller);
        }
        assert!(all.is_empty());
    }

    #[test]
    fn credentials_end_in_the_order_of_time_and_an_end_can_move() {
        let mut all = ByCredential::default();
        let at = DateTime::from_millis;
        for (session, end) in [(1, 30), (2, 10), (3, 20)] {
            all.insert(SessionKey(session), &caller("a", Some(end)));
        }
        assert_eq!(all.next_end(), Some(at(10)));
        assert_eq!(all.ended_by(at(9)), None);
        all.ends_at(SessionKey(2), Some(at(40)));
        all.ends_at(SessionKey(3), None);
        assert_eq!(all.next_end(), Some(at(30)));
        assert_eq!(all.ended_by(at(30)), Some(SessionKey(1)));
        all.remove(SessionKey(1), &caller("a", Some(30)));
        assert_eq!(all.ended_by(at(39)), None);
        assert_eq!(all.ended_by(at(40)), Some(SessionKey(2)));
    }
}
