//! The description of the messages (`GET /asyncapi.json`), to which every message is held that a test sees.
//!
//! It is read once a process, from the first node that there is, and compiled once. It is taken at its word: a field that
//! it does not name is a fault, though clients have to ignore those.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Once, OnceLock},
};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The beginning of a reference to a schema.
const SCHEMAS: &str = "#/components/schemas/";

/// The conversation that a message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Talk {
    /// About one subscription: `tidegate.v1`.
    One,
    /// About many: `tidegate.many.v1`.
    Many,
}

/// The side that a message comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    Service,
    Client,
}

/// The schemas of the messages of one side of a conversation, by `type`.
type Schemas = HashMap<String, Vec<Validator>>;

/// Those of one and of many, each of the service and of the client.
static DESCRIBED: OnceLock<[[Schemas; 2]; 2]> = OnceLock::new();

/// Reads the description from a node, if it is not known yet. Nothing is known as long as the node does not answer.
pub(crate) async fn learn(http: &reqwest::Client, base: &str) {
    if DESCRIBED.get().is_some() {
        return;
    }
    let answer = http
        .get(format!("{base}/api/v1/asyncapi.json"))
        .send()
        .await;
    let Ok(answer) = answer else { return };
    if !answer.status().is_success() {
        return;
    }
    let description: Value = answer.json().await.unwrap();
    let read = |channel: &str| ["send", "receive"].map(|side| schemas(&description, channel, side));
    // Another test may have been first.
    drop(DESCRIBED.set([read("one"), read("many")]));
}

/// The same from a node that is known by its address only, and speaks HTTP.
pub(crate) async fn learn_at(node: SocketAddr) {
    static PROVIDER: Once = Once::new();
    if DESCRIBED.get().is_none() {
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder().pool_max_idle_per_host(0);
        learn(&http.build().unwrap(), &format!("http://{node}")).await;
    }
}

/// Reads the schemas of one side of a channel.
fn schemas(description: &Value, channel: &str, side: &str) -> Schemas {
    let mut components = description["components"].clone();
    let messages = description["operations"][format!("{side}.{channel}")]["messages"].clone();
    let messages = messages.as_array().unwrap().iter();
    let names: Vec<_> = messages
        .map(|message| {
            message["$ref"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
        })
        .collect();
    for name in &names {
        components["schemas"][name]["additionalProperties"] = json!(false);
    }
    let mut schemas = Schemas::new();
    for name in &names {
        let message = &description["components"]["messages"][name];
        let payload = format!("{SCHEMAS}{name}");
        assert_eq!(message["payload"]["$ref"], payload, "{name}");
        let root = json!({"components": components, "$ref": payload});
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let kind = message["name"].as_str().unwrap().to_owned();
        let validator = options.build(&root).unwrap();
        schemas.entry(kind).or_default().push(validator);
    }
    assert!(schemas.len() >= 3, "{channel} {side}");
    schemas
}

/// Returns what is wrong with a message; `None` if it is as described.
pub(crate) fn fault(talk: Talk, from: From, message: &Value) -> Option<String> {
    let described = DESCRIBED.get().expect("a node has described the messages");
    let schemas = &described[talk as usize][from as usize];
    let kind = message["type"].as_str().unwrap_or_default();
    let Some(of_kind) = schemas.get(kind) else {
        return Some(format!(
            "no message of {talk:?} from {from:?} is described: {message}"
        ));
    };
    if of_kind.iter().any(|schema| schema.is_valid(message)) {
        return None;
    }
    let faults = of_kind.iter().map(|schema| {
        let faults = schema.iter_errors(message).map(|fault| fault.to_string());
        faults.collect::<Vec<_>>().join("; ")
    });
    let faults = faults.collect::<Vec<_>>().join(", or ");
    Some(format!(
        "not as described for {talk:?} from {from:?}: {message}: {faults}"
    ))
}

/// Asserts that a message is described.
pub(crate) fn check(talk: Talk, from: From, message: &Value) {
    if let Some(fault) = fault(talk, from, message) {
        panic!("{fault}");
    }
}
