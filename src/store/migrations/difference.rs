//! How a collection differs from what it has to be, and what mends that. Pure.

use std::{collections::BTreeMap, fmt};

use bson::{Bson, Document, doc};

use super::{
    found::Found,
    wanted::{Collection, RETENTION_INDEX, Wanted},
};
use crate::store::EVENTS;

/// What may differ between two descriptions of the same index.
const IGNORED: [&str; 4] = ["v", "ns", "name", "background"];
/// What `collMod` changes in an index.
const CHANGEABLE: [&str; 2] = [EXPIRY, "hidden"];
const EXPIRY: &str = "expireAfterSeconds";

/// One difference between a collection and what it has to be.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    collection: String,
    what: What,
}

#[derive(Clone, PartialEq, Debug)]
enum What {
    /// There is no such collection.
    Missing(Document),
    /// It is of a kind that cannot be used.
    Unusable(&'static str),
    /// Options differ; all that are wanted.
    Options(Vec<String>, Document),
    /// There is no such index.
    IndexMissing(Document),
    /// An index differs in what can be changed.
    IndexOptions(String, Document),
    /// An index differs in what cannot be changed.
    IndexOther(String),
    /// The index has another name.
    IndexNamed(String, String),
}

impl Difference {
    /// Whether something is not there at all, as opposed to being otherwise.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self.what, What::Missing(_) | What::IndexMissing(_))
    }

    /// Whether it is how long events are kept, which is a setting.
    pub(super) fn is_retention(&self) -> bool {
        matches!(&self.what, What::IndexOptions(name, options)
            if name == RETENTION_INDEX
                || (self.collection == EVENTS && options.contains_key(EXPIRY)))
    }

    /// The command that mends it; `None` where none can.
    pub(super) fn remedy(&self) -> Option<Document> {
        let name = self.collection.as_str();
        let with = |verb: &str, options: &Document| {
            let mut command = doc! {verb: name};
            command.extend(options.clone());
            command
        };
        match &self.what {
            What::Missing(options) => Some(with("create", options)),
            What::Options(_, options) => Some(with("collMod", options)),
            What::IndexMissing(index) => {
                Some(doc! {"createIndexes": name, "indexes": [index.clone()]})
            }
            What::IndexOptions(index, options) => {
                let mut change = doc! {"name": index};
                change.extend(options.clone());
                Some(doc! {"collMod": name, "index": change})
            }
            What::Unusable(_) | What::IndexOther(_) | What::IndexNamed(..) => None,
        }
    }

    /// What a person does about it, where the service cannot.
    pub fn advice(&self) -> Option<String> {
        let name = &self.collection;
        match &self.what {
            What::Unusable(_) => Some(format!(
                "move it away (db.{name}.renameCollection or a copy), and start again"
            )),
            What::IndexOther(index) | What::IndexNamed(_, index) => Some(format!(
                "db.{name}.dropIndex({index:?}), and start again: the start makes it anew"
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.collection;
        match &self.what {
            What::Missing(_) => write!(f, "{name} is missing"),
            What::Unusable(kind) => write!(f, "{name} {kind}"),
            What::Options(options, _) => write!(f, "{name}: another {}", options.join(", ")),
            What::IndexMissing(index) => {
                let index = index.get_str("name").unwrap_or_default();
                write!(f, "{name}: index {index} is missing")
            }
            What::IndexOptions(index, options) => {
                let options: Vec<_> = options.keys().map(String::as_str).collect();
                write!(
                    f,
                    "{name}: index {index} has another {}",
                    options.join(", ")
                )
            }
            What::IndexOther(index) => {
                write!(f, "{name}: index {index} has other keys or options")
            }
            What::IndexNamed(wanted, found) => {
                write!(f, "{name}: index {wanted} is there as {found}")
            }
        }
    }
}

/// Every difference, each collection before its indexes.
pub(super) fn differences(wanted: &Wanted, found: &BTreeMap<String, Found>) -> Vec<Difference> {
    let mut all = Vec::new();
    for (name, collection) in wanted {
        let mut add = |what| {
            all.push(Difference {
                collection: name.clone(),
                what,
            });
        };
        match found.get(name) {
            None => {
                add(What::Missing(collection.options.clone()));
                let indexes = collection.indexes.values().cloned();
                indexes.map(What::IndexMissing).for_each(add);
            }
            Some(found) => match found.unusable() {
                Some(kind) => add(What::Unusable(kind)),
                None => compare(collection, found).for_each(add),
            },
        }
    }
    all
}

fn compare(wanted: &Collection, found: &Found) -> impl Iterator<Item = What> {
    let differing = |(name, value): (&String, &Bson)| {
        let same = found
            .options
            .get(name)
            .is_some_and(|there| same(there, value));
        (!same).then(|| name.clone())
    };
    let options: Vec<_> = wanted.options.iter().filter_map(differing).collect();
    let options = (!options.is_empty()).then(|| What::Options(options, wanted.options.clone()));
    let indexes = wanted
        .indexes
        .iter()
        .filter_map(|(name, index)| compare_index(name, index, found));
    options.into_iter().chain(indexes)
}

fn compare_index(name: &str, wanted: &Document, found: &Found) -> Option<What> {
    let (name, there) = match found.indexes.get_key_value(name) {
        Some(named) => named,
        None => match twin(wanted, found) {
            // By this name no query asks for it.
            Some(twin) if name == RETENTION_INDEX => twin,
            Some((twin, _)) => return Some(What::IndexNamed(name.to_owned(), twin.clone())),
            None => return Some(What::IndexMissing(wanted.clone())),
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
            None => return Some(What::IndexOther(name.to_owned())),
        };
        if !is_changeable(&option) {
            return Some(What::IndexOther(name.to_owned()));
        }
        change.insert(option, value);
    }
    Some(What::IndexOptions(name.to_owned(), change))
}

/// The index that stands in for it under another name.
fn twin<'f>(wanted: &Document, found: &'f Found) -> Option<(&'f String, &'f Document)> {
    let mut indexes = found.indexes.iter();
    indexes.find(|(_, there)| differing(wanted, there).all(|option| is_changeable(&option)))
}

fn is_changeable(option: &str) -> bool {
    CHANGEABLE.contains(&option)
}

/// The options in which two descriptions of an index differ.
fn differing<'i>(wanted: &'i Document, there: &'i Document) -> impl Iterator<Item = String> + 'i {
    let all = wanted
        .keys()
        .chain(there.keys().filter(|k| !wanted.contains_key(k)));
    all.filter(|option| !IGNORED.contains(&option.as_str()))
        .filter(|option| match (wanted.get(option), there.get(option)) {
            (Some(wanted), Some(there)) => !same(wanted, there),
            // The server may spell out what is the default.
            (None, Some(there)) => *there != Bson::Boolean(false),
            _ => true,
        })
        .cloned()
}

/// Whether two values are equal, numbers by their value: whoever ran a migration by hand had other types.
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

/// Options are far below what a double holds exactly.
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

    fn wanted() -> Wanted {
        let index = doc! {"name": "x", "key": {"x": 1}, "expireAfterSeconds": 5};
        let collection = Collection {
            options: doc! {"validator": {"a": 1}, "validationLevel": "moderate"},
            indexes: BTreeMap::from([("x".to_owned(), index)]),
        };
        Wanted::from([("c".to_owned(), collection)])
    }

    fn check(options: Document, indexes: &[Document], expected: &[(&str, bool)]) {
        let named = |index: &Document| (index.get_str("name").unwrap().to_owned(), index.clone());
        let found = Found {
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
                ("c: index x has another expireAfterSeconds, hidden", true),
            ),
            (
                vec![with(doc! {"key": {"x": -1}})],
                ("c: index x has other keys or options", false),
            ),
            (
                vec![with(doc! {"unique": true})],
                ("c: index x has other keys or options", false),
            ),
            (
                vec![with(doc! {"name": "y"})],
                ("c: index x is there as y", false),
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
