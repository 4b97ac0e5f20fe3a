//! Users besides our own who can write what makes its writer an operator.

use bson::{Document, doc};
use mongodb::Database;

use super::{permitted, rights::allows, rights::documents};
use crate::store::{AUDIT, KEYS, POLICIES, REVOCATIONS, StoreError, TICKETS};

/// The collections whose writers are operators.
const GUARDED: [&str; 5] = [KEYS, POLICIES, REVOCATIONS, TICKETS, AUDIT];
/// The actions that write.
const WRITES: [&str; 3] = ["insert", "update", "remove"];
/// The most users that are looked at.
const MOST_USERS: usize = 500;

/// The users who can write what only operators should. A server without access control has none that it could name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Writers {
    /// Everybody can.
    Everybody,
    /// The user in the connection string may not see the others.
    Unknown,
    /// These, as `USER@DATABASE`, each with the collections.
    These {
        /// The users.
        users: Vec<(String, Vec<&'static str>)>,
        /// True if there are more users than were looked at.
        more: bool,
    },
}

/// Reads the users. Those who administer users everywhere are left out: they can grant themselves whatever they lack.
pub(super) async fn read(database: &Database) -> Result<Writers, StoreError> {
    let admin = database.client().database("admin");
    let status = admin.run_command(doc! {"connectionStatus": 1}).await?;
    let own: Vec<(String, String)> = match status.get_document("authInfo") {
        Ok(info) => documents(info, "authenticatedUsers")
            .into_iter()
            .map(name_of)
            .collect(),
        Err(_) => Vec::new(),
    };
    if own.is_empty() {
        return Ok(Writers::Everybody);
    }
    let all = doc! {"usersInfo": {"forAllDBs": true}};
    let Some(all) = permitted(admin.run_command(all).await)? else {
        return Ok(Writers::Unknown);
    };
    let known = documents(&all, "users");
    let mut users = Vec::new();
    for (user, of) in known.iter().take(MOST_USERS).map(|user| name_of(user)) {
        if own.contains(&(user.clone(), of.clone())) {
            continue;
        }
        // The server shows privileges of one user at a time only.
        let one = doc! {"usersInfo": {"user": &user, "db": &of}, "showPrivileges": true};
        let Some(one) = permitted(admin.run_command(one).await)? else {
            return Ok(Writers::Unknown);
        };
        let privileges = documents(&one, "users");
        let privileges = privileges
            .iter()
            .flat_map(|user| documents(user, "inheritedPrivileges"));
        let written = written(&privileges.collect::<Vec<_>>(), database.name());
        if !written.is_empty() {
            users.push((format!("{user}@{of}"), written));
        }
    }
    let more = known.len() > MOST_USERS;
    Ok(Writers::These { users, more })
}

fn name_of(user: &Document) -> (String, String) {
    let text = |field| user.get_str(field).unwrap_or_default().to_owned();
    (text("user"), text("db"))
}

/// Lists the guarded collections that these privileges can write; none if they administer users everywhere.
fn written(privileges: &[&Document], database: &str) -> Vec<&'static str> {
    let may = |action: &str, database: &str, collection: &str| {
        let mut privileges = privileges.iter();
        privileges.any(|privilege| allows(privilege, action, database, collection))
    };
    if may("grantRole", "admin", "") {
        return Vec::new();
    }
    let is_written = |collection: &&'static str| {
        let mut actions = WRITES.iter();
        actions.any(|action| may(action, database, collection))
    };
    GUARDED.into_iter().filter(is_written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(privileges: &[Document], expected: &[&str]) {
        let privileges: Vec<_> = privileges.iter().collect();
        assert_eq!(written(&privileges, "d"), expected);
    }

    #[test]
    fn who_can_write_a_guarded_collection_is_named_unless_it_administers_users() {
        let on = |db: &str, collection: &str, actions: &[&str]| {
            doc! {"resource": {"db": db, "collection": collection}, "actions": actions}
        };
        let application = [
            on("d", "events", &["insert"]),
            on(
                "d",
                "subscriptions",
                &["find", "insert", "update", "remove"],
            ),
        ];
        check(&application, &[]);
        check(&[on("d", "", &["find", "changeStream"])], &[]);
        check(&[on("d", "keys", &["remove"])], &["keys"]);
        check(&[on("e", "", &WRITES)], &[]);
        check(&[on("d", "", &["insert"])], &GUARDED);
        check(&[on("", "", &["update"])], &GUARDED);
        check(&[on("", "", &["anyAction"])], &[]);
        let administrator = [on("d", "", &WRITES), on("", "", &["grantRole"])];
        check(&administrator, &[]);
    }
}
