//! `tidegate key`: makes, lists and revokes API keys, straight on the database or through a running service.
//!
//! The first key of an administrator is made on the database: whoever can write there is an operator anyway.

mod database;
mod place;
mod service;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bson::DateTime;

use self::place::Place;
use super::{
    failure::Failure,
    server::path_id,
    style::{self, GOOD, paint},
};
use crate::access::{ClientCertificate, Fingerprint, MOST_CLAIMS, Quota, Scope, is_tenant};

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
    place: Place,
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
    place: Place,
}

#[derive(clap::Args, Debug)]
struct Delete {
    /// The key's id: key_…
    #[arg(value_parser = path_id)]
    id: String,
    #[command(flatten)]
    place: Place,
}

const LIMIT: &str = "A limit of the key's own, such as publish_per_second=50 (repeatable): subscriptions, connections, \
handles, publish_per_second, connects_per_second, requests_per_second";

const EXAMPLES: &str = "\
Examples:
  tidegate key create --scope admin --name ops --expires-in 90d
  tidegate key create --scope events:read --scope subscriptions:own --name billing
  tidegate key create --scope events:publish --tenant acme --limit publish_per_second=50
  tidegate key create --scope events:publish --name shop --certificate shop.pem
  tidegate key create --scope events:read --name partner --server https://feed.example.com
  tidegate key list

The key itself is printed to standard output, and everything else to standard error. It is not stored:
only its hash is. Without --server the key is made straight on the database.";

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

/// A key that was made: its id, and its text or the certificate that it is for.
struct Made {
    id: String,
    text: Option<String>,
    certificate: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::Create(args) => create(*args).await,
        Action::List(args) => match args.place.service()? {
            Some(client) => service::list(&client, &args).await,
            None => database::list(args).await,
        },
        Action::Delete(args) => {
            match args.place.service()? {
                Some(client) => service::delete(&client, &args.id).await?,
                None => database::delete(&args).await?,
            }
            style::note(format!("{} {}", paint(GOOD, "revoked"), args.id));
            Ok(())
        }
    }
}

async fn create(args: Create) -> Result<(), Failure> {
    let tenant = args.tenant.as_deref();
    if tenant.is_some_and(|tenant| !is_tenant(tenant)) {
        let reason = "--tenant must not be empty or contain a colon";
        return Err(Failure::Failed(reason.to_owned()));
    }
    if args.claims.len() > MOST_CLAIMS {
        let reason = format!("--claim may be given {MOST_CLAIMS} times at most");
        return Err(Failure::Failed(reason));
    }
    let json = args.json;
    let made = match args.place.service()? {
        Some(client) => service::create(&client, &args).await?,
        None => database::create(args).await?,
    };
    if json {
        return style::print_json(serde_json::json!({
            "id": made.id, "key": made.text, "certificate": made.certificate,
        }));
    }
    style::note(format!(
        "{} {}",
        paint(GOOD, "made"),
        style::printable(&made.id)
    ));
    made.text
        .map_or(Ok(()), |text| style::print(style::printable(&text)))
}

impl Create {
    /// Returns the time at which the key ends, if it does.
    fn end(&self, now: DateTime) -> Option<DateTime> {
        let millis = i64::try_from(self.expires_in?.as_millis()).unwrap_or(i64::MAX);
        let end = now.timestamp_millis().saturating_add(millis);
        Some(DateTime::from_millis(end))
    }

    /// Returns the fingerprint of the certificate that the key is for, if it is for one.
    fn fingerprint(&self, now: DateTime) -> Result<Option<Fingerprint>, Failure> {
        let path = self.certificate.as_deref();
        path.map(|path| read_certificate(path, now)).transpose()
    }
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

/// Prints a key on a line. `tenant`, `end` and `last_used_at` are empty where there is none.
fn print_row(id: &str, row: &Row<'_>) -> Result<(), Failure> {
    let or = |text: &'_ str, other: &'static str| match text {
        "" => other.to_owned(),
        text => style::printable(text),
    };
    style::print(format!(
        "{}  {}  {}  expires {}  used {}  {}",
        style::printable(id),
        or(row.tenant, "(operator)"),
        style::printable(&row.scopes),
        or(row.end, "never"),
        or(row.last_used_at, "never"),
        style::printable(row.name),
    ))
}

/// The rest of a line about a key.
struct Row<'a> {
    tenant: &'a str,
    scopes: String,
    end: &'a str,
    last_used_at: &'a str,
    name: &'a str,
}
