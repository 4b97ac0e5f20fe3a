//! The credentials of clients: they end, are refreshed and revoked.

use std::sync::Arc;

use bson::DateTime;

use super::{Client, State, World, at};
use crate::{
    access::{Caller, Credential},
    protocol::Ending,
    router::outbox::End,
};

/// A credential ends so many changes after it was proved.
pub(super) const LIFE: u32 = 3;

/// Returns the time of a change.
pub(super) fn time(now: u32) -> DateTime {
    DateTime::from_millis(now.into())
}

/// Returns the caller of a client, whose credential ends with a change.
pub(super) fn caller(client: usize, end: u32) -> Arc<Caller> {
    Arc::new(Caller {
        credential: Credential::Key {
            id: client.to_string().into(),
            hash: [0; 32],
            not_after: None,
        },
        expires_at: Some(time(end)),
        ..Caller::anybody()
    })
}

impl World {
    /// The router comes to the next change. It ends those first whose credentials had ended by then.
    pub(super) fn begin_change(&mut self) {
        self.expire(time(self.now + 1));
        self.now += 1;
    }

    pub(super) fn expire(&mut self, now: DateTime) {
        self.registry.end_expired(now, at(self.now));
        self.note_ended(Ending::CredentialExpired);
    }

    /// Notes which sessions the registry does not have any more.
    pub(super) fn note_ended(&mut self, ending: Ending) {
        for client in &mut self.clients {
            if client.decided.is_none() && self.registry.session(client.key).is_none() {
                client.note_decided(true, ending);
            }
        }
    }

    /// Does what `Router::judge_sessions` does.
    pub(super) fn revoke(&mut self, client: usize) {
        self.begin_change();
        for key in self.registry.sessions_of_key(&client.to_string()) {
            self.registry
                .end_session(key, Ending::Forbidden, at(self.now));
        }
        self.note_ended(Ending::Forbidden);
        self.clients[client].revoke(self.now);
    }

    /// Does what `Router::try_refresh` does.
    pub(super) fn refresh(&mut self, client: usize) {
        let key = self.clients[client].key;
        let now = time(self.now);
        if self.registry.end_if_expired(key, now, at(self.now)) {
            self.note_ended(Ending::CredentialExpired);
        } else if self.registry.session(key).is_some() {
            let end = self.now + LIFE;
            let caller = caller(client, end);
            self.registry.refresh(key, caller, Some(time(end)));
            self.clients[client].ends_at = Some(end);
        }
    }
}

impl Client {
    /// Notes that the router has applied a revocation of its credential. A replay that its end waited for is cut off.
    pub(super) fn revoke(&mut self, now: u32) {
        self.revoked_at.get_or_insert(now);
        if self.state == State::Running
            && let Some(end) = self.postponed.take()
        {
            self.cut(end);
        }
    }

    pub(super) fn cut(&mut self, end: End) {
        self.cut_short = true;
        self.end(End {
            drain: false,
            ..end
        });
    }

    /// Whether it may get something with this number: that was committed before its credential ended or was revoked.
    pub(in crate::session::tests) fn may_get(&self, number: u32) -> bool {
        self.revoked_at.is_none_or(|at| number <= at) && self.ends_at.is_none_or(|end| number < end)
    }
}
