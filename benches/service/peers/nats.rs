//! nats-server (Debian: `nats-server`), over its own protocol of lines and payloads with a length.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use tidegate::client::counting::{SocketEnd, Tally, now_micros, pump, sent_micros};

use super::{
    message,
    node::free_port,
    process::{Peer, program},
};
use crate::rig::{
    load::{CONNECTING, Load},
    pin,
    service::Service,
};

const CONFIGURATION: &str = "benches/peers/nats/nats-server.conf";
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
/// The bytes of `MSG b 1 400\r\n`, and of the line break behind the payload.
const OVERHEAD_BYTES: usize = 15;

pub(crate) struct Nats {
    peer: Peer,
    publisher: TcpStream,
    payload: usize,
}

impl Nats {
    /// Starts a server; `None` where it is not installed.
    pub(crate) async fn start() -> Result<Option<Self>> {
        let Some(server) = program("nats-server") else {
            return Ok(None);
        };
        let port = free_port()?;
        let configuration = format!("{}/{CONFIGURATION}", env!("CARGO_MANIFEST_DIR"));
        let mut command = pin::server(&server);
        command.args([
            "-a",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-c",
            &configuration,
        ]);
        // It has one core, so one thread.
        command.env("GOMAXPROCS", "1");
        let peer = Peer::start(&mut command, port).await?;
        let mut publisher = TcpStream::connect(&peer.host).await?;
        publisher.set_nodelay(true)?;
        publisher.write_all(CONNECT.as_bytes()).await?;
        answered(&mut publisher).await?;
        Ok(Some(Self {
            peer,
            publisher,
            payload: 400,
        }))
    }
}

/// Waits until the server has taken everything that was sent before.
async fn answered(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"PING\r\n").await?;
    let mut answer = Vec::new();
    while !answer.windows(6).any(|part| part == b"PONG\r\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("nats-server hung up");
        }
        if answer.ends_with(b"PING\r\n") {
            stream.write_all(b"PONG\r\n").await?;
        }
    }
    Ok(())
}

async fn subscribe(host: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let hello = format!("{CONNECT}SUB b 1\r\n");
    stream.write_all(hello.as_bytes()).await?;
    answered(&mut stream).await?;
    Ok(stream)
}

impl Service for Nats {
    const NAME: &'static str = "nats-server";

    async fn connect(&mut self, load: &mut Load, sockets: u32) -> Result<()> {
        use futures_util::{StreamExt as _, TryStreamExt as _, stream};
        let host = &self.peer.host;
        let mut opening = stream::iter(0..sockets)
            .map(|_| subscribe(host))
            .buffer_unordered(CONNECTING);
        let mut number = 0;
        while let Some(stream) = opening.try_next().await? {
            let mut receiver = Receiver {
                begun: Vec::new(),
                tally: Arc::clone(&load.tally),
                seen: number,
            };
            number += 1;
            load.spawn(
                async move { pump(stream, |bytes, answer| receiver.take(bytes, answer)).await },
            );
        }
        Ok(())
    }

    async fn publish(&mut self, count: u32) -> Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let message = message(self.payload);
            bytes.extend(format!("PUB b {}\r\n{message}\r\n", message.len()).into_bytes());
        }
        self.publisher.write_all(&bytes).await?;
        answered(&mut self.publisher).await
    }

    fn set_frame_bytes(&mut self, bytes: usize) {
        self.payload = bytes.saturating_sub(OVERHEAD_BYTES);
    }

    fn cpu(&self) -> Result<Duration> {
        self.peer.cpu()
    }

    fn resident(&self) -> Result<u64> {
        self.peer.resident()
    }

    async fn stop(self) -> Result<()> {
        self.peer.stop()
    }
}

/// One socket's side of the count.
struct Receiver {
    begun: Vec<u8>,
    tally: Arc<Tally>,
    seen: u64,
}

impl Receiver {
    fn take(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> Result<(), SocketEnd> {
        let joined;
        let bytes = if self.begun.is_empty() {
            bytes
        } else {
            joined = [&std::mem::take(&mut self.begun), bytes].concat();
            &joined
        };
        let whole = self.messages(bytes, now_micros(), answer);
        let whole = whole.map_err(|error| SocketEnd::Broken(error.to_string()))?;
        self.begun.extend_from_slice(&bytes[whole..]);
        Ok(())
    }

    /// Counts the whole messages. Returns the bytes that they take.
    fn messages(&mut self, bytes: &[u8], now: u64, answer: &mut Vec<u8>) -> Result<usize> {
        let (mut at, mut count, mut size) = (0, 0, 0);
        let stride = self.tally.stride();
        let mut samples = Vec::new();
        while let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") {
            let line = &bytes[at..at + end];
            let after = at + end + 2;
            if let Some(length) = line.strip_prefix(b"MSG ") {
                let length = length.rsplit(|c| *c == b' ').next().context("MSG")?;
                let length: usize = std::str::from_utf8(length)?.parse()?;
                let Some(payload) = bytes.get(after..after + length) else {
                    break;
                };
                if bytes.len() < after + length + 2 {
                    break;
                }
                count += 1;
                self.seen += 1;
                if self.seen.is_multiple_of(stride) {
                    let sent = sent_micros(payload);
                    samples.extend(
                        sent.map(|sent| {
                            u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX)
                        }),
                    );
                }
                size += after + length + 2 - at;
                at = after + length + 2;
                continue;
            }
            if line == b"PING" {
                answer.extend(b"PONG\r\n");
            }
            if line.starts_with(b"-ERR") {
                bail!("{}", String::from_utf8_lossy(line));
            }
            at = after;
        }
        if count > 0 {
            self.tally.messages.fetch_add(count, Relaxed);
            self.tally.bytes.fetch_add(size as u64, Relaxed);
        }
        if !samples.is_empty() {
            self.tally.sample(&samples);
        }
        Ok(at)
    }
}
