//! The reasons for which sessions and channels end.

/// The reason why a session or a channel ended. The token serves the `ended` frame, the close text and the metric.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// The client closed the socket in order.
    ClientLeft,
    /// This node stops.
    Shutdown,
    /// The client broke RFC 6455.
    ProtocolError,
    /// The client sent a binary message.
    Binary,
    /// The client sent text that is not UTF-8.
    NotUtf8,
    /// The client sent a message over the limit.
    TooBig,
    /// The socket broke; nothing could be said.
    ConnectionLost,
    /// A fault of ours in this connection.
    InternalError,
    /// This node cannot serve the connection now.
    Overloaded,
    /// The outbox was full while the socket refused bytes.
    SlowConsumer,
    /// No sign of life in time.
    HeartbeatMissed,
    /// Events are missing and the client asked to be closed then.
    Resync,
    /// The subscription was deleted.
    Deleted,
    /// The subscription was deleted after its `expiresAt`.
    Expired,
    /// The client wants no more of it.
    Unsubscribed,
    /// The credential ran out.
    CredentialExpired,
    /// The credential does not allow this.
    Forbidden,
    /// The client sent a message that cannot be understood.
    BadMessage,
}

impl Ending {
    /// All endings.
    pub const ALL: [Self; 18] = [
        Self::ClientLeft,
        Self::Shutdown,
        Self::ProtocolError,
        Self::Binary,
        Self::NotUtf8,
        Self::TooBig,
        Self::ConnectionLost,
        Self::InternalError,
        Self::Overloaded,
        Self::SlowConsumer,
        Self::HeartbeatMissed,
        Self::Resync,
        Self::Deleted,
        Self::Expired,
        Self::Unsubscribed,
        Self::CredentialExpired,
        Self::Forbidden,
        Self::BadMessage,
    ];

    /// Returns close code, token, whether a client should try again, whose end it can be, and what the client still gets
    /// before its last words. This is the one table of endings.
    const fn row(self) -> (u16, &'static str, bool, Whose, Rest) {
        use Rest::{Nothing, Queue, Replay};
        use Whose::{Channel, Either, Session};
        match self {
            Self::ClientLeft => (1000, "client_left", false, Session, Nothing),
            Self::Shutdown => (1001, "shutdown", true, Session, Queue),
            Self::ProtocolError => (1002, "protocol_error", false, Session, Nothing),
            Self::Binary => (1003, "binary", false, Session, Nothing),
            Self::ConnectionLost => (1006, "connection_lost", true, Session, Nothing),
            Self::NotUtf8 => (1007, "not_utf8", false, Session, Nothing),
            Self::TooBig => (1009, "too_big", false, Session, Nothing),
            Self::InternalError => (1011, "internal_error", true, Session, Nothing),
            Self::Overloaded => (1013, "overloaded", true, Either, Nothing),
            Self::SlowConsumer => (4000, "slow_consumer", true, Either, Nothing),
            Self::HeartbeatMissed => (4001, "heartbeat_missed", true, Session, Nothing),
            Self::Resync => (4002, "resync", true, Channel, Queue),
            Self::Deleted => (4500, "deleted", false, Channel, Replay),
            Self::Expired => (4501, "expired", false, Channel, Replay),
            Self::Unsubscribed => (4502, "unsubscribed", false, Channel, Queue),
            Self::CredentialExpired => (4510, "credential_expired", false, Session, Queue),
            Self::Forbidden => (4511, "forbidden", false, Either, Nothing),
            Self::BadMessage => (4520, "bad_message", false, Session, Nothing),
        }
    }

    /// Returns the WebSocket close code (RFC 6455, section 7.4).
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// Returns the stable name.
    pub const fn token(self) -> &'static str {
        self.row().1
    }

    /// Whether the same request may succeed later.
    pub const fn retry(self) -> bool {
        self.row().2
    }

    /// Returns whose end it can be. A session that closes with its only channel ends by that channel's endings too.
    pub const fn whose(self) -> Whose {
        self.row().3
    }

    /// Whether the client still gets what waits. It does not if it is gone, broke the rules, cannot keep up, or may
    /// not see it any more.
    pub const fn drains(self) -> bool {
        !matches!(self.row().4, Rest::Nothing)
    }

    /// Whether a session that ends so goes on with its replay up to the end first: the subscription ended, and the client
    /// is to hear everything before that.
    pub const fn waits_for_replay(self) -> bool {
        matches!(self.row().4, Rest::Replay)
    }

    /// Whether a channel that ends so, and lets others go on, goes no further with its replay.
    pub const fn cuts_replay(self) -> bool {
        !matches!(self.row().4, Rest::Replay) && !matches!(self, Self::Resync)
    }

    /// Returns the ending of a close code, as a client reads it.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.code() == code)
    }
}

/// The part of what is on its way that a client still gets before its last words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    /// No more than the message that was begun.
    Nothing,
    /// The entries that wait in the outbox too.
    Queue,
    /// The rest of a replay besides, up to the end.
    Replay,
}

/// The thing that an ending can end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Whose {
    /// A session: one client on one socket or answer, with all its channels.
    Session,
    /// A channel: one subscription on a session.
    Channel,
    /// A session, or a channel alone.
    Either,
}

impl Whose {
    /// Whether it can be a session's end.
    pub const fn is_of_sessions(self) -> bool {
        !matches!(self, Self::Channel)
    }

    /// Whether it can be the end of a channel alone.
    pub const fn is_of_channels(self) -> bool {
        !matches!(self, Self::Session)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_and_tokens_are_unique_and_agree_on_retry() {
        for ending in Ending::ALL {
            let same_code = Ending::ALL
                .iter()
                .filter(|e| e.code() == ending.code())
                .count();
            let same_token = Ending::ALL
                .iter()
                .filter(|e| e.token() == ending.token())
                .count();
            assert_eq!((same_code, same_token), (1, 1), "{ending:?}");
            match ending.code() {
                4000..=4499 => assert!(ending.retry(), "{ending:?}"),
                4500..=4999 => assert!(!ending.retry(), "{ending:?}"),
                _ => {}
            }
        }
    }

    #[test]
    fn each_ending_is_a_session_s_a_channel_s_or_either_s() {
        use Ending::{
            BadMessage, Binary, ClientLeft, ConnectionLost, CredentialExpired, Deleted, Expired,
            Forbidden, HeartbeatMissed, InternalError, NotUtf8, Overloaded, ProtocolError, Resync,
            Shutdown, SlowConsumer, TooBig, Unsubscribed,
        };
        let of = |whose| -> Vec<Ending> {
            let all = Ending::ALL.into_iter();
            all.filter(|ending| ending.whose() == whose).collect()
        };
        let of_channels = [Resync, Deleted, Expired, Unsubscribed];
        let of_either = [Overloaded, SlowConsumer, Forbidden];
        let of_sessions = [
            ClientLeft,
            Shutdown,
            ProtocolError,
            Binary,
            NotUtf8,
            TooBig,
            ConnectionLost,
            InternalError,
            HeartbeatMissed,
            CredentialExpired,
            BadMessage,
        ];
        assert_eq!(of(Whose::Channel), of_channels);
        assert_eq!(of(Whose::Either), of_either);
        assert_eq!(of(Whose::Session), of_sessions);
        let drains = Ending::ALL.into_iter().filter(|ending| ending.drains());
        let expected = [
            Shutdown,
            Resync,
            Deleted,
            Expired,
            Unsubscribed,
            CredentialExpired,
        ];
        assert_eq!(drains.collect::<Vec<_>>(), expected);
        let waits = Ending::ALL.into_iter().filter(|e| e.waits_for_replay());
        assert_eq!(waits.collect::<Vec<_>>(), [Deleted, Expired]);
    }

    #[test]
    fn the_pages_have_every_ending_and_no_other() {
        let page = include_str!("../../docs/http.md");
        let mut listed = BTreeSet::new();
        for row in page.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            for pair in cells.windows(2) {
                let code = pair[0].parse::<u16>().ok().filter(|code| *code >= 1000);
                let token = pair[1].split('`').nth(1);
                listed.extend(code.zip(token));
            }
        }
        let endings = Ending::ALL.map(|ending| (ending.code(), ending.token()));
        assert_eq!(listed, endings.into());
        let help = include_str!("../../docs/troubleshooting.md");
        for (code, token) in endings {
            assert!(help.contains(&format!("`{token}`")), "{code} {token}");
        }
    }
}
