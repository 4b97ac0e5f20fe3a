//! Running the commands of one migration so that running them again changes nothing, and mending what
//! differs.

use bson::{Bson, Document, doc};

use super::{
    Difference,
    files::{FILES, Migration},
    found::Found,
    ours::Look,
};
use crate::store::{Foreign, StartupError, Store, StoreError, client::error};

const NAMESPACE_EXISTS: i32 = 48;

impl Store {
    /// Runs the commands, in order. They may take long (an index over many events), so they are
    /// bounded by the lease that is held meanwhile and by the database's presence, not by a time.
    /// `look` says what was nobody's so far.
    pub(super) async fn apply(&self, file: &Migration, look: &Look) -> Result<(), StoreError> {
        let commands = file
            .commands()
            .map_err(|reason| failed(file.name, reason))?;
        for command in commands {
            let done = self.apply_command(command, look).await;
            done.map_err(|error| self.explain(file.name, error))?;
        }
        Ok(())
    }

    /// Mends what can be mended; what cannot is told. On a database that is `new`, what is missing is made for the
    /// first time.
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
            let done = self.apply_command(command, &Look::default()).await;
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

    /// A right that is missing, in the words of start-up.
    pub(super) fn missing_right(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::NotPermitted { detail, .. } => {
                let database = self.database_name().to_owned();
                StartupError::MissingRight { database, detail }.into()
            }
            other => other,
        }
    }

    /// A `create` of what exists already becomes a `collMod` to the same options. That it succeeds says
    /// nothing: it does so too where another program made the same a moment ago.
    async fn apply_command(&self, mut command: Document, look: &Look) -> Result<(), StoreError> {
        let answer = self.command(command.clone()).await;
        let exists = matches!(&answer, Err(StoreError::Other(error))
            if error::code(error) == Some(NAMESPACE_EXISTS));
        if !exists {
            answer?;
        }
        let Some(Bson::String(collection)) = command.remove("create") else {
            return Ok(());
        };
        let fresh = look.is_fresh(&collection);
        if fresh && !exists && !command.is_empty() {
            return self.take(&collection, &Found::default(), look).await;
        }
        let before = if fresh {
            Some(self.still_free(&collection, look).await?)
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
            self.take(&collection, &before, look).await?;
        }
        Ok(())
    }

    async fn command(&self, command: Document) -> Result<(), StoreError> {
        let run = self.database().run_command(with_concern(command));
        self.without_deadline(run).await.map(drop)
    }

    /// Looks once more at a collection that others made, at the last moment.
    async fn still_free(&self, collection: &str, look: &Look) -> Result<Found, StoreError> {
        let found = self.found().await?.remove(collection).unwrap_or_default();
        let reason = match found.unusable() {
            Some(reason) => reason,
            None if self.has_document(collection, doc! {}).await? => FILLED,
            None => return Ok(found),
        };
        Err(self.refuse(collection, reason, look).await?)
    }

    /// What came in since the last look was checked by nobody: then the collection is not ours, and has
    /// its options back. What comes in from now on is checked by ours.
    async fn take(&self, collection: &str, before: &Found, look: &Look) -> Result<(), StoreError> {
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
        Err(self.refuse(collection, FILLED, look).await?)
    }

    /// Gives back what was claimed and is not made yet, this collection first of all: who fills one of
    /// those is not to find it taken at the next start.
    async fn refuse(
        &self,
        collection: &str,
        reason: &str,
        look: &Look,
    ) -> Result<StoreError, StoreError> {
        let all = made_in_order().map_err(|reason| failed(collection, reason))?;
        let left = all.iter().skip_while(|name| *name != collection);
        let left: Vec<_> = left
            .filter(|name| look.unclaimed.contains(name.as_str()))
            .collect();
        self.give_back(&left).await?;
        let foreign = Foreign {
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

/// The collections in the order in which the files make them.
fn made_in_order() -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for file in FILES {
        for command in file.commands()? {
            names.extend(command.get_str("create").ok().map(str::to_owned));
        }
    }
    Ok(names)
}

const FILLED: &str = "has documents (they came while it was being taken)";
const TWICE: &str =
    "there are documents that are equal in its fields; remove those that are too many";

fn failed(what: &str, reason: String) -> StartupError {
    StartupError::FailedMigration {
        name: what.to_owned(),
        reason,
    }
}

/// A command runs as it is given: the client's own write concern is not added to it. It does not wait for the
/// majority, nor does the note that it ran: the end of the lease does, once for all that lies before it. What
/// an election takes away all the same is found missing by the look behind the last command, or at the
/// next start.
fn with_concern(mut command: Document) -> Document {
    command.insert("writeConcern", doc! {"w": 1});
    command
}
