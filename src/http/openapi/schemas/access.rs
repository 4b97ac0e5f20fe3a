//! The schemas of callers and keys.

use serde_json::{Value, json};

use super::{exactly, list, time_or_null};
use crate::access::Scope;

/// Returns the schemas, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all = of_keys();
    all.extend(of_revocations());
    all
}

fn of_keys() -> Vec<(&'static str, Value)> {
    let text_or_null = || json!({"type": ["string", "null"]});
    let texts = || json!({"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 100});
    let scopes = || list(json!({"enum": Scope::ALL.map(Scope::as_str)}));
    let claims = || json!({"type": ["object", "null"], "description": "Values that policies name: strings, numbers, booleans, and lists of them."});
    let shown = json!({
        "id": {"type": "string"},
        "prefix": {"type": "string", "description": "The beginning of its text."},
        "name": text_or_null(),
        "scopes": scopes(),
        "tenant": text_or_null(),
        "policy": text_or_null(),
        "claims": claims(),
        "networks": texts(),
        "origins": texts(),
        "subscriptions": texts(),
        "expiresAt": time_or_null(),
        "createdAt": time_or_null(),
        "createdBy": text_or_null(),
    });
    let mut made = shown.clone();
    made["key"] =
        json!({"type": "string", "description": "The key. It is not stored: keep it now."});
    let change = json!({
        "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
        "networks": texts(),
        "origins": texts(),
        "subscriptions": texts(),
        "expiresAt": time_or_null(),
    });
    let mut new = change.clone();
    new["scopes"] = scopes();
    new["tenant"] =
        json!({"type": ["string", "null"], "minLength": 1, "maxLength": 200, "pattern": "^[^:]+$"});
    new["policy"] = json!({"type": ["string", "null"], "minLength": 1, "maxLength": 200});
    new["claims"] = claims();
    let page = json!({
        "items": list(json!({"$ref": "#/components/schemas/Key"})),
        "nextCursor": text_or_null(),
    });
    let caller = json!({
        "kind": {"enum": ["none", "key", "jwt"]},
        "id": text_or_null(),
        "owner": text_or_null(),
        "tenant": text_or_null(),
        "scopes": scopes(),
        "policy": text_or_null(),
        "expiresAt": time_or_null(),
    });
    vec![
        (
            "Caller",
            exactly(
                "Who the caller is. `policy` narrows what it sees. Without a `tenant` it is an operator.",
                caller,
            ),
        ),
        ("Key", exactly("An API key.", shown)),
        ("MadeKey", exactly("A key that was just made.", made)),
        ("KeyPage", exactly("", page)),
        (
            "NewKey",
            json!({"type": "object", "properties": new, "required": ["scopes"], "additionalProperties": false}),
        ),
        (
            "KeyChange",
            json!({"type": "object", "properties": change, "additionalProperties": false}),
        ),
    ]
}

fn of_revocations() -> Vec<(&'static str, Value)> {
    let mut new_revocation = json!({});
    for name in ["issuer", "jti", "sub", "kid", "tenant", "reason"] {
        new_revocation[name] =
            json!({"type": ["string", "null"], "minLength": 1, "maxLength": 255});
    }
    new_revocation["tenant"]["pattern"] = json!("^[^:]+$");
    new_revocation["issuedBefore"] = time_or_null();
    new_revocation["expiresAt"] = time_or_null();
    // Programs may have stored anything.
    let mut revocation = json!({"id": {"type": "string"}});
    for name in [
        "issuer",
        "jti",
        "sub",
        "kid",
        "tenant",
        "issuedBefore",
        "expiresAt",
        "reason",
        "createdAt",
        "createdBy",
    ] {
        revocation[name] = json!({});
    }
    let revocations = json!({
        "items": list(json!({"$ref": "#/components/schemas/Revocation"})),
        "nextCursor": json!({"type": ["string", "null"]}),
    });
    vec![
        (
            "Revocation",
            exactly(
                "Takes credentials away before their end: those that have all that it names.",
                revocation,
            ),
        ),
        ("RevocationPage", exactly("", revocations)),
        (
            "NewRevocation",
            json!({"type": "object", "properties": new_revocation, "additionalProperties": false}),
        ),
    ]
}
