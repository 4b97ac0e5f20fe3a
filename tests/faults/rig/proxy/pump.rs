//! Moves bytes between two sockets, as the weather allows.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::{Flow, Weather};

const BUFFER_BYTES: usize = 32 * 1024;
/// The span for which a throttled direction gets its bytes at once.
const PORTION: Duration = Duration::from_millis(50);

/// Moves bytes both ways until both directions have ended, or one has broken.
pub(super) async fn both(
    caller: &mut TcpStream,
    target: &mut TcpStream,
    weather: watch::Receiver<Weather>,
    alias: Option<u8>,
) {
    let (from_caller, to_caller) = caller.split();
    let (from_target, to_target) = target.split();
    let up = Pump {
        weather: weather.clone(),
        flow: |weather| weather.up,
        aliasing: None,
    };
    let down = Pump {
        weather,
        flow: |weather| weather.down,
        aliasing: alias.map(Aliasing::new),
    };
    // An error means that one end is gone. The caller closes the other.
    drop(tokio::try_join!(
        up.run(from_caller, to_target),
        down.run(from_target, to_caller)
    ));
}

struct Pump {
    weather: watch::Receiver<Weather>,
    flow: fn(&Weather) -> Flow,
    aliasing: Option<Aliasing>,
}

impl Pump {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            self.until_passable().await;
            let wanted = match (self.flow)(&self.weather.borrow()) {
                Flow::Throttled(bytes_per_second) => portion(bytes_per_second),
                _ => BUFFER_BYTES,
            };
            let read = from.read(&mut buffer[..wanted]).await?;
            if read == 0 {
                self.until_passable().await;
                return to.shutdown().await;
            }
            let bytes = &mut buffer[..read];
            if let Some(aliasing) = &mut self.aliasing {
                aliasing.apply(bytes);
            }
            let flow = (self.flow)(&self.weather.borrow());
            match flow {
                Flow::Free => {}
                Flow::Delayed(delay) => sleep(delay).await,
                Flow::Throttled(_) => sleep(PORTION).await,
                Flow::Held => self.until_passable().await,
            }
            to.write_all(bytes).await?;
        }
    }

    async fn until_passable(&mut self) {
        let flow = self.flow;
        let passable = self.weather.wait_for(|weather| flow(weather) != Flow::Held);
        // Without a proxy nobody can hold anything.
        drop(passable.await);
    }
}

fn portion(bytes_per_second: u32) -> usize {
    let portions = 1_000 / PORTION.as_millis();
    let bytes = u128::from(bytes_per_second) / portions;
    usize::try_from(bytes).map_or(BUFFER_BYTES, |bytes| bytes.clamp(1, BUFFER_BYTES))
}

/// Replaces 127.0.0.1 with another address of the same length, wherever it stands.
struct Aliasing {
    octet: u8,
    /// The length of the part of [`PREFIX`] that the last bytes are.
    matched: usize,
}

const PREFIX: &[u8] = b"127.0.0.";

impl Aliasing {
    fn new(octet: u8) -> Self {
        assert!((2..=9).contains(&octet), "an address of the same length");
        Self { octet, matched: 0 }
    }

    /// Texts may be split anywhere between two calls.
    fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.matched == PREFIX.len() && *byte == b'1' {
                *byte = b'0' + self.octet;
                self.matched = 0;
            } else if PREFIX.get(self.matched) == Some(byte) {
                self.matched += 1;
            } else {
                self.matched = usize::from(*byte == PREFIX[0]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[&str], expected: &str) {
        let mut aliasing = Aliasing::new(5);
        let mut out = Vec::new();
        for part in parts {
            let mut bytes = part.as_bytes().to_vec();
            aliasing.apply(&mut bytes);
            out.extend(bytes);
        }
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn addresses_are_replaced_wherever_they_are_cut() {
        check(&["a127.0.0.1:5,127.0.0.1:6"], "a127.0.0.5:5,127.0.0.5:6");
        check(&["1127.0", ".0.", "1:5"], "1127.0.0.5:5");
        check(
            &["127.0.0.2 127.0.1.1 12127.0.0.1"],
            "127.0.0.2 127.0.1.1 12127.0.0.5",
        );
    }
}
