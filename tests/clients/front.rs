//! Proxies between clients and the service: nginx, and one that compresses whatever it may.

use std::{fs, net::SocketAddr};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client::Client,
    installed::Program,
    support::{DEADLINE, free_port},
};

/// A proxy before a node's address.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    _process: Option<Client>,
    _folder: Option<TempDir>,
}

impl Front {
    /// Makes a front without a proxy.
    pub(crate) fn none(node: SocketAddr) -> Self {
        Self {
            address: node,
            _process: None,
            _folder: None,
        }
    }

    /// Starts nginx with its defaults (it buffers, and speaks HTTP/1.0 to the node). It compresses JSON and event
    /// streams.
    pub(crate) async fn nginx(node: SocketAddr) -> Self {
        Self::nginx_with(node, "").await
    }

    /// Starts the same, passing upgrades on.
    pub(crate) async fn upgrading_nginx(node: SocketAddr) -> Self {
        let upgrading = "proxy_http_version 1.1; \
            proxy_set_header Upgrade $http_upgrade; \
            proxy_set_header Connection $connection_upgrade;";
        Self::nginx_with(node, upgrading).await
    }

    async fn nginx_with(node: SocketAddr, more: &str) -> Self {
        let folder = TempDir::with_prefix("tidegate-nginx-").unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, nginx_configuration(address, node, more)).unwrap();
        let mut command = Program::Nginx.command();
        command
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(configuration);
        let process = Client::start(command);
        let begun = std::time::Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(begun.elapsed() < DEADLINE, "nginx does not listen");
            tokio::task::yield_now().await;
        }
        Self {
            address,
            _process: Some(process),
            _folder: Some(folder),
        }
    }

    /// Starts a proxy that compresses everything except answers that forbid it.
    pub(crate) async fn compressing(node: SocketAddr) -> Self {
        let mut command = Program::Node.script("compressing.mjs");
        command.arg(node.port().to_string());
        let mut process = Client::start(command);
        let listens = |line: &Value| line["saw"] == "listening";
        let line = process.until("listening", listens).await;
        let port = u16::try_from(line["port"].as_u64().unwrap()).unwrap();
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _process: Some(process),
            _folder: None,
        }
    }

    /// Makes the URL of a path below `/api/v1`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.address)
    }
}

fn nginx_configuration(address: SocketAddr, node: SocketAddr, more: &str) -> String {
    format!(
        "daemon off; worker_processes 1; master_process off; pid nginx.pid; error_log stderr crit;
        events {{ worker_connections 256; }}
        http {{
          access_log off;
          client_body_temp_path body; proxy_temp_path proxy;
          fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
          gzip on; gzip_proxied any; gzip_min_length 1;
          gzip_types text/event-stream application/json application/problem+json;
          map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
          server {{
            listen {address};
            location / {{ proxy_pass http://{node}; {more} }}
          }}
        }}"
    )
}
