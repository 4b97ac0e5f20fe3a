//! Applying migrations: the commands of one file, which can be repeated, and the mending of differences.

use bson::{Bson, Document, doc};

use super::{
    Difference,
    actual::ActualCollection,
    files::{FILES, Migration},
    ownership::Ownership,
};
use crate::store::{ForeignCollection, StartupError, Store, StoreError, client::error};

const NAMESPACE_EXISTS: i32 = 48;

impl Store {
    /// Runs the commands in order. They may take long (an index over many events), so they have no deadline: the
    /// lease that is held meanwhile and the database's availability bound them. `ownership` tells the names
    /// that were free so far.
    pub(super) async fn apply(
        &self,
        file: &Migration,
        ownership: &Ownership,
    ) -> Result<(), StoreError> {
        let commands = file
            .commands()
            .map_err(|reason| failed(file.name, reason))?;
        for command in commands {
            let done = self.apply_command(command, ownership).await;
            done.map_err(|error| self.explain(file.name, error))?;
        }
        Ok(())
    }

    /// Mends the differences. Fails if some cannot be mended. On a `new` database, missing collections are created
    /// for the first time, which is not logged.
    pub(super) async fn mend(
        &self,
        differences: &[Difference],
        new: bool,
    ) -> Result<(), StoreError> {
        let mut left = Vec::new();
        for difference in differences {
            let Some(command) = difference.remedy() else {
                let advice = difference.advice().unwrap_or_default();
                left.push(format!("{difference}: {advice}"));
                continue;
            };
            let what = difference.to_string();
            let done = self.apply_command(command, &Ownership::default()).await;
            done.map_err(|error| self.explain(&what, error))?;
            if !(new && difference.is_absence()) {
                tracing::info!(what, "mended");
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(StartupError::Unmendable { differences: left }.into())
    }

    fn explain(&self, what: &str, error: StoreError) -> StoreError {
        match error {
            away if away.is_unavailable() => away,
            forbidden @ StoreError::NotPermitted { .. } => self.missing_right(forbidden),
            StoreError::Duplicate => failed(what, TWICE.to_owned()).into(),
            StoreError::Other(error) => failed(what, error::message(&error)).into(),
            told @ StoreError::Startup(_) => told,
            error => failed(what, error.to_string()).into(),
        }
    }

    /// Turns a missing right into an error of start-up.
    pub(super) fn missing_right(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::NotPermitted { detail, .. } => {
                let database = self.database_name().to_owned();
                StartupError::MissingRight { database, detail }.into()
            }
            other => other,
        }
    }

    /// Runs one command. A `create` of an existing collection becomes a `collMod` to the same options. A `create`
    /// that succeeds proves nothing: it also does if another program created the same a moment ago.
    async fn apply_command(
        &self,
        mut command: Document,
        ownership: &Ownership,
    ) -> Result<(), StoreError> {
        let answer = self.command(command.clone()).await;
        let exists = matches!(&answer, Err(StoreError::Other(error))
            if error::code(error) == Some(NAMESPACE_EXISTS));
        if !exists {
            answer?;
        }
        let Some(Bson::String(collection)) = command.remove("create") else {
            return Ok(());
        };
        let fresh = ownership.is_fresh(&collection);
        if fresh && !exists && !command.is_empty() {
            return self
                .take(&collection, &ActualCollection::default(), ownership)
                .await;
        }
        let before = if fresh {
            Some(self.still_free(&collection, ownership).await?)
        } else {
            None
        };
        if !exists || command.is_empty() {
            return Ok(());
        }
        let mut change = doc! {"collMod": &collection};
        change.extend(command);
        self.command(change).await?;
        if let Some(before) = before {
            self.take(&collection, &before, ownership).await?;
        }
        Ok(())
    }

    async fn command(&self, command: Document) -> Result<(), StoreError> {
        let run = self.database().run_command(with_concern(command));
        self.without_deadline(run).await.map(drop)
    }

    /// Checks a collection of others once more, at the last moment.
    async fn still_free(
        &self,
        collection: &str,
        ownership: &Ownership,
    ) -> Result<ActualCollection, StoreError> {
        let found = self
            .actual_collections()
            .await?
            .remove(collection)
            .unwrap_or_default();
        let reason = match found.unusable() {
            Some(reason) => reason,
            None if self.has_document(collection, doc! {}).await? => FILLED,
            None => return Ok(found),
        };
        Err(self.refuse(collection, reason, ownership).await?)
    }

    /// Takes the collection, unless documents came in since the last check: nothing has validated them. Then the
    /// collection is not ours, and gets its options back. From now on our validator checks new documents.
    async fn take(
        &self,
        collection: &str,
        before: &ActualCollection,
        ownership: &Ownership,
    ) -> Result<(), StoreError> {
        if !self.has_document(collection, doc! {}).await? {
            return Ok(());
        }
        let mut change = doc! {
            "collMod": collection,
            "validator": {},
            "validationLevel": "strict",
            "validationAction": "error",
            "changeStreamPreAndPostImages": {"enabled": false},
        };
        let options = before.options.clone().into_iter();
        change.extend(
            options
                .filter(|(option, _)| option.starts_with("valid") || option.starts_with("change")),
        );
        self.command(change).await?;
        Err(self.refuse(collection, FILLED, ownership).await?)
    }

    /// Gives back this collection and those not created yet: a program that fills one of them must not find it
    /// taken at the next start.
    async fn refuse(
        &self,
        collection: &str,
        reason: &str,
        ownership: &Ownership,
    ) -> Result<StoreError, StoreError> {
        let all = made_in_order().map_err(|reason| failed(collection, reason))?;
        let left = all.iter().skip_while(|name| *name != collection);
        let left: Vec<_> = left
            .filter(|name| ownership.unclaimed.contains(name.as_str()))
            .collect();
        self.give_back(&left).await?;
        let foreign = ForeignCollection {
            collection: collection.to_owned(),
            reason: reason.to_owned(),
            adoptable: reason == FILLED,
        };
        Ok(StartupError::NotOurs {
            database: self.database_name().to_owned(),
            foreign: vec![foreign],
            begun: true,
        }
        .into())
    }
}

/// Lists the collections in the order in which the files create them.
fn made_in_order() -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for file in FILES {
        for command in file.commands()? {
            names.extend(command.get_str("create").ok().map(str::to_owned));
        }
    }
    Ok(names)
}

const FILLED: &str = "has documents (inserted while the service was claiming it)";
const TWICE: &str = "some documents are equal in its fields; remove the duplicates";

fn failed(what: &str, reason: String) -> StartupError {
    StartupError::FailedMigration {
        name: what.to_owned(),
        reason,
    }
}

/// Adds a write concern to a command, which does not get the client's own. Neither the command nor the record
/// of it waits for the majority: the end of the lease does, once for all before it. If an election takes
/// something away all the same, the check after the last command finds it missing, or the next start.
fn with_concern(mut command: Document) -> Document {
    command.insert("writeConcern", doc! {"w": 1});
    command
}
