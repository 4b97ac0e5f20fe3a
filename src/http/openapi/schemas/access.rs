//! The schemas of callers, keys, policies and the audit.

use serde_json::{Map, Value, json};

use super::{exactly, list, time_or_null};
use crate::{
    access::{MOST_CLAIMS, Quota, Scope},
    http::edge::ticket::MOST_SUBSCRIPTIONS,
};

/// Returns the schemas, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all = keys();
    all.extend(policies());
    all.extend(of_revocations());
    all.extend(audit());
    all.extend(tickets());
    all
}

fn audit() -> Vec<(&'static str, Value)> {
    let text_or_null = || json!({"type": ["string", "null"]});
    let actor = json!({
        "kind": {"type": "string", "description": "As in `GET /whoami`, or `operator`: someone who can write to the database."},
        "id": text_or_null(),
        "tenant": text_or_null(),
        "remote": {"type": ["string", "null"], "description": "The client's address."},
    });
    let entry = json!({
        "id": {"type": "string"},
        "at": time_or_null(),
        "act": {"type": "string", "description": "What was done, such as `key.create`."},
        "actor": exactly("Who did it.", actor),
        "target": {"type": "string", "description": "The id of what it was done to."},
        "tenant": {"type": ["string", "null"], "description": "Whose that is; null: the operators'."},
        "outcome": {"type": "string"},
        "request": {"type": ["string", "null"], "description": "The `X-Request-Id`."},
        "changed": list(json!({"type": "string"})),
    });
    let page = json!({
        "items": list(json!({"$ref": "#/components/schemas/AuditEntry"})),
        "nextCursor": text_or_null(),
    });
    vec![
        (
            "AuditEntry",
            exactly("An act. `changed` names the fields that it set.", entry),
        ),
        ("AuditPage", exactly("", page)),
    ]
}

fn tickets() -> Vec<(&'static str, Value)> {
    let id = || json!({"type": "string"});
    let many =
        json!({"type": "array", "minItems": 1, "maxItems": MOST_SUBSCRIPTIONS, "items": id()});
    let asked = json!({
        "subscription": id(),
        "subscriptions": many,
    });
    let one_of = [
        json!({"required": ["subscription"]}),
        json!({"required": ["subscriptions"]}),
    ];
    vec![
        (
            "NewTicket",
            json!({"type": "object", "properties": asked, "oneOf": one_of, "additionalProperties": false}),
        ),
        (
            "Ticket",
            exactly(
                "A ticket. Its text is shown this once.",
                json!({
                    "ticket": {"type": "string", "pattern": "^tgt_[0-9A-Za-z]{38}$"},
                    "url": {"type": "string", "description": "The path and the query of the stream; for a list of subscriptions, of the socket for many."},
                    "expiresAt": {"type": "string", "format": "date-time"},
                }),
            ),
        ),
    ]
}

/// The fields of a policy that may be left out.
const OPTIONAL: [(&str, &str); 3] = [
    (
        "publish",
        "What a caller may publish, as it will be stored. Without it, `read` judges.",
    ),
    (
        "stamp",
        "Fields that a published event gets if it has none; another value is refused.",
    ),
    ("sources", "`read` for each source of live queries."),
];

fn policies() -> Vec<(&'static str, Value)> {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let place = || {
        let fields = json!({"pointer": {"type": "string"}, "detail": {"type": "string"}});
        exactly("", fields)
    };
    let read = "What a caller receives matches this: a query in which `\"$claims.NAME\"` stands for the value of a claim.";
    let mut given = json!({
        "read": {"type": "object", "description": read},
        "id": {"type": "string", "description": "May repeat the name in the path."},
    });
    // Other programs may store values of any type. The policy is then of no use, and shown as it is.
    let mut shown = json!({"id": {"type": "string"}, "read": {"description": read}});
    for (field, description) in OPTIONAL {
        given[field] = json!({"type": "object", "description": description});
        shown[field] = json!({"description": description});
    }
    let of_settings = "Quotas of the caller's tenant, in place of the settings'.";
    given["quotas"] = quotas("object".into(), of_settings);
    shown["quotas"] = json!({"description": of_settings});
    for field in ["warnings", "error"] {
        given[field] = json!({"readOnly": true, "description": "Ignored."});
    }
    shown["warnings"] = list(place());
    shown["error"] = place();
    let trial = json!({
        "claims": {"type": "object", "description": "The caller's claims, with its `tenant`."},
        "event": {"type": "object", "description": "The event as it would be stored."},
        "filter": reference("Filter"),
        "source": {"type": "string", "description": "A source of live queries."},
    });
    let tried = json!({
        "matches": {"type": "boolean"},
        "policy": exactly("The policy's verdict, and its parts.", json!({"holds": {"type": "boolean"}, "explain": reference("Explanation")})),
        "explain": reference("Explanation"),
        "query": {"type": "object", "description": "The policy's query with the claims in it."},
        "unsatisfied": {"type": "object", "description": "The `claim` that the policy needs, or the `source` that it has no entry for: nothing matches.",
            "properties": {"claim": {"type": "string"}, "source": {"type": "string"}}, "additionalProperties": false},
        "error": place(),
    });
    vec![
        (
            "Policy",
            json!({"type": "object", "properties": shown, "required": ["id", "warnings"],
                "description": "A row policy. `warnings` say what is perhaps not meant. With `error` it is of no use: it grants nothing."}),
        ),
        (
            "PolicyPage",
            exactly(
                "",
                json!({"items": list(reference("Policy")), "nextCursor": {"type": ["string", "null"]}}),
            ),
        ),
        (
            "PolicyInput",
            json!({"type": "object", "properties": given, "required": ["read"], "additionalProperties": false}),
        ),
        (
            "PolicyTrial",
            json!({"type": "object", "properties": trial, "required": ["claims", "event"], "additionalProperties": false}),
        ),
        (
            "PolicyMatch",
            json!({"type": "object", "properties": tried, "required": ["matches"], "additionalProperties": false}),
        ),
    ]
}

/// Returns the schema of quotas. 0 is none.
fn quotas(kind: Value, description: &str) -> Value {
    let all = Quota::ALL.into_iter().map(|quota| {
        let number = json!({"type": "integer", "minimum": 0, "maximum": quota.most()});
        (quota.name().to_owned(), number)
    });
    let properties: Map<String, Value> = all.collect();
    json!({"type": kind, "description": description, "properties": properties, "additionalProperties": false})
}

fn keys() -> Vec<(&'static str, Value)> {
    let text_or_null = || json!({"type": ["string", "null"]});
    let texts = || json!({"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 100});
    let scopes = || list(json!({"enum": Scope::ALL.map(Scope::as_str)}));
    let limits = || {
        quotas(
            json!(["object", "null"]),
            "Bounds on this key, besides those on its tenant.",
        )
    };
    let claims = || json!({"type": ["object", "null"], "maxProperties": MOST_CLAIMS, "description": "Values that policies name: strings, numbers, booleans, and lists of them."});
    let shown = json!({
        "id": {"type": "string"},
        "prefix": {"type": ["string", "null"], "description": "The beginning of its text; null for a certificate's key."},
        "certificate": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$", "description": "The SHA-256 of the client certificate that it is for."},
        "name": text_or_null(),
        "scopes": scopes(),
        "tenant": text_or_null(),
        "policy": text_or_null(),
        "claims": claims(),
        "networks": texts(),
        "origins": texts(),
        "subscriptions": texts(),
        "limits": {"description": "The key's own limits, by quota."},
        "expiresAt": time_or_null(),
        "createdAt": time_or_null(),
        "createdBy": text_or_null(),
        "lastUsedAt": {"type": ["string", "null"], "format": "date-time", "description": "Its last use, to within about ten minutes; null if there was none for a year."},
    });
    let mut made = shown.clone();
    made["key"] = json!({"type": ["string", "null"], "description": "The key. It is not stored: keep it now. Null for a certificate's."});
    let change = json!({
        "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
        "networks": texts(),
        "origins": texts(),
        "subscriptions": texts(),
        "limits": limits(),
        "expiresAt": time_or_null(),
    });
    let mut new = change.clone();
    new["scopes"] = scopes();
    new["tenant"] =
        json!({"type": ["string", "null"], "minLength": 1, "maxLength": 200, "pattern": "^[^:]+$"});
    new["policy"] = json!({"type": ["string", "null"], "minLength": 1, "maxLength": 200});
    new["claims"] = claims();
    new["certificate"] = json!({"type": ["string", "null"], "pattern": "^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$",
        "description": "The SHA-256 of a client certificate (DER), in hex."});
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
