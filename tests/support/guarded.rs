//! Servers that are started without our own care: bare ones, and one that asks who comes in.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use bson::doc;
use mongodb::{Client, Database};
use tempfile::TempDir;
use tidegate::mongod::{Binary, Mongod};

use super::options;

/// A mongod started without any of our own care; killed when dropped.
pub(crate) struct Plain(Child);

impl Plain {
    /// Starts it; it may not take connections yet.
    pub(crate) async fn start(port: u16, data: &Path, arguments: &[&str]) -> Self {
        let binary = Binary::find(None).await.unwrap();
        let child = Command::new(binary.path())
            .args([
                "--bind_ip",
                "127.0.0.1",
                "--nounixsocket",
                "--port",
                &port.to_string(),
            ])
            .args(["--wiredTigerCacheSizeGB", "0.25"])
            .args(arguments)
            .arg("--dbpath")
            .arg(data)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A replica set of one that lets in whom it knows. It knows `root`, whose password is `p`.
pub(crate) struct Guarded {
    // Dropped in this order: first the process, then the folder under it.
    _server: Plain,
    _folder: TempDir,
    port: u16,
}

impl Guarded {
    /// The set and its first user are made while it still lets everyone in.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options();
        options.data_dir = Some(folder.path().to_owned());
        let open = Mongod::start(options).await.unwrap();
        let port = open.port();
        let root = doc! {"createUser": "root", "pwd": "p", "roles": ["root"]};
        let client = Client::with_uri_str(open.uri()).await.unwrap();
        client.database("admin").run_command(root).await.unwrap();
        open.stop().await;

        let key = folder.path().join("key");
        std::fs::write(&key, "0123456789abcdef").unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let arguments = ["--replSet", "tidegate", "--keyFile", key.to_str().unwrap()];
        let server = Plain::start(port, &folder.path().join("db"), &arguments).await;
        Self {
            _server: server,
            _folder: folder,
            port,
        }
    }

    /// The connection string of a user.
    pub(crate) fn uri(&self, user: &str, password: &str) -> String {
        let port = self.port;
        format!(
            "mongodb://{user}:{password}@127.0.0.1:{port}/?replicaSet=tidegate&authSource=admin"
        )
    }

    /// The database `admin`, as its administrator sees it.
    pub(crate) async fn admin(&self) -> Database {
        let root = Client::with_uri_str(self.uri("root", "p")).await.unwrap();
        root.database("admin")
    }
}
