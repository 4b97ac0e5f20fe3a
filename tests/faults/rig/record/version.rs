//! The wishes of subscriptions, and the states that they go through.

use serde_json::Value;

/// The kinds of events, as their `type`. A filter matches some of them.
pub(crate) const KINDS: [&str; 6] = ["tick", "a", "b", "c", "d", "end"];
/// The kind of the events that come in steady succession, so that pauses show.
pub(crate) const TICK: usize = 0;
/// The kind of the last event, which every filter matches.
pub(crate) const LAST: usize = 5;

/// A set of kinds, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kinds(pub(crate) u8);

impl Kinds {
    pub(crate) fn has(self, kind: usize) -> bool {
        self.0 & (1 << kind) != 0
    }

    /// Returns the names, for a filter's `$in`.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let wanted = |&(kind, _): &(usize, _)| self.has(kind);
        KINDS
            .into_iter()
            .enumerate()
            .filter(wanted)
            .map(|(_, name)| name)
            .collect()
    }

    /// Reads what [`Kinds::names`] wrote.
    pub(crate) fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        names
            .map(|name| KINDS.iter().position(|kind| *kind == name))
            .try_fold(Self(0), |kinds, kind| Some(Self(kinds.0 | 1 << kind?)))
    }
}

/// A state of a subscription. Each change has a number of its own, kept in the document's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) kinds: Kinds,
    pub(crate) active: bool,
}

/// The beginning of the names of filters that clients bring.
const OWN_FILTER: &str = "filter of kinds ";

/// Returns the name of a filter that a client brings. Nothing is stored under it.
pub(crate) fn own_filter(kinds: Kinds) -> String {
    format!("{OWN_FILTER}{}", kinds.0)
}

impl Version {
    /// Returns the only state of a filter that a client brings.
    pub(crate) fn of_own_filter(kinds: Kinds) -> Self {
        Self {
            number: 1,
            kinds,
            active: true,
        }
    }

    /// Returns the only state of what has such a name.
    pub(crate) fn of_own_name(name: &str) -> Option<Self> {
        let kinds = name.strip_prefix(OWN_FILTER)?.parse().ok()?;
        Some(Self::of_own_filter(Kinds(kinds)))
    }

    /// Reads a subscription as the service shows it.
    pub(crate) fn told(subscription: &Value) -> Option<Self> {
        let kinds = subscription["filter"]["type"]["$in"].as_array()?;
        Some(Self {
            number: subscription["name"].as_str()?.parse().ok()?,
            kinds: Kinds::of_names(kinds.iter().filter_map(Value::as_str))?,
            active: subscription["status"] == "active",
        })
    }

    /// Whether an event of this kind is delivered.
    pub(crate) fn wants(self, kind: usize) -> bool {
        self.active && self.kinds.has(kind)
    }
}
