//! Applying changes of credentials, and ending the sessions of callers who do not stand any more.

use bson::DateTime;

use super::{
    Router,
    lifecycle::When,
    registry::{ChannelEntry, ChannelKey, SessionKey},
    table::Slot,
};
use crate::{
    access::{
        Caller, CredentialKind, Credentials, CredentialsChange, KeysChange, Refusal, Revocation,
        Touched,
    },
    position::Position,
    protocol::Ending,
};

impl Router {
    /// Applies a change of a credential, and ends the sessions whose callers do not stand any more. What was committed
    /// before it is in their outboxes, which are dropped.
    pub(super) async fn apply_credentials(
        &mut self,
        change: &CredentialsChange,
        committed: DateTime,
    ) {
        let lost = self.keys_lost_by(change);
        let gone = self.revocations_lost_by(change);
        let revocation = self.revocation_in(change, committed);
        let mut touched = self.credentials.write(|all| all.apply(change));
        if let CredentialsChange::Unseen {
            kind,
            found: Some(document),
            ..
        } = change
        {
            // What it said meanwhile is not known: whoever hung on it is judged without it first.
            self.follow(&touched, committed).await;
            let found = CredentialsChange::Stored(*kind, document.clone());
            touched = self.credentials.write(|all| all.apply(&found));
        }
        self.count_credentials();
        self.follow(&touched, committed).await;
        let when = When::Committed(committed);
        self.publish_lost_keys(lost, when).await;
        self.publish_gone(gone).await;
        if let Some(revocation) = revocation {
            self.publish_revocation(revocation, when).await;
        }
    }

    /// Brings sessions and subscriptions into line with the credentials.
    async fn follow(&mut self, touched: &Touched, committed: DateTime) {
        match touched {
            Touched::Policy(change) => self.narrow_anew(change).await,
            Touched::Nobody | Touched::Key(_) | Touched::Named(_) | Touched::Everybody => {
                self.judge_sessions(touched, committed);
            }
        }
    }

    fn count_credentials(&self) {
        let (keys, revocations) = self.credentials.read(|all| (all.keys(), all.revocations()));
        let (keys, certificates) = keys;
        self.metrics.access.stored("key", keys);
        self.metrics.access.stored("certificate", certificates);
        let (usable, broken) = self.credentials.policies().count();
        self.metrics.access.policies("active", usable);
        self.metrics.access.policies("broken", broken);
        let revocations = i64::try_from(revocations).unwrap_or(i64::MAX);
        self.metrics.access.revocations.set(revocations);
        let withheld = self.credentials.withheld();
        for (kind, count) in CredentialKind::ALL.into_iter().zip(withheld) {
            self.metrics.access.withheld(kind.collection(), count);
        }
    }

    /// Replaces all credentials by those of a load.
    pub(super) fn replace_credentials(&mut self, all: Credentials) {
        self.credentials
            .write(|credentials| credentials.replace(all));
        self.count_credentials();
        let (policies, broken) = self.credentials.policies().count();
        if !self.settings.narrows && policies + broken > 0 {
            tracing::warn!(
                policies = policies + broken,
                "there are policies, and auth = none applies none of them: everybody receives everything"
            );
        }
        // What changed meanwhile has not passed by: a revocation for which there is no room may name anybody.
        let now = DateTime::now();
        self.judge_sessions_by(&Touched::Everybody, now, |all, caller| {
            all.judge(caller, now)
        });
    }

    /// Applies a change of the keys of an issuer: what hangs on one that left ends soon.
    pub(super) fn apply_keys(&mut self, change: &KeysChange) {
        let now = DateTime::now();
        self.credentials.write(|all| all.apply_keys(change, now));
        self.judge_sessions(&Touched::Everybody, now);
    }

    /// Ends the sessions whose credentials have ended, at this position. What was committed before is delivered first.
    pub(super) async fn end_expired_sessions(&mut self, now: DateTime, position: Position) {
        if self
            .registry
            .next_credential_end()
            .is_none_or(|end| end > now)
        {
            return;
        }
        self.delivery.flush(&mut self.registry).await;
        let ended = self.registry.end_expired(now, position);
        tracing::info!(ended, "sessions ended: their credentials have expired");
    }

    /// Ends the channels of callers who may not receive what the subscription receives: it has another tenant now, another
    /// owner, or another binding.
    pub(super) fn end_out_of_sight(&mut self, slot: Slot) {
        let Some(entry) = self.subscriptions.get(slot) else {
            return;
        };
        let id = entry.subscription.id().unwrap_or_default();
        let policies = self.credentials.policies();
        let is_blind = |channel: &&ChannelEntry| {
            let session = self.registry.session(channel.key.session);
            let document = &entry.subscription.document;
            session.is_some_and(|session| {
                let caller = &session.new.caller;
                let sees = entry.adhoc || caller.sight().sees(&id, document);
                !sees || policies.shut_out(caller, document)
            })
        };
        let channels = self.registry.of(slot).iter();
        let blind: Vec<ChannelKey> = channels.filter(is_blind).map(|one| one.key).collect();
        for key in blind {
            self.registry
                .end_channel(key, Ending::Forbidden, self.position);
        }
    }

    fn judge_sessions(&mut self, touched: &Touched, now: DateTime) {
        self.judge_sessions_by(touched, now, |all, caller| all.judge_session(caller, now));
    }

    fn judge_sessions_by(
        &mut self,
        touched: &Touched,
        now: DateTime,
        judge: impl Fn(&Credentials, &Caller) -> Result<Option<DateTime>, Refusal>,
    ) {
        let sessions = match touched {
            Touched::Nobody | Touched::Policy(_) => return,
            Touched::Key(id) => self.registry.sessions_of_key(id),
            Touched::Named(revocation) => self.sessions_named_by(revocation, now),
            Touched::Everybody => self.registry.sessions_with_credentials(),
        };
        let mut ended = 0;
        for key in sessions {
            let Some(session) = self.registry.session(key) else {
                continue;
            };
            let caller = &session.new.caller;
            let ending = match self.credentials.read(|all| judge(all, caller)) {
                Ok(end) => {
                    self.registry.credential_ends(key, end);
                    continue;
                }
                Err(Refusal::Expired) => Ending::CredentialExpired,
                Err(
                    Refusal::Unknown | Refusal::Revoked | Refusal::Changed | Refusal::Undecided,
                ) => Ending::Forbidden,
            };
            ended += u64::from(self.registry.end_session(key, ending, self.position));
        }
        if ended > 0 {
            tracing::info!(
                ended,
                "sessions ended: their credentials do not stand any more"
            );
        }
    }

    /// Returns the sessions whose credentials a revocation names. All are looked at, and few judged: there may be very many,
    /// and everything else waits meanwhile.
    fn sessions_named_by(&self, revocation: &Revocation, now: DateTime) -> Vec<SessionKey> {
        let sessions = self.registry.sessions_with_credentials();
        self.credentials.read(|all| {
            let is_named = |key: &SessionKey| {
                let session = self.registry.session(*key);
                session.is_some_and(|session| all.names(revocation, &session.new.caller, now))
            };
            sessions.into_iter().filter(is_named).collect()
        })
    }
}
