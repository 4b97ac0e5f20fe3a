//! The desired state of the collections: the sum of all migrations, and the setting that lives in the
//! database (the retention of events and of the audit). Pure.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use super::files::Migration;
use crate::{
    event::STORED_AT_FIELD,
    store::{AUDIT, EVENTS},
};

/// The name of the index by which events expire.
pub(super) const RETENTION_INDEX: &str = "storedAt";
/// The name, and the field, of the index by which the audit expires.
const AUDIT_INDEX: &str = "at";

/// The settings that live in the database, in seconds.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Retention {
    pub(super) events: i64,
    pub(super) audit: i64,
}

/// The desired state of a collection.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct DesiredCollection {
    /// Options, as `create` takes them. Other options are the operator's.
    pub(super) options: Document,
    /// Indexes by name, as `createIndexes` takes them.
    pub(super) indexes: BTreeMap<String, Document>,
}

/// The desired state of all collections, by name.
pub(super) type DesiredState = BTreeMap<String, DesiredCollection>;

/// Computes the state after these files. Ignores commands that are not known: applying a file refuses them.
pub(super) fn desired_state<'f>(
    files: impl IntoIterator<Item = &'f Migration>,
    retention: Retention,
) -> Result<DesiredState, String> {
    let mut wanted = DesiredState::new();
    for file in files {
        for command in file.commands()? {
            add(&mut wanted, command);
        }
    }
    for (collection, name, field, seconds) in [
        (EVENTS, RETENTION_INDEX, STORED_AT_FIELD, retention.events),
        (AUDIT, AUDIT_INDEX, AUDIT_INDEX, retention.audit),
    ] {
        let Some(collection) = wanted.get_mut(collection) else {
            continue;
        };
        let index = doc! {"name": name, "key": {field: 1}, "expireAfterSeconds": seconds};
        collection.indexes.insert(name.to_owned(), index);
    }
    Ok(wanted)
}

fn add(wanted: &mut DesiredState, command: Document) {
    let mut parts = command.into_iter();
    let Some((verb, Bson::String(name))) = parts.next() else {
        return;
    };
    let collection = wanted.entry(name).or_default();
    match verb.as_str() {
        "create" | "collMod" => {
            for (option, value) in parts {
                match (option.as_str(), value) {
                    ("index", Bson::Document(change)) => collection.change_index(change),
                    (_, value) => {
                        collection.options.insert(option, value);
                    }
                }
            }
        }
        "createIndexes" => {
            for (_, value) in parts.filter(|(part, _)| part == "indexes") {
                let Bson::Array(indexes) = value else {
                    continue;
                };
                for index in indexes {
                    collection.add_index(index);
                }
            }
        }
        _ => {}
    }
}

impl DesiredCollection {
    fn add_index(&mut self, index: Bson) {
        if let Bson::Document(index) = index
            && let Ok(name) = index.get_str("name")
        {
            self.indexes.insert(name.to_owned(), index);
        }
    }

    fn change_index(&mut self, mut change: Document) {
        let name = change.remove("name");
        let key = change.remove("keyPattern");
        for (stored, index) in &mut self.indexes {
            let named = name.as_ref().and_then(Bson::as_str) == Some(stored.as_str());
            if named || (key.is_some() && index.get("key") == key.as_ref()) {
                index.extend(change.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{COLLECTIONS, MIGRATIONS, migrations::files::FILES};

    const RETENTION: Retention = Retention {
        events: 99,
        audit: 7,
    };

    #[test]
    fn every_collection_that_a_file_makes_is_on_the_list_and_the_other_way_round() {
        let mut made: Vec<_> = desired_state(FILES, RETENTION)
            .unwrap()
            .into_keys()
            .collect();
        // This one is made by its first record.
        made.push(MIGRATIONS.to_owned());
        made.sort();
        let mut listed = COLLECTIONS.to_vec();
        listed.sort_unstable();
        assert_eq!(made, listed);
    }

    #[test]
    fn events_and_the_audit_expire_by_the_settings() {
        let wanted = desired_state(FILES, RETENTION).unwrap();
        for (collection, index, seconds) in [(EVENTS, RETENTION_INDEX, 99), (AUDIT, AUDIT_INDEX, 7)]
        {
            let expiry = wanted[collection].indexes[index].get("expireAfterSeconds");
            assert_eq!(expiry, Some(&Bson::Int64(seconds)));
        }
    }

    #[test]
    fn later_files_change_what_earlier_ones_made() {
        let file = |name, text| Migration { name, text };
        let files = [
            file(
                "0001_a",
                r#"[{"create": "events", "validator": {"a": 1}, "validationLevel": "off"},
                    {"createIndexes": "events", "indexes": [
                        {"name": "x", "key": {"x": 1}, "expireAfterSeconds": 5}]}]"#,
            ),
            file(
                "0002_b",
                r#"[{"collMod": "events", "validator": {"b": 1}},
                    {"collMod": "events", "index": {"name": "x", "expireAfterSeconds": 6}}]"#,
            ),
        ];
        let wanted = desired_state(&files, RETENTION).unwrap();
        let events = &wanted["events"];
        let options = doc! {"validator": {"b": 1}, "validationLevel": "off"};
        assert_eq!(events.options, options);
        let expiry = |name: &str| events.indexes[name].get("expireAfterSeconds");
        assert_eq!(expiry("x"), Some(&Bson::Int32(6)));
        assert_eq!(expiry(RETENTION_INDEX), Some(&Bson::Int64(99)));
    }
}
