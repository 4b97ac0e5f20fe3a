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
    /// `tidegate.many.v1`: every message is an object with a `type`, and names the handles that it is for.
    Many,
    /// Server-sent events: the messages of `tidegate.many.v1` as the events of an HTTP answer.
    SseMany,
}

impl Dialect {
    /// The number of encodings of an event; [`Dialect::index`] is below it.
    pub const COUNT: usize = Self::OF_ONE.len() + 1;

    /// The dialects of a session with one channel.
    pub const OF_ONE: [Self; 3] = [Self::Tidegate, Self::CloudEvents, Self::Sse];

    /// Returns an index into tables by encoding. Those of many subscriptions share the greater part of a message.
    pub const fn index(self) -> usize {
        match self {
            Self::Tidegate => 0,
            Self::CloudEvents => 1,
            Self::Sse => 2,
            Self::Many | Self::SseMany => 3,
        }
    }

    /// Whether a session of this dialect may have many channels, which its messages name by their handles.
    pub const fn is_of_many(self) -> bool {
        matches!(self, Self::Many | Self::SseMany)
    }

    /// Whether its messages are server-sent events.
    pub const fn is_sse(self) -> bool {
        matches!(self, Self::Sse | Self::SseMany)
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
            Self::Many => "tidegate.many.v1",
            Self::SseMany => "sse.many",
        }
    }

    /// Returns the dialect of a subprotocol on the socket of one subscription.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Tidegate, Self::CloudEvents]
            .into_iter()
            .find(|d| d.name() == name)
    }
}
