//! What the service sends, as far as this client looks at it.

use std::time::Duration;

use serde_json::Value;

/// One frame of `tidegate.v1`. What is not known of it is left alone.
pub(super) struct Frame(Value);

impl Frame {
    /// Reads a message; `None` where it is no frame.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        value["type"].is_string().then_some(Self(value))
    }

    /// Its `type`.
    pub(super) fn kind(&self) -> &str {
        self.text("type")
    }

    pub(super) fn is_event(&self) -> bool {
        self.kind() == "event"
    }

    /// Where a client stands that has handled it.
    pub(super) fn cursor(&self) -> Option<String> {
        self.0["cursor"].as_str().map(str::to_owned)
    }

    /// How long the service wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.0["retryAfterMs"].as_u64().map(Duration::from_millis)
    }

    /// A text field; empty where it is missing.
    pub(super) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or("")
    }

    /// A field.
    pub(super) fn field(&self, field: &str) -> &Value {
        &self.0[field]
    }
}
