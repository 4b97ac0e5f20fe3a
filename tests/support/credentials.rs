//! Credentials for suites that know nothing of them.
//!
//! With `TEST_TIDEGATE_AUTH=required` every node of a test that says nothing of `auth` asks for credentials, and the
//! clients in this folder present an administrator's key.

use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    process::Command,
    sync::{LazyLock, Mutex},
};

use serde_json::Value;
use tidegate::config::{Auth, Config};

/// The key for each database, and for each address of a node.
static KEYS: LazyLock<Mutex<Keys>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Keys {
    of_databases: HashMap<String, String>,
    of_nodes: HashMap<SocketAddr, String>,
}

/// Makes the node of these settings ask for credentials, if the tests run with them.
pub(crate) fn require(config: &mut Config) -> bool {
    let required = env::var("TEST_TIDEGATE_AUTH").is_ok_and(|value| value == "required");
    let silent = config.auth == Auth::None;
    if required && silent {
        config.auth = Auth::Required;
    }
    required && silent
        || KEYS
            .lock()
            .unwrap()
            .of_databases
            .contains_key(&config.database)
}

/// Returns the key for a node, if it was [made](make).
pub(crate) fn key_for(node: SocketAddr) -> Option<String> {
    KEYS.lock().unwrap().of_nodes.get(&node).cloned()
}

/// Returns an administrator's key for the database of a node. An operator makes it: on the database.
pub(crate) fn make(node: SocketAddr, config: &Config) -> String {
    let known = KEYS
        .lock()
        .unwrap()
        .of_databases
        .get(&config.database)
        .cloned();
    let key = known.unwrap_or_else(|| admin_key(config));
    let mut keys = KEYS.lock().unwrap();
    keys.of_databases
        .insert(config.database.clone(), key.clone());
    keys.of_nodes.insert(node, key.clone());
    key
}

/// Makes an administrator's key as an operator does: on the database.
pub(crate) fn admin_key(config: &Config) -> String {
    // Examples take this folder too, and have no program.
    let Some(program) = option_env!("CARGO_BIN_EXE_tidegate") else {
        panic!("no program is built");
    };
    let mut command = Command::new(program);
    command
        .args(["key", "create", "--scope", "admin", "--json"])
        .args(["--database", &config.database])
        .env("TIDEGATE_MONGODB_URI", &config.mongodb_uri);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    made["key"].as_str().unwrap().to_owned()
}
