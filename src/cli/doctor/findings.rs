//! What was learned of a database, in words: what it means, and what to do. Pure.

use std::collections::BTreeMap;

use super::oplog::{retention, window};
use crate::{
    config::Config,
    store::{
        Checkup, Clock, Difference, MigrationState, MigrationStatus, Rights, Server, StoreError,
        Survey,
    },
};

/// A clock that is further off than this makes figures and expiry misleading.
const CLOCK_TOLERANCE_MS: i64 = 1_000;
/// How grave it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Good,
    /// It cannot be known with the rights given.
    Unknown,
    Warning,
    Bad,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// What to do, where there is something.
    pub(super) advice: Option<String>,
}

pub(super) fn good(name: &'static str, found: impl Into<String>) -> Finding {
    Finding {
        name,
        verdict: Verdict::Good,
        found: found.into(),
        advice: None,
    }
}

pub(super) fn amiss(
    name: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding {
        name,
        verdict,
        found: found.into(),
        advice: Some(advice.into()),
    }
}

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
        Some(old) if is_before_6(old) => amiss(
            "server",
            Verdict::Bad,
            format!("{found}, which behaves as {old}"),
            "Change stream images need the behaviour of 6.0 or later. On the primary:\n  \
             db.adminCommand({setFeatureCompatibilityVersion: \"6.0\"})",
        ),
        _ if *members == 1 => amiss(
            "server",
            Verdict::Warning,
            found.replace("1 members", "1 member"),
            "Fine for development. With one member there is nobody to take over, and what a lost disk \
             takes with it is gone.",
        ),
        _ => good("server", found),
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
        Rights::NotControlled => amiss(
            "rights",
            Verdict::Warning,
            "the server controls no access: whoever reaches it may do everything",
            "Fine for development. Else turn access control on (security.authorization, or a keyFile).",
        ),
        Rights::Nobody => amiss(
            "rights",
            Verdict::Bad,
            "the server controls access, and the connection string names no user",
            "Put a user into the connection string: mongodb://USER:PASSWORD@…/?authSource=admin",
        ),
        Rights::Of { user, missing } if missing.is_empty() => good(
            "rights",
            format!("{user} has all that the service needs on {database}"),
        ),
        Rights::Of { user, missing } => amiss(
            "rights",
            Verdict::Bad,
            format!("{user} lacks {}", by_action(missing)),
            grant(user),
        ),
    }
}

/// `insert on d.events and d.positions; collMod on d.events`.
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
        Ok(()) => good("change stream", "can be opened"),
        Err(words) => amiss(
            "change stream",
            Verdict::Bad,
            format!("cannot be opened: {words}"),
            "Everything rests on it: it needs find and changeStream on the whole database (readWrite has them).",
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
        return good("clocks", apart);
    }
    let which = if ahead_ms > 0 { "ahead" } else { "behind" };
    amiss(
        "clocks",
        Verdict::Warning,
        format!("{apart}: the server's is {which}"),
        "Delivery goes by the server's clock alone and is not touched. Metrics of delay, times in logs and \
         the moment that a client means by ?since= are. Let both machines keep time by NTP.",
    )
}

/// What the database holds by our names: migrations, and the collections themselves.
pub(super) fn of_survey(survey: Result<Survey, StoreError>, config: &Config) -> Vec<Finding> {
    match survey {
        Ok(survey) => vec![
            migrations(&survey.migrations, config),
            collections(&survey, config),
        ],
        Err(error) => {
            let advice = "See what else was found.";
            let found = format!("cannot be read: {error}");
            vec![amiss("migrations", Verdict::Bad, found, advice)]
        }
    }
}

fn collections(survey: &Survey, config: &Config) -> Finding {
    const NAME: &str = "collections";
    if let Some(refusal) = survey.refusal(&config.database) {
        let advice = "`tidegate serve` will refuse to start here, and change nothing.";
        return amiss(NAME, Verdict::Bad, refusal, advice);
    }
    if survey.differences.is_empty() {
        return good(
            NAME,
            "none is somebody else's, and all that were made are as they have to be",
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
        advice.push("`tidegate serve` mends it when it starts (not with --no-migrate); `tidegate migrate` does it now.".to_owned());
    }
    amiss(NAME, Verdict::Bad, found.join("; "), advice.join("\n"))
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
        let advice = "Use a binary whose files were not changed.";
        return amiss(NAME, Verdict::Bad, found, advice);
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
        return amiss(NAME, verdict, found, advice);
    }
    if !unknown.is_empty() {
        let found = format!("made by a newer version: {}", unknown.join(", "));
        let advice = "Fine while nodes are upgraded one by one; else use the newer version.";
        return amiss(NAME, Verdict::Warning, found, advice);
    }
    good(NAME, format!("all {} applied", all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_but_not_for_a_slow_answer() {
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
    fn a_set_that_behaves_as_an_older_one_is_told() {
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
