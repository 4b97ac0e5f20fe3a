//! Keys of a running service, which decides whether its caller may do that.

use bson::DateTime;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Create, List, Made, Row, print_row};
use crate::{
    access::{Scope, shown_fingerprint},
    cli::{failure::Failure, server::call, style},
    client::Client,
};

/// Makes a key.
pub(super) async fn create(client: &Client, args: &Create) -> Result<Made, Failure> {
    let body = body(args, DateTime::now())?;
    let request = client.request(Method::POST, &["keys"]).json(&body);
    let made = call(client, request).await?.body;
    let text = |field: &str| made[field].as_str().map(str::to_owned);
    let (id, key, certificate) = (text("id"), text("key"), text("certificate"));
    match id {
        Some(id) if key.is_some() || certificate.is_some() => Ok(Made {
            id,
            text: key,
            certificate,
        }),
        _ => Err(Failure::Failed(
            "the service's answer shows no key".to_owned(),
        )),
    }
}

/// Returns the body of the request. A field that is not named is the service's to fill.
fn body(args: &Create, now: DateTime) -> Result<Value, Failure> {
    let scopes: Vec<_> = args.scopes.iter().copied().map(Scope::as_str).collect();
    let mut body = json!({"scopes": scopes});
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    let end = args.end(now).map(DateTime::try_to_rfc3339_string);
    let end = end.transpose().map_err(|_| {
        let reason = "--expires-in: no date is that late";
        Failure::Failed(reason.to_owned())
    })?;
    set("name", args.name.clone().map(Into::into));
    set("tenant", args.tenant.clone().map(Into::into));
    set("policy", args.policy.clone().map(Into::into));
    set("claims", members(&args.claims));
    let networks: Vec<_> = args.networks.iter().map(ToString::to_string).collect();
    set("networks", listed(&networks));
    set("subscriptions", listed(&args.subscriptions));
    let limits = args.limits.iter().map(|(quota, n)| (quota.name(), *n));
    set("limits", members(&limits.collect::<Vec<_>>()));
    set("expiresAt", end.map(Into::into));
    let fingerprint = args.fingerprint(now)?;
    let fingerprint = fingerprint.as_ref().map(shown_fingerprint);
    set("certificate", fingerprint.map(Into::into));
    Ok(body)
}

fn members<N: ToString, V: Clone + Into<Value>>(given: &[(N, V)]) -> Option<Value> {
    let members = given
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone().into()));
    let members: Map<String, Value> = members.collect();
    (!members.is_empty()).then(|| members.into())
}

fn listed(texts: &[String]) -> Option<Value> {
    (!texts.is_empty()).then(|| texts.to_vec().into())
}

/// Prints the keys that the caller may see.
pub(super) async fn list(client: &Client, args: &List) -> Result<(), Failure> {
    let mut cursor: Option<String> = None;
    loop {
        let request = client.request(Method::GET, &["keys"]);
        let asked = [
            ("tenant", args.tenant.as_deref()),
            ("cursor", cursor.as_deref()),
        ];
        let asked: Vec<_> = asked
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .collect();
        let page = call(client, request.query(&asked)).await?.body;
        for key in page["items"].as_array().into_iter().flatten() {
            print_key(key, args.json)?;
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

fn print_key(key: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return style::print_json(key);
    }
    let text = |field: &str| key[field].as_str().unwrap_or_default();
    let scopes = key["scopes"].as_array().into_iter().flatten();
    let scopes: Vec<_> = scopes.filter_map(Value::as_str).collect();
    let row = Row {
        tenant: text("tenant"),
        scopes: scopes.join(" "),
        end: text("expiresAt"),
        last_used_at: text("lastUsedAt"),
        name: text("name"),
    };
    print_row(text("id"), &row)
}

/// Revokes a key.
pub(super) async fn delete(client: &Client, id: &str) -> Result<(), Failure> {
    let request = client.request(Method::DELETE, &["keys", id]);
    call(client, request).await?;
    Ok(())
}
