//! The protocol of a connection: its messages, and the one table of endings.
//!
//! This is text building without I/O. A frame is encoded once, and shared by every connection of its dialect that
//! gets it. A WebSocket header is part of the shared bytes: a server's frames are not masked, so they are the same
//! for all.

mod channel_id;
mod client_message;
mod dialect;
mod ending;
mod frame;
mod frame_kind;
mod gap;
mod head;
mod many_message;
mod message;

pub use self::{
    channel_id::ChannelId,
    client_message::{ClientMessage, Token},
    dialect::Dialect,
    ending::{Ending, Whose},
    frame::{Frame, Started},
    frame_kind::FrameKind,
    gap::GapReason,
    head::{Head, To},
    many_message::{Asked, ManyMessage, Wanted, usable_handle},
    message::Message,
};
