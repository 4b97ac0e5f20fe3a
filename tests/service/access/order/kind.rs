//! The ways in which a right goes.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use tokio::time::sleep;

use crate::{access::store_policy, support::Service};

/// A way in which a right goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    KeyDeleted,
    KeyWeakened,
    KeyExpired,
    TenantRevoked,
    TokenRevoked,
    SubjectRevoked,
    SigningKeyRevoked,
    PolicyNarrowed,
    PolicyDeleted,
    SubscriptionMoved,
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
        Self::KeyDeleted,
        Self::KeyWeakened,
        Self::KeyExpired,
        Self::TenantRevoked,
        Self::TokenRevoked,
        Self::SubjectRevoked,
        Self::SigningKeyRevoked,
        Self::PolicyNarrowed,
        Self::PolicyDeleted,
        Self::SubscriptionMoved,
    ];

    /// Whether the sockets hang on a token, not on a key.
    pub(super) const fn is_of_token(self) -> bool {
        matches!(
            self,
            Self::TokenRevoked | Self::SubjectRevoked | Self::SigningKeyRevoked
        )
    }

    /// Returns the code and the reason with which the sockets end.
    pub(super) const fn ending(self) -> (u16, &'static str) {
        match self {
            Self::PolicyNarrowed => (4500, "deleted"),
            Self::KeyExpired => (4510, "credential_expired"),
            _ => (4511, "forbidden"),
        }
    }
}

/// A right that is to go in a round.
pub(super) struct Right<'r> {
    pub(super) kind: Kind,
    /// The round.
    pub(super) n: usize,
    /// The key's id; of a token, nothing.
    pub(super) key: &'r str,
    /// The end of a key that expires.
    pub(super) end: DateTime,
    /// True if a revocation of tokens names their issuer.
    pub(super) narrowed: bool,
}

impl Right<'_> {
    /// Returns the path that shows what became of it, if something does.
    pub(super) fn path(&self) -> Option<String> {
        match self.kind {
            Kind::KeyDeleted | Kind::KeyExpired => Some(format!("/keys/{}", self.key)),
            Kind::TenantRevoked
            | Kind::TokenRevoked
            | Kind::SubjectRevoked
            | Kind::SigningKeyRevoked => Some(format!("/revocations/r{}", self.n)),
            _ => None,
        }
    }

    /// Takes it away. What is committed from then on is behind that.
    pub(super) async fn take_away(&self, service: &Service) {
        let n = self.n;
        let database = &service.database;
        let collection = |name| database.collection::<Document>(name);
        let of_key = doc! {"_id": self.key};
        match self.kind {
            Kind::KeyDeleted => {
                collection("keys").delete_one(of_key).await.unwrap();
            }
            Kind::KeyWeakened => {
                let weaker = doc! {"$set": {"scopes": ["metrics"]}};
                collection("keys").update_one(of_key, weaker).await.unwrap();
            }
            // By the server's clock.
            Kind::KeyExpired => {
                while server_time(service).await < self.end {
                    sleep(Duration::from_millis(20)).await;
                }
            }
            Kind::TenantRevoked => self.revoke(service, doc! {}).await,
            Kind::TokenRevoked => self.revoke(service, doc! {"jti": format!("j{n}")}).await,
            Kind::SubjectRevoked => self.revoke(service, doc! {"sub": format!("s{n}")}).await,
            // Other rounds have tokens of the same key.
            Kind::SigningKeyRevoked => self.revoke(service, doc! {"kid": "k"}).await,
            Kind::PolicyNarrowed => {
                let read = doc! {"tenant": "$claims.tenant", "level": "low"};
                store_policy(service, &format!("p{n}"), doc! {"read": read}).await;
            }
            Kind::PolicyDeleted => {
                let policy = doc! {"_id": format!("p{n}")};
                collection("policies").delete_one(policy).await.unwrap();
            }
            Kind::SubscriptionMoved => {
                let moved = doc! {"$set": {"tenant": "elsewhere"}};
                let one = doc! {"_id": format!("o{n}")};
                collection("subscriptions")
                    .update_one(one, moved)
                    .await
                    .unwrap();
            }
        }
    }

    async fn revoke(&self, service: &Service, mut named: Document) {
        named.insert("_id", format!("r{}", self.n));
        named.insert("tenant", format!("t{}", self.n));
        if self.narrowed && self.kind.is_of_token() {
            named.insert("issuer", "main");
        }
        let revocations = service.database.collection::<Document>("revocations");
        revocations.insert_one(named).await.unwrap();
    }
}

pub(super) async fn server_time(service: &Service) -> DateTime {
    let said = service.database.run_command(doc! {"hello": 1}).await;
    *said.unwrap().get_datetime("localTime").unwrap()
}
