//! `tidegate doctor`: says what a database lacks for this service, and what to do about it.

mod findings;
mod oplog;

use serde_json::json;

use self::findings::{Finding, Verdict, of_checkup, of_survey};
use super::{
    failure::Failure,
    settings::Settings,
    style::{self, BAD, DIM, GOOD, STRONG, WARN, paint},
};
use crate::{
    config::Config,
    store::{self, StartupError, Store, StoreError},
};

const DATABASE_NOT_USABLE: u8 = 69;

/// Where to look.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print JSON, one line a finding
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  tidegate doctor
  tidegate doctor --mongodb-uri 'mongodb://tidegate:…@db1/?replicaSet=rs0' --json

Looks at the database that `serve` would use with the same settings: server, rights, how long the
oplog reaches back, clocks, the change stream, migrations, and whether every collection is as it has
to be, or somebody else's. Changes nothing; the right to read is enough.

Exit codes: 0 nothing that must be mended (there may be warnings); 1 something must be; 64 bad
configuration; 69 the database cannot be reached or used at all.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let config = args.settings.load(&[])?;
    let checkup = store::check_up(&config)
        .await
        .map_err(|error| unusable(&error))?;
    let mut findings = of_checkup(&checkup, &config);
    findings.extend(survey(&config).await);
    for finding in &findings {
        if args.json {
            style::print_json(to_json(finding))?;
        } else {
            print(finding)?;
        }
    }
    conclude(&findings)
}

async fn survey(config: &Config) -> Vec<Finding> {
    let asked = async { Store::connect(config).await?.survey().await };
    of_survey(asked.await, config)
}

fn print(finding: &Finding) -> Result<(), Failure> {
    let mark = match finding.verdict {
        Verdict::Good => paint(GOOD, "✓"),
        Verdict::Unknown => paint(DIM, "?"),
        Verdict::Warning => paint(WARN, "!"),
        Verdict::Bad => paint(BAD, "✗"),
    };
    let name = paint(STRONG, format!("{:13}", finding.name));
    style::print(format!("{mark} {name} {}", finding.found))?;
    for line in finding.advice.iter().flat_map(|advice| advice.lines()) {
        style::print(format!("    {line}"))?;
    }
    Ok(())
}

fn to_json(finding: &Finding) -> serde_json::Value {
    json!({
        "check": finding.name,
        "verdict": finding.verdict.name(),
        "found": finding.found,
        "advice": finding.advice,
    })
}

fn conclude(findings: &[Finding]) -> Result<(), Failure> {
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    let bad = count(Verdict::Bad);
    if bad > 0 {
        let s = if bad == 1 { "" } else { "s" };
        return Err(Failure::Failed(format!(
            "{bad} finding{s} must be mended before the service can be relied on"
        )));
    }
    style::note(match count(Verdict::Warning) {
        0 => "nothing to mend".to_owned(),
        1 => "nothing that must be mended, 1 warning".to_owned(),
        warnings => format!("nothing that must be mended, {warnings} warnings"),
    });
    Ok(())
}

/// The database cannot be used at all, or the connection string cannot.
fn unusable(error: &StoreError) -> Failure {
    match error {
        StoreError::Startup(startup) => match startup.as_ref() {
            StartupError::BadUri { reason } => Failure::setting("mongodb_uri", reason),
            startup => not_usable(startup.to_string()),
        },
        error => not_usable(error.to_string()),
    }
}

fn not_usable(text: String) -> Failure {
    Failure::Service {
        text,
        code: DATABASE_NOT_USABLE,
    }
}
