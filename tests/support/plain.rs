//! A mongod as other people run it, without our settings or with access control.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use mongodb::{Client, Database, bson::doc};
use tempfile::TempDir;
use tidegate::mongod::{Binary, Mongod};

use super::options;

/// A mongod without any of our settings. It is killed when dropped.
pub(crate) struct Plain(Child);

impl Plain {
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

/// Finds a port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A replica set of one member with access control. It has the user `root`; all passwords are `p`.
pub(crate) struct Guarded {
    _process: Plain,
    _folder: TempDir,
    port: u16,
    root: Client,
}

impl Guarded {
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
        let process = Plain::start(port, &folder.path().join("db"), &arguments).await;
        let root = Client::with_uri_str(uri(port, "root:p@")).await.unwrap();
        Self {
            _process: process,
            _folder: folder,
            port,
            root,
        }
    }

    /// Creates a user with these roles on a database.
    pub(crate) async fn create_user(&self, user: &str, roles: &[&str], database: &str) {
        let roles: Vec<_> = roles
            .iter()
            .map(|&role| doc! {"role": role, "db": database})
            .collect();
        let create = doc! {"createUser": user, "pwd": "p", "roles": roles};
        self.admin().run_command(create).await.unwrap();
    }

    /// Returns the database `admin`, as its administrator sees it.
    pub(crate) fn admin(&self) -> Database {
        self.root.database("admin")
    }

    pub(crate) fn uri(&self, user: &str, password: &str) -> String {
        uri(self.port, &format!("{user}:{password}@"))
    }

    /// Makes a connection string that names no user.
    pub(crate) fn anonymous_uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?replicaSet=tidegate", self.port)
    }
}

fn uri(port: u16, credentials: &str) -> String {
    format!("mongodb://{credentials}127.0.0.1:{port}/?replicaSet=tidegate&authSource=admin")
}
