//! The address, the writers of the database, policies and keys in words. Pure.

use super::finding::{Finding, Verdict};
use crate::{
    config::{Auth, Config},
    store::{AccessSurvey, StoreError, Writers},
};

/// The most names in one finding.
const MOST_NAMES: usize = 5;

/// Judges the policies and the keys.
pub(super) fn of_access(survey: Result<AccessSurvey, StoreError>) -> Vec<Finding> {
    match survey {
        Ok(survey) => vec![policies(&survey), keys(&survey)],
        Err(error) => {
            let found = format!("cannot be read: {error}");
            let advice = "See the other findings.";
            vec![Finding::with_advice(
                "policies",
                Verdict::Unknown,
                found,
                advice,
            )]
        }
    }
}

/// Judges who can reach the address, and read what goes there.
pub(super) fn of_address(config: &Config) -> Finding {
    const NAME: &str = "address";
    let listen = config.listen;
    match (config.needs_insecure(), config.auth) {
        (true, Auth::None) => Finding::with_advice(
            NAME,
            Verdict::Warning,
            format!("whoever reaches {listen} may do everything (auth = \"none\", insecure)"),
            "Ask for credentials: auth = \"required\". Otherwise something else has to guard the address.",
        ),
        (true, Auth::Required) => Finding::with_advice(
            NAME,
            Verdict::Warning,
            format!("keys and tokens come to {listen} in the clear (insecure)"),
            "Set tls.certificate and tls.key, or name the proxy that speaks TLS in proxy.trusted. Whoever reads a key on \
             the way has it.",
        ),
        (false, _) if listen.ip().is_loopback() => {
            Finding::good(NAME, format!("{listen} is for this machine alone"))
        }
        (false, _) if config.tls.is_on() => Finding::good(NAME, format!("{listen} speaks HTTPS")),
        (false, _) => Finding::good(NAME, format!("{listen} is behind a proxy that is trusted")),
    }
}

/// Judges who can write to the database what makes its writer an operator. Access control itself is another finding.
pub(super) fn of_writers(writers: &Writers) -> Option<Finding> {
    const NAME: &str = "writers";
    let (users, more) = match writers {
        Writers::Everybody => return None,
        Writers::Unknown => {
            return Some(Finding::with_advice(
                NAME,
                Verdict::Unknown,
                "the other users of the server may not be seen",
                "With viewUser on all databases (the role userAdminAnyDatabase has it) this says who else can write \
                 keys and policies.",
            ));
        }
        Writers::These { users, more } => (users, more),
    };
    let beyond = if *more {
        "; not all users were looked at"
    } else {
        ""
    };
    if users.is_empty() {
        let found = format!("no other user can write keys, policies or revocations{beyond}");
        return Some(Finding::good(NAME, found));
    }
    let named = users
        .iter()
        .map(|(user, collections)| format!("{user} ({})", collections.join(" ")));
    Some(Finding::with_advice(
        NAME,
        Verdict::Warning,
        format!("as good as operators: {}{beyond}", listed(named)),
        "Whoever can write keys, policies, revocations, tickets or the audit is an operator. Applications need insert on \
         events, and find, insert, update and remove on subscriptions. Other services of this kind need more.",
    ))
}

fn policies(survey: &AccessSurvey) -> Finding {
    const NAME: &str = "policies";
    let AccessSurvey {
        policies,
        broken,
        open,
        ..
    } = survey;
    let (mut found, mut advice) = (Vec::new(), Vec::new());
    if !broken.is_empty() {
        let faults = broken
            .iter()
            .map(|(name, fault)| format!("{name} ({fault})"));
        found.push(format!("cannot be used: {}", listed(faults)));
        advice.push(
            "Whoever is under a policy that cannot be used sees no event and publishes none. Correct it: \
             tidegate policy set NAME FILE",
        );
    }
    if !open.is_empty() {
        let names = open.iter().cloned();
        found.push(format!("let everything through: {}", listed(names)));
        advice.push(
            "`read: {}` shows all events, those of all tenants, to whoever is under the policy. Without a tenant, a \
             key that names no policy sees them too, and says so.",
        );
    }
    let verdict = match (broken.is_empty(), open.is_empty(), policies) {
        (true, true, 0) => return Finding::good(NAME, "there are none"),
        (true, true, count) => {
            return Finding::good(NAME, format!("all {count} can be used, and narrow"));
        }
        (true, false, _) => Verdict::Warning,
        (false, ..) => Verdict::Bad,
    };
    Finding::with_advice(NAME, verdict, found.join("; "), advice.join("\n"))
}

fn keys(survey: &AccessSurvey) -> Finding {
    const NAME: &str = "keys";
    let AccessSurvey { keys, lasting, .. } = survey;
    match (lasting.is_empty(), keys) {
        (true, 0) => Finding::good(NAME, "there are none"),
        (true, count) => Finding::good(NAME, format!("all {count} expire")),
        (false, _) => Finding::with_advice(
            NAME,
            Verdict::Warning,
            format!(
                "{} of {keys} never expire: {}",
                lasting.len(),
                listed(lasting.iter().cloned())
            ),
            "A key that leaks and never expires is good for ever. Make another one (tidegate key create \
             --expires-in 90d), and revoke this one: tidegate key delete ID",
        ),
    }
}

/// Lists the first names, and how many there are more.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMES);
    let names: Vec<_> = names.take(MOST_NAMES).collect();
    match more {
        0 => names.join(", "),
        more => format!("{}, and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_is_of_no_use_is_worse_than_one_that_is_open() {
        let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        for (broken, open, verdict) in [
            (0, 0, Verdict::Good),
            (0, 1, Verdict::Warning),
            (7, 1, Verdict::Bad),
        ] {
            let survey = AccessSurvey {
                policies: 9,
                broken: names(broken)
                    .into_iter()
                    .map(|name| (name, "f".to_owned()))
                    .collect(),
                open: names(open),
                ..AccessSurvey::default()
            };
            let found = policies(&survey);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert_eq!(found.found.contains("and 2 more"), broken == 7, "{found:?}");
        }
    }
}
