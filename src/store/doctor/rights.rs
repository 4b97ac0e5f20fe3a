//! The rights of the user in the connection string.

use bson::{Bson, Document, doc};
use mongodb::Database;

use super::permitted;
use crate::store::{AUDIT, COLLECTIONS, EVENTS, SUBSCRIPTIONS, StoreError};

/// Actions on every collection of ours.
const ON_EACH: [&str; 7] = [
    "find",
    "listIndexes",
    "insert",
    "update",
    "remove",
    "createCollection",
    "createIndex",
];
/// Actions on collections with options, which migrations and the retention change.
const ON_SOME: [&str; 1] = ["collMod"];
/// Actions of the feed on the database as a whole.
const ON_ALL: [&str; 3] = ["changeStream", "find", "listCollections"];

/// The rights of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rights {
    /// The server does not control access: everyone may do everything.
    NotControlled,
    /// The server controls access, and the connection string names no user.
    Nobody,
    /// A user.
    Of {
        /// The user's name.
        user: String,
        /// Its missing rights: each an action, and the resource.
        missing: Vec<(&'static str, String)>,
    },
}

pub(super) async fn read(database: &Database) -> Result<Rights, StoreError> {
    let ask = doc! {"connectionStatus": 1, "showPrivileges": true};
    let status = database.client().database("admin").run_command(ask).await?;
    let info = status
        .get_document("authInfo")
        .map_err(|_| StoreError::Unexpected("the answer to connectionStatus has no authInfo"))?;
    let users = documents(info, "authenticatedUsers");
    let Some(user) = users.first() else {
        let subscriptions = database.collection::<Document>(SUBSCRIPTIONS);
        return Ok(match permitted(subscriptions.find_one(doc! {}).await)? {
            Some(_) => Rights::NotControlled,
            None => Rights::Nobody,
        });
    };
    Ok(Rights::Of {
        user: user.get_str("user").unwrap_or_default().to_owned(),
        missing: missing(
            &documents(info, "authenticatedUserPrivileges"),
            database.name(),
        ),
    })
}

pub(super) fn documents<'a>(parent: &'a Document, field: &str) -> Vec<&'a Document> {
    let all = parent.get_array(field).map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(Bson::as_document).collect()
}

/// Lists the rights that none of the privileges allows.
fn missing(privileges: &[&Document], database: &str) -> Vec<(&'static str, String)> {
    let each = ON_EACH
        .iter()
        .flat_map(|action| COLLECTIONS.map(|collection| (*action, collection)));
    let some = ON_SOME
        .iter()
        .flat_map(|action| [SUBSCRIPTIONS, EVENTS, AUDIT].map(|collection| (*action, collection)));
    let all = ON_ALL.iter().map(|action| (*action, ""));
    each.chain(some)
        .chain(all)
        .filter(|(action, collection)| {
            !privileges
                .iter()
                .any(|privilege| allows(privilege, action, database, collection))
        })
        .map(|(action, collection)| match collection {
            "" => (action, database.to_owned()),
            collection => (action, format!("{database}.{collection}")),
        })
        .collect()
}

/// Whether a privilege allows an action on a collection, or with `""` on all collections of the database. An
/// empty name in a resource stands for all names.
pub(super) fn allows(privilege: &Document, action: &str, database: &str, collection: &str) -> bool {
    let Ok(resource) = privilege.get_document("resource") else {
        return false;
    };
    let covers = |field: &str, name: &str| {
        let named = resource.get_str(field);
        named.is_ok_and(|named| named.is_empty() || named == name)
    };
    let any = resource.get_bool("anyResource").unwrap_or(false);
    let covered = any || (covers("db", database) && covers("collection", collection));
    let actions = privilege
        .get_array("actions")
        .map_or(&[][..], Vec::as_slice);
    covered
        && actions
            .iter()
            .any(|one| matches!(one.as_str(), Some(name) if name == action || name == "anyAction"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(privileges: &[Document], expected: &[(&'static str, &str)]) {
        let privileges: Vec<&Document> = privileges.iter().collect();
        let found = missing(&privileges, "d");
        let found: Vec<_> = found.iter().map(|(a, r)| (*a, r.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_no_privilege_covers_is_missing() {
        let everything = [&ON_EACH[..], &ON_SOME, &ON_ALL].concat();
        for resource in [
            doc! {"anyResource": true},
            doc! {"db": "", "collection": ""},
            doc! {"db": "d", "collection": ""},
        ] {
            check(&[doc! {"resource": resource, "actions": &everything}], &[]);
        }
        let actions = [&ON_EACH[..], &["changeStream", "listCollections"]].concat();
        let write = doc! {"resource": {"db": "d", "collection": ""}, "actions": actions};
        let lacking = [
            ("collMod", "d.subscriptions"),
            ("collMod", "d.events"),
            ("collMod", "d.audit"),
        ];
        check(std::slice::from_ref(&write), &lacking);
        let elsewhere = doc! {"resource": {"db": "e", "collection": ""}, "actions": ["collMod"]};
        check(&[write.clone(), elsewhere], &lacking);
        let one = doc! {
            "resource": {"db": "d", "collection": "events"}, "actions": ["collMod"],
        };
        check(&[write, one], &[lacking[0], lacking[2]]);
    }

    #[test]
    fn a_stream_over_the_database_needs_more_than_its_collections() {
        let privileges: Vec<Document> = COLLECTIONS
            .iter()
            .map(|name| {
                let actions = [&ON_EACH[..], &ON_SOME, &ON_ALL].concat();
                doc! {"resource": {"db": "d", "collection": name}, "actions": actions}
            })
            .collect();
        check(
            &privileges,
            &[
                ("changeStream", "d"),
                ("find", "d"),
                ("listCollections", "d"),
            ],
        );
    }
}
