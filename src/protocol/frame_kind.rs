//! The part of a message that a frame holds.

/// The part of a message that a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// All of it, or of several.
    Whole,
    /// All but the head of a message of this `type`, which names the handles that it is for ([`Head`](super::Head)).
    Tail(&'static str),
}
