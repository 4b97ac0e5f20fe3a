//! Sockets that count their messages, and sample how long these took. Everything else is left out, so that one process
//! can hold ten thousand of them and still be faster than the service that it measures.

mod frames;
mod receiver;
mod samples;
mod socket;
mod subscribing;
mod tally;

pub use self::{
    receiver::Receiver,
    samples::{Samples, now_micros, sent_micros},
    socket::{SocketEnd, open, pump, write_text},
    subscribing::subscribe,
    tally::Tally,
};
