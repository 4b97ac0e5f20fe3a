//! The bodies of the examples.

use serde_json::{Value, json};

/// Returns the subscription of the examples.
pub(super) fn demo() -> Value {
    json!({"name": "large transfers", "filter": {"type": "demo", "data.amount": {"$gte": 1000}}})
}

/// Returns an event that matches it.
pub(super) fn demo_event() -> Value {
    json!({"type": "demo", "data": {"amount": 2500}})
}

/// Returns the same event with every attribute that a `CloudEvent` must have.
pub(super) fn full_event() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/bank", "type": "demo", "data": {"amount": 2500}})
}

/// Returns the policy of the examples.
pub(super) fn demo_policy() -> Value {
    json!({"read": {"tenant": "$claims.tenant"}, "stamp": {"tenant": "$claims.tenant"}})
}

/// Returns an event within it.
pub(super) fn tenants_event() -> Value {
    json!({"type": "demo", "tenant": "acme", "data": {"amount": 2500}})
}
