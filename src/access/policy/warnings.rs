//! Warnings: what a policy may say, and perhaps did not mean to.

use super::template::{Template, Visited};

/// Something in a policy that is legal, and perhaps not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The place as a JSON Pointer, such as `#/read/tenant`.
    pub pointer: String,
    /// One clear sentence.
    pub reason: String,
}

/// Warns of a part that says what may be received.
pub(super) fn of_reading(place: &str, template: &Template, all: &mut Vec<Warning>) {
    if template.is_empty() {
        warn(all, place, "It asks for nothing: every event is within it.");
    } else if !template.has_equality() {
        let reason = "Nothing in it must be equal to one of few values, so each event is compared with every filter \
                      that is bound by it, and documents that lack a field may be within it.";
        warn(all, place, reason);
    }
    of_tests(place, template, all);
}

/// Warns of the part that says what may be published.
pub(super) fn of_publishing(
    place: &str,
    template: &Template,
    pins_source: bool,
    all: &mut Vec<Warning>,
) {
    if template.is_empty() {
        warn(all, place, "It asks for nothing: every event is within it.");
    } else if !template.has_equality() {
        let reason = "Nothing in it must be equal to one of few values, so documents that lack a field may be within it.";
        warn(all, place, reason);
    }
    if !pins_source {
        let reason = "It does not pin source. A caller with a tenant may use /tenants/NAME alone, unless the policy \
                      asks for something of source; any other caller can take ids of another one's source.";
        warn(all, place, reason);
    }
    of_tests(place, template, all);
}

fn of_tests(place: &str, template: &Template, all: &mut Vec<Warning>) {
    template.visit(place, &mut |visited: Visited<'_>| {
        let named = visited.operand.claims().next();
        if visited.negated && let Some(name) = named {
            let reason = format!(
                "The claim {name} is in a negation: documents that lack the field are within it, whatever the claim."
            );
            warn(all, &visited.place, reason);
        }
        if !visited.negated && visited.test.is_met_by_absence() {
            warn(
                all,
                &visited.place,
                "A missing field passes this comparison: documents that lack it are within it.",
            );
        }
    });
}

fn warn(all: &mut Vec<Warning>, pointer: &str, reason: impl Into<String>) {
    all.push(Warning {
        pointer: pointer.to_owned(),
        reason: reason.into(),
    });
}
