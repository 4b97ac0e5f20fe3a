//! `tidegate token revoke`: takes tokens away, straight on the database.

use bson::DateTime;
use serde_json::json;

use crate::{
    access::{IssuerRules, NewRevocation, is_tenant},
    cli::{
        failure::Failure,
        settings::Settings,
        style::{self, GOOD, paint},
        time_argument::{ago, ahead},
    },
    config::Config,
    extjson::read_time,
    store::{Actor, Store},
};

/// A revocation.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("named").args(["jti", "sub", "kid"])))]
pub(crate) struct Args {
    /// Revoke the token of this id (its claim `jti`)
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// Revoke all tokens of this subject (their claim `sub`)
    #[arg(long, value_name = "SUBJECT")]
    sub: Option<String>,
    /// Revoke all tokens that the key of this id has signed
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// Revoke credentials of this tenant only; alone, all of them, its keys too
    #[arg(long, required_unless_present = "named")]
    tenant: Option<String>,
    /// Revoke tokens of the issuer that the settings name so only
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Revoke only what was issued before: a time, or a span such as 10m (ago)
    #[arg(long, value_name = "TIME", value_parser = time_ago)]
    issued_before: Option<DateTime>,
    /// End the revocation: a time, or a span such as 30d (from now); else it holds until it is deleted
    #[arg(long, value_name = "TIME", value_parser = time_ahead)]
    expires_at: Option<DateTime>,
    /// A reason for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  tidegate token revoke --sub 42 --issuer main --reason 'has left'
  tidegate token revoke --jti 8f0c --expires-at 2d
  tidegate token revoke --tenant acme

It prints the id of the revocation. Sockets of what it names close on every node. To take it back,
delete its document, or DELETE /revocations/ID.";

fn time_ago(text: &str) -> Result<DateTime, &'static str> {
    read_time(&ago(text)).ok_or("must be an RFC 3339 time, or a span such as 10m")
}

fn time_ahead(text: &str) -> Result<DateTime, &'static str> {
    read_time(&ahead(text)).ok_or("must be an RFC 3339 time, or a span such as 30d")
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let config = args.settings.load(&[])?;
    let revocation = NewRevocation {
        issuer: args.issuer,
        jti: args.jti,
        sub: args.sub,
        kid: args.kid,
        tenant: args.tenant,
        issued_before: args.issued_before,
        expires_at: args.expires_at,
        reason: args.reason,
    };
    let now = DateTime::now();
    check(&revocation, &config, now).map_err(Failure::Failed)?;
    let store = Store::connect(&config).await;
    let store = store.map_err(|error| Failure::store(&error))?;
    // The collection has to be there, with its images, before a revocation is in it.
    let migrated = store.migrate().await;
    migrated.map_err(|error| Failure::store(&error))?;
    let document = revocation.to_document("cli", now);
    let stored = store.insert_revocation(&document, &Actor::operator()).await;
    stored.map_err(|error| Failure::store(&error))?;
    let id = document.get_str("_id").unwrap_or_default();
    if args.json {
        return style::print_json(json!({"id": id}));
    }
    style::note(format!("{} what it names", paint(GOOD, "revoked")));
    style::print(id)
}

/// Refuses what would revoke nobody, or only for a time that tokens outlive.
fn check(revocation: &NewRevocation, config: &Config, now: DateTime) -> Result<(), String> {
    revocation.check().map_err(str::to_owned)?;
    if revocation
        .tenant
        .as_deref()
        .is_some_and(|tenant| !is_tenant(tenant))
    {
        return Err("--tenant must not be empty or contain a colon".to_owned());
    }
    let issuer = revocation.issuer.as_deref();
    match issuer {
        Some(name) if config.issuers.is_empty() => {
            style::warn(format!(
                "the settings have no issuers, so nothing tells whether {name:?} is one"
            ));
        }
        Some(name) if !config.issuers.contains_key(name) => {
            let known: Vec<_> = config.issuers.keys().map(String::as_str).collect();
            let known = known.join(", ");
            return Err(format!(
                "the settings have no issuer {name:?}; they have {known}"
            ));
        }
        _ => {}
    }
    let concerned = config
        .issuers
        .iter()
        .filter(|(name, _)| issuer.is_none_or(|only| only == *name));
    let lives = concerned.map(|(name, settings)| IssuerRules::new(name, settings).longest_life());
    let end = now
        .timestamp_millis()
        .saturating_add(lives.max().unwrap_or(0));
    if revocation
        .expires_at
        .is_some_and(|asked| asked.timestamp_millis() < end)
    {
        let end = DateTime::from_millis(end).try_to_rfc3339_string();
        let end = end.unwrap_or_default();
        return Err(format!(
            "--expires-at must not be before {end}: tokens of today could stand until then (max_lifetime)"
        ));
    }
    Ok(())
}
