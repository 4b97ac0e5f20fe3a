//! The sessions and sockets of callers: by key, by tenant, and by the end of their credentials.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use bson::DateTime;

use super::{Closed, Registry, SessionEntry, SessionKey};
use crate::{access::Caller, position::Position, protocol::Ending};

impl<S: Copy + Eq + Hash> Registry<S> {
    /// Returns the sessions that hang on a key.
    pub(crate) fn sessions_of_key(&self, id: &str) -> Vec<SessionKey> {
        self.by_credential.of_key(id)
    }

    /// Returns the sessions that hang on any credential.
    pub(crate) fn sessions_with_credentials(&self) -> Vec<SessionKey> {
        self.by_credential.all()
    }

    /// Returns the sockets that are not closed, whether their sessions have ended or not, each with its caller.
    fn sockets(&self) -> impl Iterator<Item = (&Caller, &Closed)> {
        let sessions = self.sessions.values();
        let theirs = sessions.map(|session| (&*session.new.caller, &session.new.closed));
        let all = theirs.chain(self.lingering.sockets());
        all.filter(|(_, closed)| !closed.is_closed())
    }

    /// Returns the sockets of these callers that are not closed, whether their sessions have ended or not.
    pub(crate) fn sockets_of(&self, concerns: impl Fn(&Caller) -> bool) -> Vec<Closed> {
        let theirs = self.sockets().filter(|(caller, _)| concerns(caller));
        theirs.map(|(_, closed)| closed.clone()).collect()
    }

    /// Returns the sockets of a key like [`Registry::sockets_of`].
    pub(crate) fn sockets_of_key(&self, id: &str) -> Vec<Closed> {
        let sessions = self.by_credential.of_key(id);
        let sessions = sessions.iter().filter_map(|key| self.sessions.get(key));
        let theirs = sessions.map(|session| &session.new.closed);
        let ended = self.lingering.sockets();
        let ended = ended.filter(|(caller, _)| caller.credential.key() == Some(id));
        let all = theirs.chain(ended.map(|(_, closed)| closed));
        all.filter(|closed| !closed.is_closed()).cloned().collect()
    }

    /// Returns the sockets of every key like [`Registry::sockets_of`].
    pub(crate) fn sockets_by_key(&self) -> HashMap<Box<str>, Vec<Closed>> {
        let mut all: HashMap<Box<str>, Vec<Closed>> = HashMap::new();
        for (caller, closed) in self.sockets() {
            if let Some(id) = caller.credential.key() {
                all.entry(id.into()).or_default().push(closed.clone());
            }
        }
        all
    }

    /// Returns the number of sessions that hang on a key.
    pub(crate) fn count_of_key(&self, id: &str) -> usize {
        self.by_credential.count_of_key(id)
    }

    /// Returns the ids of the keys that sessions hang on.
    pub(crate) fn keys_in_use(&self) -> Vec<Box<str>> {
        self.by_credential.keys()
    }

    /// Returns the number of sessions of a tenant's callers.
    pub(crate) fn count_of_tenant(&self, name: &str) -> usize {
        self.by_tenant.count(name)
    }

    /// Returns the number of channels of a tenant's callers.
    pub(crate) fn channels_of_tenant(&self, name: &str) -> usize {
        self.channels_by_tenant.count(name)
    }

    /// Returns the number of channels of sessions that hang on a key.
    pub(crate) fn channels_of_key(&self, id: &str) -> usize {
        let sessions = self.by_credential.of_key(id);
        let sessions = sessions.iter().filter_map(|key| self.session(*key));
        sessions.map(SessionEntry::len).sum()
    }

    /// Sets the end of an open session's credential, and tells the session.
    pub(crate) fn credential_ends(&mut self, key: SessionKey, end: Option<DateTime>) {
        if let Some(session) = self.sessions.get(&key) {
            self.by_credential.ends_at(key, end);
            let millis = end.map(DateTime::timestamp_millis);
            session.new.outbox.credential_ends(millis);
        }
    }

    /// Replaces the proof of an open session's caller by another that ends at `end`.
    pub(crate) fn refresh(&mut self, key: SessionKey, caller: Arc<Caller>, end: Option<DateTime>) {
        if let Some(session) = self.sessions.get_mut(&key) {
            self.by_credential.remove(key, &session.new.caller);
            self.by_credential.insert(key, &caller);
            self.by_tenant.remove(&session.new.caller);
            self.by_tenant.insert(&caller);
            session.new.caller = caller;
            self.credential_ends(key, end);
        }
    }

    /// Ends an open session whose credential has ended at a time. True if it has.
    pub(crate) fn end_if_expired(
        &mut self,
        key: SessionKey,
        now: DateTime,
        position: Position,
    ) -> bool {
        let end = self.by_credential.end_of(key);
        end.is_some_and(|end| end <= now)
            && self.end_session(key, Ending::CredentialExpired, position)
    }

    /// Returns the time at which the first credential of a session ends.
    pub(crate) fn next_credential_end(&self) -> Option<DateTime> {
        self.by_credential.next_end()
    }

    /// Ends the sessions whose credentials have ended at a time. Returns how many.
    pub(crate) fn end_expired(&mut self, now: DateTime, position: Position) -> usize {
        let mut ended = 0;
        while let Some(key) = self.by_credential.ended_by(now) {
            ended += 1;
            if !self.end_session(key, Ending::CredentialExpired, position) {
                self.by_credential.ends_at(key, None);
            }
        }
        ended
    }
}
