//! The findings about a database, in words: their meaning and the remedy. Pure.

use std::collections::BTreeMap;

use super::{
    finding::{Finding, Verdict},
    oplog::{retention, window},
};
use crate::{
    config::Config,
    store::{
        Checkup, Clock, Difference, MigrationState, MigrationStatus, Rights, Server, StoreError,
        Survey,
    },
};

/// The most that two clocks may differ before figures and expiry mislead.
const CLOCK_TOLERANCE_MS: i64 = 1_000;
/// Judges the server.
pub(super) fn of_checkup(checkup: &Checkup, config: &Config) -> Vec<Finding> {
    vec![
        server(&checkup.server),
        rights(&checkup.rights, &config.database),
        stream(checkup),
        window(&checkup.oplog),
        retention(&checkup.oplog, config),
        clock(checkup.clock),
    ]
}

fn server(server: &Server) -> Finding {
    let Server {
        version, members, ..
    } = server;
    let name = &server.set_name;
    let found = format!("MongoDB {version}, replica set {name}, {members} members");
    match &server.compatibility {
        Some(old) if is_before_6(old) => Finding::with_advice(
            "server",
            Verdict::Bad,
            format!("{found}, which behaves as {old}"),
            "Change stream images need the behaviour of 6.0 or later. On the primary:\n  \
             db.adminCommand({setFeatureCompatibilityVersion: \"6.0\"})",
        ),
        _ if *members == 1 => Finding::with_advice(
            "server",
            Verdict::Warning,
            found.replace("1 members", "1 member"),
            "Fine for development. With one member nobody can take over, and a lost disk is lost data.",
        ),
        _ => Finding::good("server", found),
    }
}

fn is_before_6(version: &str) -> bool {
    let major = version.split('.').next().map(str::parse::<u32>);
    matches!(major, Some(Ok(major)) if major < 6)
}

fn rights(rights: &Rights, database: &str) -> Finding {
    let grant = |user: &str| {
        format!(
            "Grant these roles, as a user administrator:\n  db.getSiblingDB(\"admin\").grantRolesToUser(\"{user}\", \
             [{{role: \"readWrite\", db: \"{database}\"}}, {{role: \"dbAdmin\", db: \"{database}\"}}])\n\
             (the user may be in another database than admin: see authSource)"
        )
    };
    match rights {
        Rights::NotControlled => Finding::with_advice(
            "rights",
            Verdict::Warning,
            "the server has no access control: whoever reaches it may do everything",
            "Fine for development. Otherwise turn access control on (security.authorization, or a keyFile).",
        ),
        Rights::Nobody => Finding::with_advice(
            "rights",
            Verdict::Bad,
            "the server has access control, and the connection string names no user",
            "Name a user in the connection string: mongodb://USER:PASSWORD@…/?authSource=admin",
        ),
        Rights::Of { user, missing } if missing.is_empty() => Finding::good(
            "rights",
            format!("{user} has every right that the service needs on {database}"),
        ),
        Rights::Of { user, missing } => Finding::with_advice(
            "rights",
            Verdict::Bad,
            format!("{user} lacks {}", by_action(missing)),
            grant(user),
        ),
    }
}

/// Groups missing rights by action: `insert on d.events, d.positions; collMod on d.events`.
fn by_action(missing: &[(&'static str, String)]) -> String {
    let mut actions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (action, resource) in missing {
        actions.entry(action).or_default().push(resource);
    }
    let words = actions
        .iter()
        .map(|(action, resources)| format!("{action} on {}", resources.join(", ")));
    words.collect::<Vec<_>>().join("; ")
}

fn stream(checkup: &Checkup) -> Finding {
    match &checkup.stream {
        Ok(()) => Finding::good("change stream", "can be opened"),
        Err(words) => Finding::with_advice(
            "change stream",
            Verdict::Bad,
            format!("cannot be opened: {words}"),
            "The service cannot work without one. It needs find and changeStream on the whole database (readWrite has them).",
        ),
    }
}

fn clock(clock: Clock) -> Finding {
    let Clock {
        ahead_ms,
        uncertain_ms,
    } = clock;
    let apart = format!("{} ms apart (± {uncertain_ms})", ahead_ms.abs());
    if ahead_ms.abs() <= CLOCK_TOLERANCE_MS + uncertain_ms {
        return Finding::good("clocks", apart);
    }
    let which = if ahead_ms > 0 { "ahead" } else { "behind" };
    Finding::with_advice(
        "clocks",
        Verdict::Warning,
        format!("{apart}: the server's is {which}"),
        "Delivery uses the server's clock alone and is not affected. Metrics of delay, times in logs and \
         a client's ?since= are. Synchronize both machines by NTP.",
    )
}

/// Judges the migrations and the collections.
pub(super) fn of_survey(survey: Result<Survey, StoreError>, config: &Config) -> Vec<Finding> {
    match survey {
        Ok(survey) => vec![
            migrations(&survey.migrations, config),
            collections(&survey, config),
        ],
        Err(error) => {
            let advice = "See the other findings.";
            let found = format!("cannot be read: {error}");
            vec![Finding::with_advice(
                "migrations",
                Verdict::Bad,
                found,
                advice,
            )]
        }
    }
}

fn collections(survey: &Survey, config: &Config) -> Finding {
    const NAME: &str = "collections";
    if let Some(refusal) = survey.refusal(&config.database) {
        let advice = "`tidegate serve` will refuse to start here and change nothing.";
        return Finding::with_advice(NAME, Verdict::Bad, refusal, advice);
    }
    if survey.differences.is_empty() {
        return Finding::good(
            NAME,
            "none belongs to another program, and all of ours are as they must be",
        );
    }
    let found: Vec<_> = survey
        .differences
        .iter()
        .map(Difference::to_string)
        .collect();
    let mut advice: Vec<_> = survey
        .differences
        .iter()
        .filter_map(Difference::advice)
        .collect();
    if advice.is_empty() {
        advice.push("`tidegate serve` fixes it when it starts (not with --no-migrate); `tidegate migrate` does it now.".to_owned());
    }
    Finding::with_advice(NAME, Verdict::Bad, found.join("; "), advice.join("\n"))
}

fn migrations(all: &[MigrationStatus], config: &Config) -> Finding {
    const NAME: &str = "migrations";
    let names = |wanted: fn(&MigrationState) -> bool| -> Vec<&str> {
        let found = all.iter().filter(|one| wanted(&one.state));
        found.map(|one| one.name.as_str()).collect()
    };
    let edited = names(|state| matches!(state, MigrationState::Edited { .. }));
    let pending = names(|state| matches!(state, MigrationState::Pending));
    let unknown = names(|state| matches!(state, MigrationState::Unknown(_)));
    if !edited.is_empty() {
        let found = format!("edited since they were applied: {}", edited.join(", "));
        let advice = "Use a binary with the original files.";
        return Finding::with_advice(NAME, Verdict::Bad, found, advice);
    }
    if !pending.is_empty() {
        let found = format!("pending: {}", pending.join(", "));
        let (verdict, advice) = if config.migrate {
            let advice =
                "`tidegate serve` applies them when it starts; `tidegate migrate` does it now.";
            (Verdict::Warning, advice)
        } else {
            let advice =
                "`tidegate serve` will refuse to start (migrate = false): run `tidegate migrate`.";
            (Verdict::Bad, advice)
        };
        return Finding::with_advice(NAME, verdict, found, advice);
    }
    if !unknown.is_empty() {
        let found = format!("applied by a newer version: {}", unknown.join(", "));
        let advice = "Fine while nodes are upgraded one by one; otherwise use the newer version.";
        return Finding::with_advice(NAME, Verdict::Warning, found, advice);
    }
    Finding::good(NAME, format!("all {} applied", all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_reported_but_not_for_a_slow_answer() {
        for (ahead_ms, uncertain_ms, verdict) in [
            (0, 1, Verdict::Good),
            (-1_500, 600, Verdict::Good),
            (-1_500, 100, Verdict::Warning),
            (5_000, 1, Verdict::Warning),
        ] {
            let found = clock(Clock {
                ahead_ms,
                uncertain_ms,
            });
            assert_eq!(found.verdict, verdict, "{ahead_ms}");
        }
    }

    #[test]
    fn a_set_that_behaves_as_an_older_one_is_reported() {
        for (compatibility, verdict) in [
            (Some("5.0"), Verdict::Bad),
            (Some("6.0"), Verdict::Good),
            (Some("7.0"), Verdict::Good),
            (None, Verdict::Good),
        ] {
            let found = server(&Server {
                version: "6.0.5".to_owned(),
                compatibility: compatibility.map(str::to_owned),
                set_name: "s".to_owned(),
                members: 3,
            });
            assert_eq!(found.verdict, verdict, "{compatibility:?}");
        }
    }
}
