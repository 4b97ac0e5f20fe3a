//! nchan: nginx with a pub/sub module (Debian: `nginx-core libnginx-mod-nchan`).

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    message,
    node::free_port,
    process::{Peer, program},
};
use crate::rig::{load::Load, pin, service::Service};

const CONFIGURATION: &str = include_str!("../../peers/nchan/nginx.conf");
/// The module, as the configuration names it. nginx may be here without it.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// The size of a WebSocket header on a frame of some hundred bytes.
const HEADER_BYTES: usize = 4;

pub(crate) struct Nchan {
    peer: Peer,
    http: reqwest::Client,
    payload: usize,
    folder: tempfile::TempDir,
}

impl Nchan {
    /// Starts a server; `None` where it is not installed.
    pub(crate) async fn start() -> Result<Option<Self>> {
        let Some(nginx) = program("nginx").filter(|_| Path::new(MODULE).is_file()) else {
            return Ok(None);
        };
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, CONFIGURATION.replace("PORT", &port.to_string()))?;
        let prefix = folder.path().to_str().context("a folder's name")?;
        let file = file.to_str().context("a file's name")?;
        let mut command = pin::server(&nginx);
        command.args(["-p", prefix, "-c", file]);
        Ok(Some(Self {
            peer: Peer::start(&mut command, port).await?,
            http: reqwest::Client::new(),
            payload: 200,
            folder,
        }))
    }
}

impl Service for Nchan {
    const NAME: &'static str = "nchan";

    async fn connect(&mut self, load: &mut Load, sockets: u32) -> Result<()> {
        let paths = vec!["/sub?id=bench".to_owned(); sockets as usize];
        load.open(&self.peer.host, paths).await
    }

    async fn publish(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            let url = format!("http://{}/pub?id=bench", self.peer.host);
            let body = message(self.payload);
            let answer = self.http.post(url).body(body).send().await?;
            answer.error_for_status()?.bytes().await?;
        }
        Ok(())
    }

    fn set_frame_bytes(&mut self, bytes: usize) {
        self.payload = bytes.saturating_sub(HEADER_BYTES);
    }

    fn cpu(&self) -> Result<Duration> {
        self.peer.cpu()
    }

    fn resident(&self) -> Result<u64> {
        self.peer.resident()
    }

    async fn stop(self) -> Result<()> {
        self.peer.stop()?;
        Ok(self.folder.close()?)
    }
}
