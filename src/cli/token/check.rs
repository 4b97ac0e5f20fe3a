//! `tidegate token check`: which check refuses a token.

use std::{
    io::{IsTerminal as _, Read as _, stdin},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{
    access::{Caller, Proven, Scope},
    cli::{
        failure::Failure,
        server::read_token,
        settings::Settings,
        style::{self, BAD, GOOD, paint},
    },
    identity::{self, Unproved},
};

/// The checks in their order. `docs/security.md` says more of each.
const CHECKS: [(char, &str); 8] = [
    ('a', "text"),
    ('b', "header"),
    ('c', "issuer"),
    ('d', "type, algorithm, key"),
    ('e', "signature"),
    ('f', "times, audience, names"),
    ('g', "no name twice"),
    ('h', "scopes, tenant"),
];
/// More than any token has.
const MOST_BYTES: u64 = 64 << 10;

/// A check of a token.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A file with the token; else `TIDEGATE_TOKEN`, else standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  tidegate token check --config tidegate.toml --token-file token.txt
  tidegate token check --config tidegate.toml < token.txt

The token is never an argument: others on the machine can read those. No service and no database is
asked, so revocations are not known; the keys are read where the configuration says.
Exit code 0 if the token stands, 1 if a check refuses it.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let config = args.settings.load(&[])?;
    let text = token(&args)?;
    match identity::verify_once(&config.issuers, &text).await {
        Ok(proven) => show(args.json, &proven),
        Err(Unproved::Refused(fault)) => refuse(args.json, fault.check(), &fault.to_string()),
        Err(Unproved::Keys { issuer, reason }) => {
            let reason = format!("the keys of the issuer {issuer:?} cannot be read: {reason}");
            Err(Failure::Failed(reason))
        }
        Err(Unproved::Config(error)) => Err(error.into()),
    }
}

fn token(args: &Args) -> Result<String, Failure> {
    if let Some(text) = read_token(args.token_file.as_deref(), MOST_BYTES)? {
        return Ok(text);
    }
    if stdin().is_terminal() {
        style::note("paste the token, then end the input (Ctrl-D)");
    }
    let mut text = String::new();
    stdin().take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn show(as_json: bool, proven: &Proven) -> Result<(), Failure> {
    let caller = match proven {
        Proven::Caller(caller) => caller,
        Proven::Tenantless { claim, .. } => {
            let reason = format!(
                "the claim {claim:?} does not name the tenant: it is good for /whoami alone"
            );
            return refuse(as_json, 'h', &reason);
        }
    };
    let described = describe(caller);
    if as_json {
        return style::print_json(json!({"stands": true, "caller": described}));
    }
    passed('i')?;
    for (name, value) in described.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => style::printable(text),
            Value::Array(all) => {
                let texts: Vec<_> = all.iter().filter_map(Value::as_str).collect();
                texts.join(" ")
            }
            _ => "(none)".to_owned(),
        };
        style::print(format!("{name}: {value}"))?;
    }
    style::note("revocations (i) are not asked: they are in the database");
    Ok(())
}

/// Describes what a token gives.
fn describe(caller: &Caller) -> Value {
    let scopes: Vec<_> = caller.scopes.iter().map(Scope::as_str).collect();
    let end = caller
        .expires_at
        .and_then(|end| end.try_to_rfc3339_string().ok());
    json!({
        "owner": caller.owner, "tenant": caller.tenant, "scopes": scopes,
        "policy": caller.policy, "expiresAt": end,
    })
}

/// Prints the checks before this one, which the token has passed.
fn passed(before: char) -> Result<(), Failure> {
    for (letter, name) in CHECKS.iter().filter(|(letter, _)| *letter < before) {
        style::print(format!("{letter} {} {name}", paint(GOOD, "ok")))?;
    }
    Ok(())
}

fn refuse(as_json: bool, letter: char, reason: &str) -> Result<(), Failure> {
    let name = CHECKS.iter().find(|(known, _)| *known == letter);
    let name = name.map_or("", |(_, name)| name);
    if as_json {
        style::print_json(json!({"stands": false, "check": letter, "reason": reason}))?;
    } else {
        passed(letter)?;
        let refused = paint(BAD, "refused");
        style::print(format!(
            "{letter} {refused} {name}: {}",
            style::printable(reason)
        ))?;
    }
    Err(Failure::AlreadyPrinted { code: 1 })
}
