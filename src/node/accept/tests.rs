//! A request that comes at the moment at which its idle connection is to be closed.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::carrier::AddressPermits;

const REQUEST: &[u8] = b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection to an acceptor.
struct World {
    acceptor: Arc<Acceptor>,
    client: TcpStream,
}

impl World {
    async fn start() -> Self {
        let metrics = Arc::new(Metrics::default());
        let acceptor = Arc::new(Acceptor::new(&Config::default(), metrics, None));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (tcp, remote) = listener.accept().await.unwrap();
        let permit = AddressPermits::new(Arc::clone(&acceptor.metrics)).take();
        tokio::spawn(Arc::clone(&acceptor).serve(tcp, remote, permit));
        let client = client.unwrap();
        Self { acceptor, client }
    }

    /// Sends a request. The kernel has it at once, and the runtime does not know it yet.
    fn ask(&self) {
        assert_eq!(self.client.try_write(REQUEST).unwrap(), REQUEST.len());
    }

    /// Reads an answer. Returns its head.
    async fn answer(&mut self) -> String {
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut bytes = vec![0; 4096];
            let length = self.client.read(&mut bytes).await.unwrap();
            assert!(length > 0, "no answer, but the end: {answer}");
            answer.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        }
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        head.to_owned()
    }

    async fn assert_ends(mut self) {
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }

    fn idle_time(&self) -> Duration {
        self.acceptor.limits.header_timeout
    }

    fn failed(&self) -> bool {
        let text = self.acceptor.metrics.encode();
        text.contains("http_connections_failed_total{")
    }
}

fn closes(head: &str) -> bool {
    head.contains("\r\nconnection: close")
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_idles_is_closed_in_order_and_has_not_failed() {
    let mut world = World::start().await;
    world.ask();
    assert!(!closes(&world.answer().await));
    let acceptor = Arc::clone(&world.acceptor);
    world.assert_ends().await;
    assert!(!acceptor.metrics.encode().contains("header_timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_ever_comes_has_failed() {
    let world = World::start().await;
    let acceptor = Arc::clone(&world.acceptor);
    world.assert_ends().await;
    let failed = r#"tidegate_http_connections_failed_total{cause="header_timeout"} 1"#;
    assert!(acceptor.metrics.encode().contains(failed));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_when_its_idle_connection_is_closed_is_answered() {
    let mut world = World::start().await;
    for first in [true, false, false] {
        if !first {
            world.ask();
            assert!(!closes(&world.answer().await));
        }
        // The runtime comes here first, when the time is over for both.
        sleep(world.idle_time()).await;
        world.ask();
        assert!(!closes(&world.answer().await));
    }
    assert!(!world.failed());
    world.assert_ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_when_the_node_closes_is_answered_and_is_the_last() {
    for used in [false, true] {
        let mut world = World::start().await;
        if used {
            world.ask();
            assert!(!closes(&world.answer().await));
        }
        world.ask();
        world.acceptor.closing.cancel();
        assert!(closes(&world.answer().await), "{used}");
        assert!(!world.failed());
        world.assert_ends().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_the_last_is_not_answered() {
    let mut world = World::start().await;
    world.ask();
    assert!(!closes(&world.answer().await));
    world.client.write_all(&REQUEST.repeat(2)).await.unwrap();
    world.acceptor.closing.cancel();
    assert!(closes(&world.answer().await));
    let end = world.client.read(&mut [0; 1]).await;
    assert!(end.is_err() || end.is_ok_and(|bytes| bytes == 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_has_its_clients_close_with_their_next_request() {
    let mut world = World::start().await;
    world.ask();
    assert!(!closes(&world.answer().await));
    world.acceptor.leaving.cancel();
    world.ask();
    assert!(closes(&world.answer().await));
    world.assert_ends().await;
}
