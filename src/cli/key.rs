//! `tidegate key`: makes, lists and revokes API keys, straight on the database.
//!
//! The first key of an administrator is made here: whoever can write to the database is an operator anyway.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bson::{DateTime, RawDocument};
use serde_json::{Map, Value, json};

use super::{
    failure::Failure,
    settings::Settings,
    style::{self, GOOD, paint},
};
use crate::{
    access::{
        Caller, Claims, ClientCertificate, Excess, Fingerprint, KeyText, MOST_CLAIMS, NewKey,
        Quota, SaidQuotas, Scope, StoredKey, is_tenant, shown_fingerprint, shown_prefix,
    },
    store::{Actor, KeyQuery, Store, StoreError},
};

/// The most keys that are read at once.
const PAGE: usize = 1_000;
/// Bytes of keys that are read at once.
const PAGE_BYTES: usize = 8 << 20;

/// API keys of a database.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Make a key, and print it once
    Create(Box<Create>),
    /// List keys
    List(List),
    /// Revoke a key: its sockets end on every node
    Delete(Delete),
}

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
struct Create {
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// A scope of the key (repeatable): subscriptions:own, subscriptions:read, subscriptions:write, events:read,
    /// events:publish, keys:write, metrics, admin
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
    scopes: Vec<Scope>,
    /// The tenant that the key belongs to; none makes an operator's key
    #[arg(long)]
    tenant: Option<String>,
    /// The policy that narrows what the key sees
    #[arg(long)]
    policy: Option<String>,
    /// A claim for the policy, such as region=eu (repeatable)
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// A network that the key may be used from (repeatable)
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<ipnet::IpNet>,
    /// A subscription that the key is for (repeatable); none makes it for all
    #[arg(long = "subscription", value_name = "ID")]
    subscriptions: Vec<String>,
    #[arg(long = "limit", value_name = "QUOTA=NUMBER", value_parser = limit, help = LIMIT)]
    limits: Vec<(Quota, u32)>,
    /// The time until the key expires, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// A PEM file with the client certificate that the key is for; such a key has no text
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(clap::Args, Debug)]
struct List {
    /// Only keys of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Print one line of JSON per key
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(clap::Args, Debug)]
struct Delete {
    /// The key's id: key_…
    id: String,
    #[command(flatten)]
    settings: Settings,
}

const LIMIT: &str = "A limit of the key's own, such as publish_per_second=50 (repeatable): subscriptions, connections, \
publish_per_second, connects_per_second, requests_per_second";

const EXAMPLES: &str = "\
Examples:
  tidegate key create --scope admin --name ops --expires-in 90d
  tidegate key create --scope events:read --scope subscriptions:own --name billing
  tidegate key create --scope events:publish --tenant acme --limit publish_per_second=50
  tidegate key create --scope events:publish --name shop --certificate shop.pem
  tidegate key list

The key itself is printed to standard output, and everything else to standard error. It is not stored:
only its hash is.";

fn scope(name: &str) -> Result<Scope, String> {
    let known = Scope::ALL.map(Scope::as_str).join(", ");
    Scope::parse(name).ok_or_else(|| format!("the scopes are {known}"))
}

fn claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

fn limit(text: &str) -> Result<(Quota, u32), String> {
    let known = Quota::ALL.map(Quota::name).join(", ");
    let (name, number) = text.split_once('=').ok_or("must be QUOTA=NUMBER")?;
    let quota = Quota::named(name).ok_or_else(|| format!("the quotas are {known}"))?;
    let number = number.parse().ok().filter(|number| *number <= quota.most());
    let number =
        number.ok_or_else(|| format!("must be a whole number from 0 to {}", quota.most()))?;
    Ok((quota, number))
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::Create(args) => create(*args).await,
        Action::List(args) => list(args).await,
        Action::Delete(args) => delete(args).await,
    }
}

async fn connect(settings: &Settings) -> Result<Store, Failure> {
    let config = settings.load(&[])?;
    let store = Store::connect(&config).await;
    store.map_err(|error| Failure::store(&error))
}

/// Reads the certificate that a key shall be for. One that has ended would be of no use.
fn read_certificate(path: &Path, now: DateTime) -> Result<Fingerprint, Failure> {
    let failed = |reason: String| Failure::Failed(format!("{}: {reason}", path.display()));
    let text = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificate = ClientCertificate::of_pem(&text);
    let certificate = certificate.map_err(|fault| failed(format!("the file {fault}")))?;
    if certificate.not_after <= now {
        return Err(failed("the certificate has expired".to_owned()));
    }
    Ok(certificate.fingerprint)
}

async fn create(args: Create) -> Result<(), Failure> {
    if args
        .tenant
        .as_deref()
        .is_some_and(|tenant| !is_tenant(tenant))
    {
        let reason = "--tenant must not be empty or contain a colon";
        return Err(Failure::Failed(reason.to_owned()));
    }
    let now = DateTime::now();
    let end = args.expires_in.map(|life| {
        let millis = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        DateTime::from_millis(now.timestamp_millis().saturating_add(millis))
    });
    if args.claims.len() > MOST_CLAIMS {
        let reason = format!("--claim may be given {MOST_CLAIMS} times at most");
        return Err(Failure::Failed(reason));
    }
    let certificate = args.certificate.as_deref();
    let certificate = certificate
        .map(|path| read_certificate(path, now))
        .transpose()?;
    let mut claims = Claims::default();
    for (name, value) in &args.claims {
        claims.insert(
            name,
            crate::access::ClaimValue::String(value.as_str().into()),
        );
    }
    let mut quotas = SaidQuotas::default();
    for (quota, number) in args.limits {
        quotas.set(quota, number);
    }
    let key = NewKey {
        name: args.name,
        scopes: args.scopes.iter().copied().collect(),
        tenant: args.tenant,
        policy: args.policy,
        claims: Some(claims),
        networks: (!args.networks.is_empty()).then_some(args.networks),
        origins: None,
        subscriptions: (!args.subscriptions.is_empty()).then_some(args.subscriptions),
        quotas,
        expires_at: end,
        certificate,
    };
    let key = key.within(&Caller::anybody()).map_err(|excess| {
        let Excess { field, reason } = excess;
        Failure::Failed(format!("{field}: {reason}"))
    })?;
    let store = connect(&args.settings).await?;
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
    if args.json {
        let secret = certificate.is_none().then(|| text.reveal());
        let certificate = certificate.as_ref().map(shown_fingerprint);
        return style::print_json(
            json!({"id": text.id(), "key": secret, "certificate": certificate}),
        );
    }
    style::note(format!("{} {}", paint(GOOD, "made"), text.id()));
    match certificate {
        None => style::print(text.reveal()),
        Some(_) => Ok(()),
    }
}

async fn list(args: List) -> Result<(), Failure> {
    let store = connect(&args.settings).await?;
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
    let tenant = tenant.unwrap_or("(operator)");
    let (end, used) = (
        end.as_deref().unwrap_or("never"),
        last_used_at.as_deref().unwrap_or("never"),
    );
    let scopes = scopes.join(" ");
    style::print(format!(
        "{id}  {tenant}  {scopes}  expires {end}  used {used}  {name}"
    ))
}

async fn delete(args: Delete) -> Result<(), Failure> {
    let store = connect(&args.settings).await?;
    let deleted = store.delete_key(&args.id, None, &Actor::operator()).await;
    match deleted.map_err(|error| Failure::store(&error))? {
        Some(_) => {
            style::note(format!("{} {}", paint(GOOD, "revoked"), args.id));
            Ok(())
        }
        None => Err(Failure::Failed(format!("there is no key {:?}", args.id))),
    }
}
