//! A forwarder between a client and the nodes. It changes its target and cuts connections when a test says so.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// An address that stays while nodes come and go.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    inside: Arc<Inside>,
    task: JoinHandle<()>,
}

struct Inside {
    way: Mutex<Way>,
}

#[derive(Clone)]
struct Way {
    node: SocketAddr,
    cut: CancellationToken,
    /// Connections to this target that are over.
    ended: Arc<AtomicUsize>,
}

impl Way {
    fn to(node: SocketAddr) -> Self {
        Self {
            node,
            cut: CancellationToken::new(),
            ended: Arc::default(),
        }
    }
}

impl Door {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Inside {
            way: Mutex::new(Way::to(node)),
        });
        let task = tokio::spawn(lead(listener, Arc::clone(&inside)));
        Self {
            address,
            inside,
            task,
        }
    }

    /// Sends new connections to another node.
    pub(crate) fn lead_to(&self, node: SocketAddr) {
        let mut way = self.inside.way.lock().unwrap();
        let cut = way.cut.clone();
        *way = Way {
            cut,
            ..Way::to(node)
        };
    }

    /// Cuts all connections, without a close frame to either side.
    pub(crate) fn cut(&self) {
        let mut way = self.inside.way.lock().unwrap();
        std::mem::take(&mut way.cut).cancel();
    }

    /// Counts the connections to the current target that are over.
    pub(crate) fn ended(&self) -> usize {
        self.inside
            .way
            .lock()
            .unwrap()
            .ended
            .load(Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn lead(listener: TcpListener, inside: Arc<Inside>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let way = inside.way.lock().unwrap().clone();
        tokio::spawn(async move {
            let passing = async {
                let mut node = TcpStream::connect(way.node).await?;
                copy_bidirectional(&mut client, &mut node).await
            };
            tokio::select! {
                () = way.cut.cancelled() => {}
                // However it ends, both sides are closed.
                _ = passing => {}
            }
            way.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
}
