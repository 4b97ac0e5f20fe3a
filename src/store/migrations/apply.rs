//! Running the commands of one migration so that running them again changes nothing.

use bson::{Document, doc};

use super::files::Migration;
use crate::store::{StartupError, Store, StoreError, error};

const NAMESPACE_EXISTS: i32 = 48;

impl Store {
    /// Runs the commands, in order. They may take long (an index over many events), so they are
    /// bounded by the lease that is held meanwhile and by the database's presence, not by a time.
    pub(super) async fn apply(&self, file: &Migration) -> Result<(), StoreError> {
        let commands = file.commands().map_err(|reason| failed(file, reason))?;
        for command in commands {
            let done = self.unhurried(self.apply_command(command)).await;
            done.map_err(|error| self.explain(file, error))?;
        }
        Ok(())
    }

    fn explain(&self, file: &Migration, error: StoreError) -> StoreError {
        match error {
            away if away.is_away() => away,
            StoreError::NotPermitted { detail, .. } => self.missing_right(detail),
            StoreError::Other(error) => failed(file, error::message(&error)).into(),
            error => failed(file, error.to_string()).into(),
        }
    }

    pub(super) fn missing_right(&self, detail: String) -> StoreError {
        let database = self.database_name().to_owned();
        StartupError::MissingRight { database, detail }.into()
    }

    /// A `create` of what exists already becomes a `collMod` to the same options.
    async fn apply_command(&self, mut command: Document) -> mongodb::error::Result<()> {
        let database = self.database();
        let created = database.run_command(with_concern(command.clone())).await;
        match created {
            Err(ref error) if error::code(error) == Some(NAMESPACE_EXISTS) => {}
            answer => return answer.map(drop),
        }
        let Some(collection) = command.remove("create") else {
            return created.map(drop);
        };
        if command.is_empty() {
            return Ok(());
        }
        let mut change = doc! {"collMod": collection};
        change.extend(command);
        database.run_command(with_concern(change)).await.map(drop)
    }
}

fn failed(file: &Migration, reason: String) -> StartupError {
    StartupError::FailedMigration {
        name: file.name.to_owned(),
        reason,
    }
}

/// A command runs as it is given: the client's own write concern is not added to it.
fn with_concern(mut command: Document) -> Document {
    command.insert("writeConcern", doc! {"w": "majority"});
    command
}
