//! The credentials of a node: keys, a policy of tenants, and tickets.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tidegate::client::Client;

use super::node::BINARY;
use crate::rig::load::CONNECTING;

/// The settings of a node that asks for credentials. All load comes from one address and a few tenants, so the quotas are
/// high. They are still counted.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("TIDEGATE_AUTH", "required"),
    ("TIDEGATE_QUOTAS__SUBSCRIPTIONS", "1000000"),
    ("TIDEGATE_QUOTAS__CONNECTIONS", "1000000"),
    ("TIDEGATE_QUOTAS__CONNECTS_PER_SECOND", "1000000"),
    ("TIDEGATE_QUOTAS__REQUESTS_PER_SECOND", "1000000"),
    ("TIDEGATE_TICKETS__LIFETIME", "10m"),
];
/// The rights of a tenant's key.
pub(crate) const SCOPES: [&str; 3] = ["subscriptions:read", "subscriptions:write", "events:read"];

/// Makes an administrator's key as an operator does: on the database.
pub(crate) fn admin_key(uri: &str, database: &str) -> Result<SecretString> {
    let made = Command::new(BINARY)
        .args(["key", "create", "--scope", "admin", "--json"])
        .args(["--mongodb-uri", uri, "--database", database])
        .output()?;
    ensure!(made.status.success(), "no key was made for {database}");
    let made: Value = serde_json::from_slice(&made.stdout)?;
    secret(&made, "key")
}

/// Stores the policy by which each tenant receives its own events.
pub(crate) async fn store_policy(admin: &Client) -> Result<()> {
    let policy = json!({"read": {"tenant": "$claims.tenant"}});
    let request = admin.request(Method::PUT, &["policies", "default"]);
    admin.call(request.json(&policy)).await?;
    Ok(())
}

/// Makes a key for each of these tenants, in order.
pub(crate) async fn make_keys(admin: &Client, tenants: &[String]) -> Result<Vec<SecretString>> {
    stream::iter(tenants)
        .map(async |tenant| {
            let asked = json!({"name": "bench", "tenant": tenant, "scopes": SCOPES});
            let request = admin.request(Method::POST, &["keys"]).json(&asked);
            secret(&admin.call(request).await?.body, "key")
        })
        .buffered(CONNECTING)
        .try_collect()
        .await
}

/// Makes so many tickets for a subscription. Returns them, and the time that it took.
pub(crate) async fn make_tickets(
    client: &Client,
    subscription: &str,
    count: usize,
) -> Result<(Vec<SecretString>, Duration)> {
    let begun = std::time::Instant::now();
    let tickets = stream::iter(0..count)
        .map(async |_| {
            let asked = json!({ "subscription": subscription });
            let request = client.request(Method::POST, &["tickets"]).json(&asked);
            secret(&client.call(request).await?.body, "ticket")
        })
        .buffered(CONNECTING)
        .try_collect()
        .await?;
    Ok((tickets, begun.elapsed()))
}

/// Returns a client that presents another key than the one that is given.
pub(crate) fn client_with(client: &Client, key: &SecretString) -> Client {
    client.clone().with_token(Some(key.clone()))
}

/// Returns the query with a ticket.
pub(crate) fn query_of(ticket: &SecretString) -> String {
    format!("?ticket={}", ticket.expose_secret())
}

fn secret(answer: &Value, field: &str) -> Result<SecretString> {
    let text = answer[field].as_str().context("a credential")?;
    Ok(SecretString::from(text))
}
