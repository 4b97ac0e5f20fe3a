//! The services that are compared, each in processes of its own: Tidegate and its peers.

pub(crate) mod credentials;
pub(crate) mod issuer;
pub(crate) mod nats;
pub(crate) mod nchan;
pub(crate) mod node;
mod process;
pub(crate) mod tidegate;

use ::tidegate::client::counting::now_micros;

/// Makes a message for a peer: this many bytes of JSON with the time.
fn message(bytes: usize) -> String {
    let head = format!("{{\"sent\":{},\"fill\":\"", now_micros());
    let fill = bytes.saturating_sub(head.len() + 2);
    head + &"x".repeat(fill) + "\"}"
}
