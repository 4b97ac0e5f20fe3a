//! The differences between actual and desired collections, and the commands that mend them. Pure.

use std::{collections::BTreeMap, fmt};

use bson::{Bson, Document, doc};

use super::{
    actual::ActualCollection,
    desired::{DesiredCollection, DesiredState, RETENTION_INDEX},
};
use crate::store::{AUDIT, EVENTS};

/// Fields that may differ between two descriptions of the same index.
const IGNORED: [&str; 4] = ["v", "ns", "name", "background"];
/// Options of an index that `collMod` can change.
const CHANGEABLE: [&str; 2] = [EXPIRY, "hidden"];
const EXPIRY: &str = "expireAfterSeconds";

/// A difference between an actual and a desired collection.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    collection: String,
    kind: Kind,
}

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    /// The collection is missing; its desired options.
    Missing(Document),
    /// The collection is of a kind that cannot be used.
    Unusable(&'static str),
    /// Options differ; their names, and all desired options.
    Options(Vec<String>, Document),
    /// An index is missing; its description.
    IndexMissing(Document),
    /// An index differs in options that can be changed; its name, and their desired values.
    IndexOptions(String, Document),
    /// An index differs in something that cannot be changed.
    IndexOther(String),
    /// An index has another name; the desired and the actual one.
    IndexNamed(String, String),
}

impl Difference {
    /// Whether a collection or an index is missing, rather than different.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self.kind, Kind::Missing(_) | Kind::IndexMissing(_))
    }

    /// Whether only the retention of events or of the audit differs, which is a setting.
    pub(super) fn is_retention(&self) -> bool {
        matches!(&self.kind, Kind::IndexOptions(name, options)
            if name == RETENTION_INDEX
                || ([EVENTS, AUDIT].contains(&&*self.collection) && options.contains_key(EXPIRY)))
    }

    /// Returns the command that mends it; `None` if none can.
    pub(super) fn remedy(&self) -> Option<Document> {
        let name = self.collection.as_str();
        let with = |verb: &str, options: &Document| {
            let mut command = doc! {verb: name};
            command.extend(options.clone());
            command
        };
        match &self.kind {
            Kind::Missing(options) => Some(with("create", options)),
            Kind::Options(_, options) => Some(with("collMod", options)),
            Kind::IndexMissing(index) => {
                Some(doc! {"createIndexes": name, "indexes": [index.clone()]})
            }
            Kind::IndexOptions(index, options) => {
                let mut change = doc! {"name": index};
                change.extend(options.clone());
                Some(doc! {"collMod": name, "index": change})
            }
            Kind::Unusable(_) | Kind::IndexOther(_) | Kind::IndexNamed(..) => None,
        }
    }

    /// Returns advice for the operator, if the service cannot mend it.
    pub fn advice(&self) -> Option<String> {
        let name = &self.collection;
        match &self.kind {
            Kind::Unusable(_) => Some(format!(
                "move it away (db.{name}.renameCollection or a copy), and start again"
            )),
            Kind::IndexOther(index) | Kind::IndexNamed(_, index) => Some(format!(
                "db.{name}.dropIndex({index:?}), and start again: the start creates it anew"
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.collection;
        match &self.kind {
            Kind::Missing(_) => write!(f, "{name} is missing"),
            Kind::Unusable(kind) => write!(f, "{name} {kind}"),
            Kind::Options(options, _) => write!(f, "{name}: another {}", options.join(", ")),
            Kind::IndexMissing(index) => {
                let index = index.get_str("name").unwrap_or_default();
                write!(f, "{name}: index {index} is missing")
            }
            Kind::IndexOptions(index, options) => {
                let options: Vec<_> = options.keys().map(String::as_str).collect();
                write!(
                    f,
                    "{name}: index {index} has a different {}",
                    options.join(", ")
                )
            }
            Kind::IndexOther(index) => {
                write!(f, "{name}: index {index} has different keys or options")
            }
            Kind::IndexNamed(wanted, found) => {
                write!(f, "{name}: index {wanted} exists as {found}")
            }
        }
    }
}

/// Lists all differences, each collection before its indexes.
pub(super) fn differences(
    wanted: &DesiredState,
    found: &BTreeMap<String, ActualCollection>,
) -> Vec<Difference> {
    let mut all = Vec::new();
    for (name, collection) in wanted {
        let mut add = |kind| {
            all.push(Difference {
                collection: name.clone(),
                kind,
            });
        };
        match found.get(name) {
            None => {
                add(Kind::Missing(collection.options.clone()));
                let indexes = collection.indexes.values().cloned();
                indexes.map(Kind::IndexMissing).for_each(add);
            }
            Some(found) => match found.unusable() {
                Some(kind) => add(Kind::Unusable(kind)),
                None => compare(collection, found).for_each(add),
            },
        }
    }
    all
}

fn compare(wanted: &DesiredCollection, found: &ActualCollection) -> impl Iterator<Item = Kind> {
    let differing = |(name, value): (&String, &Bson)| {
        let same = found
            .options
            .get(name)
            .is_some_and(|there| same(there, value));
        (!same).then(|| name.clone())
    };
    let options: Vec<_> = wanted.options.iter().filter_map(differing).collect();
    let options = (!options.is_empty()).then(|| Kind::Options(options, wanted.options.clone()));
    let indexes = wanted
        .indexes
        .iter()
        .filter_map(|(name, index)| compare_index(name, index, found));
    options.into_iter().chain(indexes)
}

fn compare_index(name: &str, wanted: &Document, found: &ActualCollection) -> Option<Kind> {
    let (name, there) = match found.indexes.get_key_value(name) {
        Some(named) => named,
        None => match twin(wanted, found) {
            // No query asks for this index by name.
            Some(twin) if name == RETENTION_INDEX => twin,
            Some((twin, _)) => return Some(Kind::IndexNamed(name.to_owned(), twin.clone())),
            None => return Some(Kind::IndexMissing(wanted.clone())),
        },
    };
    let differing: Vec<_> = differing(wanted, there).collect();
    if differing.is_empty() {
        return None;
    }
    let mut change = Document::new();
    for option in differing {
        let value = match wanted.get(&option) {
            Some(value) => value.clone(),
            None if option == "hidden" => Bson::Boolean(false),
            None => return Some(Kind::IndexOther(name.to_owned())),
        };
        if !is_changeable(&option) {
            return Some(Kind::IndexOther(name.to_owned()));
        }
        change.insert(option, value);
    }
    Some(Kind::IndexOptions(name.to_owned(), change))
}

/// Finds the same index under another name.
fn twin<'f>(wanted: &Document, found: &'f ActualCollection) -> Option<(&'f String, &'f Document)> {
    let mut indexes = found.indexes.iter();
    indexes.find(|(_, there)| differing(wanted, there).all(|option| is_changeable(&option)))
}

fn is_changeable(option: &str) -> bool {
    CHANGEABLE.contains(&option)
}

/// Returns the options in which two descriptions of an index differ.
fn differing<'i>(wanted: &'i Document, there: &'i Document) -> impl Iterator<Item = String> + 'i {
    let all = wanted
        .keys()
        .chain(there.keys().filter(|k| !wanted.contains_key(k)));
    all.filter(|option| !IGNORED.contains(&option.as_str()))
        .filter(|option| match (wanted.get(option), there.get(option)) {
            (Some(wanted), Some(there)) => !same(wanted, there),
            // The server may spell out a default.
            (None, Some(there)) => *there != Bson::Boolean(false),
            _ => true,
        })
        .cloned()
}

/// Whether two values are equal. Numbers compare by value: a migration that was run by hand has other types.
fn same(one: &Bson, other: &Bson) -> bool {
    match (one, other) {
        (Bson::Document(one), Bson::Document(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((k1, v1), (k2, v2))| k1 == k2 && same(v1, v2))
        }
        (Bson::Array(one), Bson::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => match (number(one), number(other)) {
            (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
            _ => one == other,
        },
    }
}

/// Reads a number. Options are far below the largest integer that a double holds exactly.
fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        #[expect(clippy::cast_precision_loss, reason = "options are small numbers")]
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> DesiredState {
        let index = doc! {"name": "x", "key": {"x": 1}, "expireAfterSeconds": 5};
        let collection = DesiredCollection {
            options: doc! {"validator": {"a": 1}, "validationLevel": "moderate"},
            indexes: BTreeMap::from([("x".to_owned(), index)]),
        };
        DesiredState::from([("c".to_owned(), collection)])
    }

    fn check(options: Document, indexes: &[Document], expected: &[(&str, bool)]) {
        let named = |index: &Document| (index.get_str("name").unwrap().to_owned(), index.clone());
        let found = ActualCollection {
            kind: "collection".to_owned(),
            options,
            indexes: indexes.iter().map(named).collect(),
        };
        let all = differences(&wanted(), &BTreeMap::from([("c".to_owned(), found)]));
        let shown: Vec<_> = all
            .iter()
            .map(|one| (one.to_string(), one.remedy().is_some()))
            .collect();
        let shown: Vec<_> = shown.iter().map(|(text, m)| (text.as_str(), *m)).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn each_difference_is_named_and_mended_where_a_command_can() {
        let options = doc! {"validator": {"a": 1.0}, "validationLevel": "moderate"};
        let index = doc! {"v": 2, "name": "x", "key": {"x": 1.0}, "expireAfterSeconds": 5_i64};
        check(options.clone(), std::slice::from_ref(&index), &[]);
        check(
            doc! {"validationLevel": "strict"},
            std::slice::from_ref(&index),
            &[("c: another validator, validationLevel", true)],
        );
        let with = |changes: Document| {
            let mut changed = index.clone();
            changed.extend(changes);
            changed
        };
        for (indexes, expected) in [
            (vec![], ("c: index x is missing", true)),
            (
                vec![with(doc! {"expireAfterSeconds": 6, "hidden": true})],
                (
                    "c: index x has a different expireAfterSeconds, hidden",
                    true,
                ),
            ),
            (
                vec![with(doc! {"key": {"x": -1}})],
                ("c: index x has different keys or options", false),
            ),
            (
                vec![with(doc! {"unique": true})],
                ("c: index x has different keys or options", false),
            ),
            (
                vec![with(doc! {"name": "y"})],
                ("c: index x exists as y", false),
            ),
        ] {
            check(options.clone(), &indexes, &[expected]);
        }
        check(
            doc! {"capped": true},
            &[],
            &[("c is a capped collection", false)],
        );
        let all = differences(&wanted(), &BTreeMap::new());
        let shown: Vec<_> = all.iter().map(Difference::to_string).collect();
        assert_eq!(shown, ["c is missing", "c: index x is missing"]);
    }
}
