//! The forms in which connections get their messages.

/// The form in which a connection gets its messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// `tidegate.v1`: every message is an object with a `type`.
    Tidegate,
    /// `cloudevents.json`: bare CloudEvents and nothing else.
    CloudEvents,
    /// Server-sent events: the messages of `tidegate.v1` as the events of an HTTP answer.
    Sse,
}

impl Dialect {
    /// The number of dialects; [`Dialect::index`] is below it.
    pub const COUNT: usize = Self::ALL.len();

    /// All dialects.
    pub const ALL: [Self; 3] = [Self::Tidegate, Self::CloudEvents, Self::Sse];

    /// Returns an index into tables by dialect.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it has messages about the connection. Bare CloudEvents have no room for them.
    pub const fn has_messages(self) -> bool {
        !matches!(self, Self::CloudEvents)
    }

    /// Returns the name, which on a socket is its `Sec-WebSocket-Protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate.v1",
            Self::CloudEvents => "cloudevents.json",
            Self::Sse => "sse",
        }
    }

    /// Returns the dialect of a subprotocol.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Tidegate, Self::CloudEvents]
            .into_iter()
            .find(|d| d.name() == name)
    }
}
