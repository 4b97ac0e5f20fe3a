//! Keys straight on the database.

use bson::{DateTime, RawDocument};
use serde_json::{Map, Value, json};

use super::{Create, Delete, List, Made, Row, print_row};
use crate::{
    access::{
        Caller, ClaimValue, Claims, Excess, KeyText, NewKey, Quota, SaidQuotas, Scope, StoredKey,
        shown_fingerprint, shown_prefix,
    },
    cli::{failure::Failure, style},
    store::{Actor, KeyQuery, StoreError},
};

/// The most keys that are read at once.
const PAGE: usize = 1_000;
/// Bytes of keys that are read at once.
const PAGE_BYTES: usize = 8 << 20;

/// Makes a key.
pub(super) async fn create(args: Create) -> Result<Made, Failure> {
    let now = DateTime::now();
    let certificate = args.fingerprint(now)?;
    let mut claims = Claims::default();
    for (name, value) in &args.claims {
        claims.insert(name, ClaimValue::String(value.as_str().into()));
    }
    let mut quotas = SaidQuotas::default();
    for (quota, number) in &args.limits {
        quotas.set(*quota, *number);
    }
    let key = NewKey {
        scopes: args.scopes.iter().copied().collect(),
        claims: Some(claims),
        expires_at: args.end(now),
        name: args.name,
        tenant: args.tenant,
        policy: args.policy,
        networks: (!args.networks.is_empty()).then_some(args.networks),
        origins: None,
        subscriptions: (!args.subscriptions.is_empty()).then_some(args.subscriptions),
        quotas,
        certificate,
    };
    let key = key.within(&Caller::anybody()).map_err(|excess| {
        let Excess { field, reason } = excess;
        Failure::Failed(format!("{field}: {reason}"))
    })?;
    let store = args.place.database().await?;
    // The collection has to be there, with its images, before a key is in it.
    let migrated = store.migrate().await;
    migrated.map_err(|error| Failure::store(&error))?;
    let text = KeyText::mint();
    let document = key.to_document(&text, "cli", now);
    let stored = store.insert_key(&document, &Actor::operator()).await;
    stored.map_err(|error| match error {
        // No two ids are the same.
        StoreError::Duplicate => Failure::Failed("another key is for this certificate".to_owned()),
        error => Failure::store(&error),
    })?;
    Ok(Made {
        id: text.id(),
        text: certificate.is_none().then(|| text.reveal().to_owned()),
        certificate: certificate.as_ref().map(shown_fingerprint),
    })
}

/// Prints the keys.
pub(super) async fn list(args: List) -> Result<(), Failure> {
    let store = args.place.database().await?;
    let mut query = KeyQuery {
        tenant: args.tenant,
        after: None,
        limit: PAGE,
        bytes: PAGE_BYTES,
    };
    loop {
        let keys = store.list_keys(&query).await;
        let keys = keys.map_err(|error| Failure::store(&error))?;
        let ids = keys
            .documents
            .iter()
            .map(|key| key.get_str("_id").unwrap_or_default());
        let times = store.last_uses(ids).await;
        let times = times.map_err(|error| Failure::store(&error))?;
        for key in &keys.documents {
            let last = times.get(key.get_str("_id").unwrap_or_default());
            print_key(key, last.copied(), args.json)?;
        }
        match keys.documents.last() {
            Some(last) if !keys.exhausted => {
                query.after = Some(last.get_str("_id").unwrap_or_default().to_owned());
            }
            _ => return Ok(()),
        }
    }
}

/// Returns the limits that a key says, by quota.
fn said(limits: &SaidQuotas) -> Map<String, Value> {
    let said = Quota::ALL.into_iter().filter_map(|quota| {
        let number = limits.get(quota)?;
        Some((quota.name().to_owned(), number.into()))
    });
    said.collect()
}

fn print_key(key: &RawDocument, last_used_at: Option<DateTime>, json: bool) -> Result<(), Failure> {
    let id = key.get_str("_id").unwrap_or_default();
    let name = key.get_str("name").unwrap_or_default();
    let (state, stored) = match StoredKey::read(key) {
        Ok(stored) => ("sound", Some(stored)),
        Err(_) => ("broken", None),
    };
    let certificate = stored.as_ref().and_then(StoredKey::certificate);
    let caller = stored.as_ref().map(StoredKey::caller);
    let scopes: Vec<_> = caller.iter().flat_map(|c| c.scopes.iter()).collect();
    let scopes: Vec<_> = scopes.into_iter().map(Scope::as_str).collect();
    let tenant = caller.as_ref().and_then(|caller| caller.tenant.as_deref());
    let shown = |time: Option<DateTime>| time.and_then(|time| time.try_to_rfc3339_string().ok());
    let end = shown(caller.as_ref().and_then(|caller| caller.expires_at));
    let last_used_at = shown(last_used_at);
    if json {
        let prefix = certificate.is_none().then(|| shown_prefix(id));
        let limits = caller.as_ref().map(|caller| said(&caller.quotas));
        return style::print_json(json!({
            "id": id, "prefix": prefix, "certificate": certificate.map(shown_fingerprint), "name": name,
            "state": state, "scopes": scopes, "tenant": tenant, "limits": limits, "expiresAt": end, "lastUsedAt": last_used_at,
        }));
    }
    let row = Row {
        tenant: tenant.unwrap_or_default(),
        scopes: scopes.join(" "),
        end: end.as_deref().unwrap_or_default(),
        last_used_at: last_used_at.as_deref().unwrap_or_default(),
        name,
    };
    print_row(id, &row)
}

/// Revokes a key.
pub(super) async fn delete(args: &Delete) -> Result<(), Failure> {
    let store = args.place.database().await?;
    let deleted = store.delete_key(&args.id, None, &Actor::operator()).await;
    match deleted.map_err(|error| Failure::store(&error))? {
        Some(_) => Ok(()),
        None => Err(Failure::Failed(format!("there is no key {:?}", args.id))),
    }
}
