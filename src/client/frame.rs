//! A frame of the service, as far as this client looks at it.

use std::time::Duration;

use serde_json::Value;

/// One frame of `tidegate.v1`. Types and fields that are not known are left alone.
#[derive(Debug)]
pub(crate) struct Frame {
    text: String,
    value: Value,
}

impl Frame {
    /// Reads a message; `None` where it is no frame.
    pub(crate) fn parse(text: String) -> Option<Self> {
        let value: Value = serde_json::from_str(&text).ok()?;
        value["type"].is_string().then_some(Self { text, value })
    }

    /// Returns the frame as it came.
    pub(crate) fn as_text(&self) -> &str {
        &self.text
    }

    /// Returns the frame's `type`.
    pub(crate) fn kind(&self) -> &str {
        self.text("type")
    }

    pub(crate) fn is_event(&self) -> bool {
        self.kind() == "event"
    }

    /// Returns the cursor of a client that has handled this frame.
    pub(crate) fn cursor(&self) -> Option<String> {
        self.value["cursor"].as_str().map(str::to_owned)
    }

    /// Returns the time that the service asks to wait before the next connection.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.value["retryAfterMs"]
            .as_u64()
            .map(Duration::from_millis)
    }

    /// Returns a text field; empty where it is missing.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or("")
    }

    /// Returns a field; null where it is missing.
    pub(crate) fn field(&self, field: &str) -> &Value {
        &self.value[field]
    }
}
