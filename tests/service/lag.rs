//! A node that lags.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::Service;

/// The delay of everything that the lagging node hears from the database.
const LAG: Duration = Duration::from_millis(150);

/// Starts a node that hears of everything later.
pub(crate) async fn lagging(service: &Service) -> Service {
    let (_, hosts) = service.config.mongodb_uri.split_once("://").unwrap();
    let host = hosts.split(['/', ',', '?']).next().unwrap();
    let to: SocketAddr = tokio::net::lookup_host(host).await.unwrap().next().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(delay(near, to));
        }
    });
    let mut config = service.config.clone();
    config.mongodb_uri = format!("mongodb://{at}/?directConnection=true");
    Service::on(config).await
}

/// Passes everything to the server at once, and its answers later.
async fn delay(near: TcpStream, to: SocketAddr) {
    let far = TcpStream::connect(to).await.unwrap();
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let (sender, mut later) = tokio::sync::mpsc::unbounded_channel();
    let up = async { tokio::io::copy(&mut from_near, &mut to_far).await.map(drop) };
    let read = async {
        loop {
            let mut bytes = vec![0; 64 << 10];
            let length = from_far.read(&mut bytes).await?;
            if length == 0 {
                return Ok::<_, std::io::Error>(());
            }
            bytes.truncate(length);
            let due = tokio::time::Instant::now() + LAG;
            sender
                .send((due, bytes))
                .map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        }
    };
    let write = async {
        while let Some((due, bytes)) = later.recv().await {
            tokio::time::sleep_until(due).await;
            to_near.write_all(&bytes).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::select! {
        _ = up => {}
        _ = read => {}
        _ = write => {}
    }
}
