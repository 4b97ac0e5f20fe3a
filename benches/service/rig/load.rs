//! The load's side: sockets that count.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use secrecy::SecretString;
use serde_json::json;
use tidegate::client::counting::{self, Receiver, SocketEnd, Tally};
use tokio::{io::AsyncWriteExt as _, task::JoinSet, time::Instant};

/// Sockets that connect at once.
pub(crate) const CONNECTING: usize = 50;
/// The longest silence while something is owed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A socket to open: its path, and the key or token that it presents.
pub(crate) type Opening = (String, Option<SecretString>);

/// Open sockets of one service.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) tally: Arc<Tally>,
    tasks: JoinSet<SocketEnd>,
}

impl Load {
    /// Opens a socket for each of the paths. They present nothing.
    pub(crate) async fn open(&mut self, host: &str, paths: Vec<String>) -> Result<()> {
        let all = paths.into_iter().map(|path| (path, None)).collect();
        self.open_all(host, all).await
    }

    /// Opens these sockets.
    pub(crate) async fn open_all(&mut self, host: &str, sockets: Vec<Opening>) -> Result<()> {
        self.open_and_say(host, sockets, &[]).await
    }

    /// Opens sockets for many, each with a handle on each of these subscriptions.
    pub(crate) async fn open_for_many(
        &mut self,
        host: &str,
        sockets: u32,
        ids: &[String],
    ) -> Result<()> {
        let items = ids.iter().enumerate();
        let items = items.map(|(n, id)| json!({"handle": n.to_string(), "subscription": id}));
        let message = json!({"type": "subscribe", "items": items.collect::<Vec<_>>()});
        let mut frame = Vec::new();
        counting::write_text(&message.to_string(), &mut frame);
        let all = vec![("/api/v1/socket".to_owned(), None); sockets as usize];
        self.open_and_say(host, all, &frame).await
    }

    async fn open_and_say(&mut self, host: &str, sockets: Vec<Opening>, say: &[u8]) -> Result<()> {
        let mut opening = stream::iter(sockets)
            .map(async |(path, token)| {
                let opened = counting::open(host, &path, token.as_ref()).await;
                let (mut stream, first) = opened.map_err(anyhow::Error::msg)?;
                stream.write_all(say).await?;
                anyhow::Ok((stream, first))
            })
            .buffer_unordered(CONNECTING);
        while let Some((stream, first)) = opening.try_next().await? {
            let receiver = Receiver::new(Arc::clone(&self.tally), self.tasks.len() as u64);
            self.tasks.spawn(receiver.read(stream, first));
        }
        Ok(())
    }

    /// Adds a socket that speaks another protocol.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = SocketEnd> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until this many sockets, or their handles, got their `connected`.
    pub(crate) async fn greeted(&self, channels: u64) -> Result<()> {
        self.until(|tally| tally.connected.load(Relaxed) >= channels)
            .await
    }

    /// Waits until this many messages have come in all.
    pub(crate) async fn received(&self, messages: u64) -> Result<()> {
        self.until(|tally| tally.messages() >= messages).await
    }

    async fn until(&self, done: impl Fn(&Tally) -> bool) -> Result<()> {
        let (mut seen, mut since) = (0, Instant::now());
        while !done(&self.tally) {
            let now = self.tally.messages() + self.tally.connected.load(Relaxed);
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                bail!("nothing came for {PATIENCE:?}, after {now} messages");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Fails if a socket was closed: a figure of the others would not be one of all.
    pub(crate) fn all_open(&mut self) -> Result<()> {
        let ended = self.tasks.try_join_next();
        ensure!(ended.is_none(), "a socket was closed: {ended:?}");
        Ok(())
    }
}
