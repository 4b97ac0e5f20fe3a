//! `tidegate doctor`: checks a database for this service, and says what to fix.

mod access;
mod finding;
mod findings;
mod issuers;
mod oplog;

use serde_json::json;

use self::{
    access::{of_access, of_address, of_writers},
    finding::{Finding, Verdict},
    findings::{of_checkup, of_survey},
    issuers::of_issuers,
};
use super::{
    failure::Failure,
    settings::Settings,
    style::{self, BAD, DIM, GOOD, STRONG, WARN, paint},
};
use crate::{
    config::Config,
    store::{self, StartupError, Store, StoreError, Survey},
};

/// The database to check.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print one line of JSON per finding
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  tidegate doctor
  tidegate doctor --mongodb-uri 'mongodb://tidegate:…@db1/?replicaSet=rs0' --json

Checks the database that `serve` would use with the same settings: server, rights, the reach of the
oplog, clocks, the change stream, other users who can write keys, migrations, whether every
collection is as it must be or belongs to another program, policies and keys that deserve a look,
whether the address is open, and whether the keys of issuers can be read. Changes nothing; the right
to read is enough.

Exit codes: 0 nothing must be fixed (there may be warnings); 1 something must; 64 bad
configuration; 69 the database cannot be reached or used at all.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let config = args.settings.load(&[])?;
    let checkup = store::check_up(&config)
        .await
        .map_err(|error| unusable(&error))?;
    let mut findings = of_checkup(&checkup, &config);
    findings.extend(of_writers(&checkup.writers));
    findings.push(of_address(&config));
    findings.extend(survey(&config).await);
    findings.extend(of_issuers(&config).await);
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
    let store = match Store::connect(config).await {
        Ok(store) => store,
        Err(error) => return of_survey(Err(error), config),
    };
    let survey = store.survey().await;
    let refusal = |survey: &Survey| survey.refusal(&config.database);
    let ours = survey
        .as_ref()
        .is_ok_and(|survey| refusal(survey).is_none());
    let mut findings = of_survey(survey, config);
    if ours {
        findings.extend(of_access(store.survey_access().await));
    }
    findings
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
            "{bad} finding{s} must be fixed before the service can be relied on"
        )));
    }
    style::note(match count(Verdict::Warning) {
        0 => "nothing to fix".to_owned(),
        1 => "nothing that must be fixed, 1 warning".to_owned(),
        warnings => format!("nothing that must be fixed, {warnings} warnings"),
    });
    Ok(())
}

/// Makes the failure of a database that could not be checked at all.
fn unusable(error: &StoreError) -> Failure {
    match error {
        StoreError::Startup(startup) => match startup.as_ref() {
            StartupError::BadUri { reason } => Failure::setting("mongodb_uri", reason),
            startup => Failure::unusable_database(startup.to_string()),
        },
        error => Failure::unusable_database(error.to_string()),
    }
}
