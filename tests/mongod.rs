//! The private mongod: it starts, it ends with its owner, its data stays.

mod support;

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bson::doc;
use mongodb::Client;
use tidegate::mongod::{Error, Mongod, Options};
use tokio::signal::unix::{SignalKind, signal};

/// The variable that tells the process of an owner what to do.
const ROLE: &str = "TIDEGATE_TEST_OWNER";

#[tokio::test]
async fn shared_server_takes_writes() {
    let mongod = support::shared_mongod().await;

    let count = write_and_count(mongod, &support::database_name()).await;

    assert_eq!(count, 1);
}

#[tokio::test]
async fn server_has_the_parameters_asked_for() {
    let client = client(support::shared_mongod().await).await;

    let query = doc! { "getParameter": 1, "ttlMonitorSleepSecs": 1, "enableTestCommands": 1 };
    let answer = client
        .database("admin")
        .run_command(query)
        .await
        .expect("an answer");

    assert_eq!(answer.get_i32("ttlMonitorSleepSecs").ok(), Some(1));
    assert_eq!(answer.get_bool("enableTestCommands").ok(), Some(true));
}

#[tokio::test]
async fn stop_leaves_no_process_and_no_temporary_folder() {
    let mongod = Mongod::start(Options::default()).await.expect("a mongod");
    let (id, dir) = (
        mongod.id().expect("a process"),
        mongod.data_dir().to_owned(),
    );
    assert!(is_alive(id) && dir.exists());

    mongod.stop().await;

    assert!(!is_alive(id) && !dir.exists());
}

#[tokio::test]
async fn drop_leaves_no_process_and_no_temporary_folder() {
    let mongod = Mongod::start(Options::default()).await.expect("a mongod");
    let (id, dir) = (
        mongod.id().expect("a process"),
        mongod.data_dir().to_owned(),
    );

    drop(mongod);

    until_gone(id, &dir).await;
}

#[tokio::test]
async fn end_of_the_server_itself_is_noticed() {
    let mongod = Mongod::start(Options::default()).await.expect("a mongod");
    send("KILL", mongod.id().expect("a process").into());

    let reason = mongod.ended().await;

    assert!(reason.contains("its last output"), "{reason}");
    mongod.stop().await;
}

#[tokio::test]
async fn killed_owner_leaves_no_process_and_no_temporary_folder() {
    let mut owner = Owner::start("wait");

    owner.process.kill().expect("a SIGKILL");

    until_gone(owner.mongod, &owner.dir).await;
}

#[tokio::test]
async fn owner_that_exits_leaves_no_process_and_no_temporary_folder() {
    let mut owner = Owner::start("exit");

    assert_eq!(owner.process.wait().expect("an end").code(), Some(7));

    until_gone(owner.mongod, &owner.dir).await;
}

/// The second mongod's shell must not hold the first one's pipe open.
#[tokio::test]
async fn one_of_two_servers_ends_without_the_other() {
    let first = Mongod::start(Options::default()).await.expect("a mongod");
    let second = Mongod::start(Options::default()).await.expect("a mongod");
    let (id, dir) = (first.id().expect("a process"), first.data_dir().to_owned());

    drop(first);

    until_gone(id, &dir).await;
    assert_eq!(write_and_count(&second, "test").await, 1);
}

#[tokio::test]
async fn interrupt_from_the_terminal_leaves_the_server_to_its_owner() {
    let mut owner = Owner::start("write on interrupt");

    owner.line("ready");
    // As a terminal does on Ctrl-C: a signal for the whole process group.
    send("INT", -i64::from(owner.process.id()));

    assert_eq!(owner.line("wrote"), "1");
    assert!(owner.process.wait().expect("an end").success());
    until_gone(owner.mongod, &owner.dir).await;
}

#[tokio::test]
async fn restart_finds_its_data_under_the_same_address() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = start_in(dir.path()).await.expect("a mongod");
    let uri = first.uri();
    write_and_count(&first, "kept").await;
    first.stop().await;

    let second = start_in(dir.path()).await.expect("a mongod");

    assert_eq!(second.uri(), uri);
    assert_eq!(write_and_count(&second, "kept").await, 2);
    second.stop().await;
}

#[tokio::test]
async fn restart_finds_its_data_on_another_port() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = start_in(dir.path()).await.expect("a mongod");
    let port = first.port();
    write_and_count(&first, "kept").await;
    first.stop().await;
    take(port);

    let second = start_in(dir.path()).await.expect("a mongod");

    assert_ne!(second.port(), port);
    assert_eq!(write_and_count(&second, "kept").await, 2);
    second.stop().await;
}

#[tokio::test]
async fn restart_after_a_kill_finds_its_data() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = start_in(dir.path()).await.expect("a mongod");
    write_and_count(&first, "kept").await;
    // Do not wait: the next start meets a dying server and a stale lock file.
    drop(first);

    let second = start_in(dir.path()).await.expect("a mongod");

    assert_eq!(write_and_count(&second, "kept").await, 2);
    second.stop().await;
}

#[tokio::test]
async fn second_start_on_the_same_folder_is_refused_and_the_first_lives_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = start_in(dir.path()).await.expect("a mongod");

    let refused = start_in(dir.path())
        .await
        .expect_err("two servers on one folder");

    assert!(matches!(refused, Error::DataDirInUse { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains(dir.path().to_str().expect("a path")),
        "{refused}"
    );
    assert_eq!(write_and_count(&first, "kept").await, 1);
    first.stop().await;
}

#[tokio::test]
async fn port_that_is_asked_for_and_taken_is_refused() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();

    let refused = Mongod::start(Options {
        port: Some(port),
        ..Options::default()
    })
    .await;

    let refused = refused.expect_err("two on one port");
    assert!(
        matches!(refused, Error::PortInUse { port: named } if named == port),
        "{refused}"
    );
}

#[tokio::test]
async fn start_that_fails_says_why_and_leaves_nothing() {
    let refused = Mongod::start(Options::default().parameter("noSuchParameter", "1")).await;

    let refused = refused
        .expect_err("a parameter that does not exist")
        .to_string();
    assert!(refused.contains("noSuchParameter"), "{refused}");
}

#[tokio::test]
async fn start_that_takes_too_long_says_how_far_it_came() {
    let options = Options {
        start_timeout: Duration::ZERO,
        ..Options::default()
    };

    let refused = Mongod::start(options).await.expect_err("no time");

    assert!(matches!(refused, Error::NotWritable { .. }), "{refused}");
}

#[tokio::test]
async fn data_of_another_replica_set_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    start_in(dir.path()).await.expect("a mongod").stop().await;
    let data_dir = Some(dir.path().to_owned());
    let options = Options {
        data_dir,
        replica_set: "another".to_owned(),
        ..Options::default()
    };

    let refused = Mongod::start(options).await.expect_err("another name");

    assert!(
        matches!(refused, Error::OtherReplicaSet { .. }),
        "{refused}"
    );
}

/// Not a test by itself: the work of a process that a test starts as an owner.
#[tokio::test]
async fn owner() {
    let Ok(role) = env::var(ROLE) else { return };
    let mongod = Mongod::start(Options::default()).await.expect("a mongod");
    let id = mongod.id().expect("a process");
    println!("\nmongod: {id}\nfolder: {}", mongod.data_dir().display());
    match role.as_str() {
        "exit" => std::process::exit(7),
        "write on interrupt" => {
            let mut interrupt = signal(SignalKind::interrupt()).expect("a handler");
            println!("\nready: yes");
            interrupt.recv().await.expect("a signal");
            println!("\nwrote: {}", write_and_count(&mongod, "test").await);
            mongod.stop().await;
        }
        _ => std::future::pending().await,
    }
}

/// Another process, in a process group of its own, that owns a mongod.
struct Owner {
    process: Child,
    output: BufReader<ChildStdout>,
    mongod: u32,
    dir: PathBuf,
}

impl Owner {
    fn start(role: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let mut process = Command::new(env::current_exe().expect("this program"))
            .args(["owner", "--exact", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("another process");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let mut owner = Self {
            process,
            output,
            mongod: 0,
            dir: PathBuf::new(),
        };
        owner.mongod = owner.line("mongod").parse().expect("a process id");
        owner.dir = owner.line("folder").into();
        owner
    }

    /// The next line `NAME: VALUE` that it prints.
    fn line(&mut self, name: &str) -> String {
        let mut lines = self.output.by_ref().lines().map(|line| line.expect("text"));
        lines
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
            .expect("such a line")
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.process.kill().expect("a SIGKILL");
        self.process.wait().expect("an end");
    }
}

async fn start_in(dir: &Path) -> Result<Mongod, Error> {
    Mongod::start(Options {
        data_dir: Some(dir.to_owned()),
        ..Options::default()
    })
    .await
}

async fn client(mongod: &Mongod) -> Client {
    Client::with_uri_str(mongod.uri()).await.expect("a client")
}

async fn write_and_count(mongod: &Mongod, database: &str) -> u64 {
    let things = client(mongod).await.database(database).collection("things");
    things.insert_one(doc! { "a": 1 }).await.expect("a write");
    things.count_documents(doc! {}).await.expect("a read")
}

/// Sends a signal to a process, or to a process group by its number made negative.
fn send(signal: &str, to: i64) {
    let kill = format!("kill -s {signal} -- {to}");
    assert!(
        Command::new("/bin/sh")
            .args(["-c", &kill])
            .status()
            .expect("a shell")
            .success()
    );
}

/// Takes a port, as another program that closes every connection.
fn take(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    std::thread::spawn(move || listener.incoming().for_each(drop));
}

fn is_alive(id: u32) -> bool {
    Path::new("/proc").join(id.to_string()).exists()
}

/// Waits until neither the process nor the folder is there.
async fn until_gone(id: u32, dir: &Path) {
    let give_up_at = Instant::now() + Duration::from_secs(20);
    while is_alive(id) || dir.exists() {
        assert!(
            Instant::now() < give_up_at,
            "process {id} or {} is left",
            dir.display()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
