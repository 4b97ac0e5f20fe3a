//! An echo on the service's own stack: accept loop, HTTP, upgrade, socket.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::client_async;
use tungstenite::Message;

use super::accept::Acceptor;
use crate::{config::Config, http};

async fn serve(listener: TcpListener) {
    let acceptor = Arc::new(Acceptor::new(&Config::default(), Arc::default(), None));
    acceptor.started(http::echo::routes());
    acceptor.accept(listener).await;
}

/// With `ECHO_LISTEN` set to an address, this serves conformance clients there until it is killed. Else it is its own
/// client.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_goes_out() {
    if let Ok(address) = std::env::var("ECHO_LISTEN") {
        return serve(TcpListener::bind(address).await.unwrap()).await;
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener));
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = client_async(format!("ws://{address}/"), tcp).await.unwrap();
    let large = "x".repeat(100_000);
    for message in [
        Message::text("short"),
        Message::text(large.clone()),
        Message::binary(large.into_bytes()),
        Message::binary(Vec::new()),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    assert!(matches!(
        socket.next().await,
        Some(Ok(Message::Close(_))) | None
    ));
}
