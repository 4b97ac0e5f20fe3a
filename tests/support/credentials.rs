//! Credentials for suites that know nothing of them.
//!
//! With `TEST_TIDEGATE_AUTH=required` every node of a test that says nothing of `auth` asks for credentials, and the
//! clients in this folder present an administrator's key. A test of what is so without credentials alone
//! [leaves](leave_open) its nodes open.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
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
    /// Databases whose nodes ask for none.
    open: HashSet<String>,
}

/// Has nodes on the database of these settings ask for no credentials, unless their settings say so.
pub(crate) fn leave_open(config: &Config) {
    KEYS.lock().unwrap().open.insert(config.database.clone());
}

/// Makes the node of these settings ask for credentials, if the tests run with them.
pub(crate) fn require(config: &mut Config) -> bool {
    let required = env::var("TEST_TIDEGATE_AUTH").is_ok_and(|value| value == "required");
    let keys = KEYS.lock().unwrap();
    let silent = config.auth == Auth::None && !keys.open.contains(&config.database);
    if required && silent {
        config.auth = Auth::Required;
    }
    required && silent || keys.of_databases.contains_key(&config.database)
}

/// Returns the key for a node, if it was [made](make).
pub(crate) fn key_for(node: SocketAddr) -> Option<String> {
    KEYS.lock().unwrap().of_nodes.get(&node).cloned()
}

/// Adds the credential for a node to the head of a request, if there is one and the request has none.
pub(crate) fn with_credential(node: SocketAddr, request: &[u8]) -> Cow<'_, [u8]> {
    const NAME: &[u8] = b"authorization:";
    let line_end = request.windows(2).position(|two| two == b"\r\n");
    let (Some(key), Some(line_end)) = (key_for(node), line_end) else {
        return request.into();
    };
    let (line, rest) = request.split_at(line_end + 2);
    let has_one = rest
        .windows(NAME.len())
        .any(|part| part.eq_ignore_ascii_case(NAME));
    if has_one || !line.windows(8).any(|part| part == b" HTTP/1.") {
        return request.into();
    }
    let header = format!("authorization: Bearer {key}\r\n");
    [line, header.as_bytes(), rest].concat().into()
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
