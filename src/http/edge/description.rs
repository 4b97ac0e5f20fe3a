//! The description of all calls, made when it is first asked for.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use serde_json::Value;

type Make = Box<dyn FnOnce() -> Value + Send>;

/// The `OpenAPI` document of this node. Clones share it.
#[derive(Clone)]
pub(crate) struct Description(Arc<LazyLock<Value, Make>>);

impl Description {
    /// Returns a description that `make` will write.
    pub(crate) fn new(make: impl FnOnce() -> Value + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(make))))
    }

    pub(crate) fn document(&self) -> &Value {
        &self.0
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Description")
    }
}
