//! The policy and the keys that `tidegate dev --auth required` makes, to play with.

use std::time::Duration;

use bson::{DateTime, rawdoc};

use crate::{
    access::{KeyText, NewKey, Scope, Scopes},
    cli::failure::Failure,
    config::Config,
    store::{Actor, Store, StoreError},
};

/// The name of the policy of whoever has a tenant and names none.
const POLICY: &str = "default";
const TENANT: &str = "acme";
/// The scopes of the tenant's key.
const TENANT_SCOPES: [Scope; 3] = [
    Scope::SubscriptionsOwn,
    Scope::EventsRead,
    Scope::EventsPublish,
];
/// The life of the keys. Each start makes new ones, because nobody can show the old ones again.
const LIFE: Duration = Duration::from_hours(30 * 24);

/// Keys that were just made.
pub(super) struct PlayKeys {
    pub(super) admin: KeyText,
    pub(super) tenant: KeyText,
}

/// Makes the keys, and the policy if there is none.
pub(super) async fn prepare(config: &Config) -> Result<PlayKeys, Failure> {
    let prepared = async {
        let store = Store::connect(config).await?;
        store.migrate().await?;
        if store.find_policy(POLICY).await?.document.is_none() {
            let own = rawdoc! {"tenant": "$claims.tenant"};
            let policy = rawdoc! {"_id": POLICY, "read": own.clone(), "stamp": own};
            match store.insert_policy(policy, &Actor::operator()).await {
                Ok(_) | Err(StoreError::Duplicate) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(PlayKeys {
            admin: make(&store, None, &[Scope::Admin]).await?,
            tenant: make(&store, Some(TENANT), &TENANT_SCOPES).await?,
        })
    };
    prepared.await.map_err(|error| Failure::store(&error))
}

async fn make(
    store: &Store,
    tenant: Option<&str>,
    scopes: &[Scope],
) -> Result<KeyText, StoreError> {
    let now = DateTime::now();
    let life = i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX);
    let end = now.timestamp_millis().saturating_add(life);
    let key = NewKey {
        name: Some("dev".to_owned()),
        scopes: scopes.iter().copied().collect::<Scopes>(),
        tenant: tenant.map(str::to_owned),
        expires_at: Some(DateTime::from_millis(end)),
        ..NewKey::default()
    };
    let text = KeyText::mint();
    store
        .insert_key(&key.to_document(&text, "cli", now), &Actor::operator())
        .await?;
    Ok(text)
}
