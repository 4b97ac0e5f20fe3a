//! The migration files in the binary.

use bson::{Bson, Document};
use sha2::{Digest as _, Sha256};

use crate::extjson::{parse_json, to_bson};

/// A migration file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    /// Its name without `.json`. Files are applied in the order of their names.
    pub(super) name: &'static str,
    /// Its content.
    pub(super) text: &'static str,
}

macro_rules! file {
    ($name:literal) => {
        Migration {
            name: $name,
            text: include_str!(concat!("../../../migrations/", $name, ".json")),
        }
    };
}

/// Every file in `migrations/`, in order.
pub(super) const FILES: &[Migration] = &[
    file!("0001_subscriptions"),
    file!("0002_events"),
    file!("0003_service"),
    file!("0004_positions"),
    file!("0005_access"),
    file!("0006_audit"),
    file!("0007_tickets"),
    file!("0008_uses"),
];

impl Migration {
    /// Returns the SHA-256 of the text, in hex. A line end counts as one character, whatever the checkout made of
    /// it.
    pub(super) fn checksum(&self) -> String {
        let digest = Sha256::digest(self.text.replace("\r\n", "\n"));
        data_encoding::HEXLOWER.encode(&digest)
    }

    /// Parses the commands: an array, or an object with `commands`.
    pub(super) fn commands(&self) -> Result<Vec<Document>, String> {
        let value = to_bson(parse_json(self.text.as_bytes())?, "#").map_err(|f| f.detail)?;
        let commands = match value {
            Bson::Document(mut file) => file.remove("commands"),
            other => Some(other),
        };
        let Some(Bson::Array(commands)) = commands else {
            return Err("neither an array nor an object with an array of \"commands\"".to_owned());
        };
        commands
            .into_iter()
            .map(|command| match command {
                Bson::Document(command) => Ok(command),
                other => Err(format!("not a command: {other}")),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_binary_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json").map(ToOwned::to_owned))
            .collect();
        names.sort();
        let embedded: Vec<_> = FILES.iter().map(|file| file.name).collect();
        assert_eq!(names, embedded);
    }

    #[test]
    fn names_are_numbered_without_holes() {
        for (index, file) in FILES.iter().enumerate() {
            let number = format!("{:04}_", index + 1);
            assert!(file.name.starts_with(&number), "{}", file.name);
        }
    }

    #[test]
    fn only_commands_that_may_be_repeated_are_used() {
        for file in FILES {
            for command in file.commands().unwrap() {
                let name = command.keys().next().unwrap();
                assert!(
                    ["create", "createIndexes", "collMod"].contains(&name.as_str()),
                    "{}: {name}",
                    file.name
                );
            }
        }
    }

    #[test]
    fn the_checksum_does_not_depend_on_line_ends() {
        let unix = Migration {
            name: "a",
            text: "[\n]\n",
        };
        let windows = Migration {
            name: "a",
            text: "[\r\n]\r\n",
        };
        assert_eq!(unix.checksum(), windows.checksum());
        assert_eq!(unix.commands(), Ok(vec![]));
    }
}
