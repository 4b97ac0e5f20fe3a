//! Policies and keys in words. Pure.

use super::finding::{Finding, Verdict};
use crate::store::{AccessSurvey, StoreError};

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
