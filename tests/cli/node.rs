//! `dev` and `serve`: starting, stopping and starting again.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use super::process::{DEADLINE, Running, finish, run, tidegate};

pub(crate) fn dev(data_dir: &Path) -> Running {
    let data_dir = data_dir.to_str().unwrap();
    let arguments = ["dev", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
    Running::start(&mut tidegate(&arguments))
}

/// Waits for the address that `dev` prints when it is ready.
pub(crate) fn address(running: &Running) -> String {
    let line = running.says("ready on http://");
    line[line.find("http://").unwrap()..].trim().to_owned()
}

/// Waits until no process has the folder in its command line.
pub(crate) fn wait_until_gone(data_dir: &Path) {
    let deadline = std::time::Instant::now() + DEADLINE;
    let name = data_dir.to_str().unwrap();
    while Command::new("pgrep")
        .args(["-f", "--", name])
        .output()
        .unwrap()
        .status
        .success()
    {
        assert!(std::time::Instant::now() < deadline, "a process is left");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn dev_finds_its_data_again_and_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");

    let first = dev(&data_dir);
    let server = address(&first);
    let create = [
        "subscription",
        "create",
        "--id",
        "kept",
        "--filter",
        "{}",
        "--name",
        "n",
        "--server",
        &server,
    ];
    let created = run(&create);
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    first.signal("INT");
    assert_eq!(first.end(), Some(0));
    wait_until_gone(&data_dir);

    let second = dev(&data_dir);
    let server = address(&second);
    let found = run(&["subscription", "get", "kept", "--json", "--server", &server]);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(found.stdout.contains(r#""name":"n""#), "{}", found.stdout);
    second.signal("TERM");
    assert_eq!(second.end(), Some(0));
    wait_until_gone(&data_dir);
}

#[test]
fn what_dev_says_to_try_works_as_it_is_and_stands_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path());
    let server = address(&dev);
    let [create, listen, publish, delete] = [
        "subscription create",
        "listen",
        "publish",
        "subscription delete",
    ]
    .map(|command| dev.says(command));
    for line in [&create, &listen, &publish, &delete] {
        let elsewhere = format!(" --server {server}");
        let line = line.trim().replace(&elsewhere, "");
        let line = line.replace(env!("CARGO_BIN_EXE_tidegate"), "target/release/tidegate");
        let readme = include_str!("../../README.md");
        assert!(readme.lines().any(|other| other.trim() == line), "{line}");
    }
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env_remove("TIDEGATE_SERVER");
        command
    };
    assert!(shell(&create).status().unwrap().success());
    for (origin, may) in [
        ("http://localhost:3000", true),
        ("https://elsewhere.example", false),
    ] {
        let answer = answer_to_page(&server, origin);
        let allowed = answer.contains(&format!("access-control-allow-origin: {origin}\r\n"));
        assert_eq!(allowed, may, "{answer}");
    }
    let listening = Running::start(&mut shell(&format!("exec {} --count 1", listen.trim())));
    listening.notes("connected to demo");
    assert!(shell(&publish).status().unwrap().success());
    let event: serde_json::Value = serde_json::from_str(&listening.says("hello")).unwrap();
    assert_eq!(event["data"]["hello"], "world");
    assert_eq!(listening.end(), Some(0));
    assert!(shell(&delete).status().unwrap().success());
    let log = dev.notes_until("a subscription was deleted");
    for told in [
        "a subscription was created",
        "events were published",
        "id=\"demo\"",
    ] {
        assert!(
            log.iter().any(|line| line.contains(told)),
            "{told}: {log:#?}"
        );
    }
    for line in &log {
        assert!(
            !line.contains("failed") && !line.contains("world"),
            "{line}"
        );
    }
    dev.signal("INT");
    assert_eq!(dev.end(), Some(0));
}

#[test]
fn dev_with_keys_makes_them_and_what_it_says_to_try_works() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().to_str().unwrap();
    let arguments = [
        "dev",
        "--auth",
        "required",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data_dir,
    ];
    let start = || Running::start(&mut tidegate(&arguments));
    let dev = start();
    let server = address(&dev);
    let export = dev.says("export TIDEGATE_TOKEN=");
    let [create, listen, publish] =
        ["subscription create", "listen", "publish"].map(|command| dev.says(command));
    let operators = dev.says("key of an operator: ");
    let operators = operators.rsplit(' ').next().unwrap().to_owned();
    let tenants = export.rsplit('=').next().unwrap().to_owned();
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        let line = format!("{}\n{line}", export.trim());
        command.args(["-c", &line]).env_remove("TIDEGATE_SERVER");
        command
    };
    assert!(shell(&create).status().unwrap().success());
    let listening = Running::start(&mut shell(&format!("exec {} --count 1", listen.trim())));
    listening.notes("connected to acme:demo");
    assert!(shell(&publish).status().unwrap().success());
    let event: serde_json::Value = serde_json::from_str(&listening.says("hello")).unwrap();
    assert_eq!(event["tenant"], "acme");
    assert_eq!(listening.end(), Some(0));
    let policy = |key: &str, arguments: &[&str]| {
        let mut command = tidegate(&[&["policy"], arguments, &["--server", &server]].concat());
        finish(
            command.env("TIDEGATE_TOKEN", key),
            r#"{"read": {"tenant": "nobody"}}"#,
        )
    };
    assert_eq!(policy(&tenants, &["list"]).code, Some(1));
    let replaced = policy(&operators, &["set", "default", "-"]);
    assert_eq!(replaced.code, Some(0), "{}", replaced.stderr);
    dev.signal("INT");
    let log = dev.notes_left();
    for line in &log {
        assert!(
            !line.contains(&tenants) && !line.contains(&operators),
            "{line}"
        );
    }
    assert!(
        log.iter().any(|line| line.contains("a policy was stored")),
        "{log:#?}"
    );
    assert_eq!(dev.end(), Some(0));
    wait_until_gone(folder.path());

    // A policy that is there stays as it is. The keys are new.
    let again = start();
    let server = address(&again);
    let fresh = again.says("key of an operator: ");
    let fresh = fresh.rsplit(' ').next().unwrap();
    assert_ne!(fresh, operators);
    let arguments = ["policy", "get", "default", "--server", &server];
    let shown = finish(tidegate(&arguments).env("TIDEGATE_TOKEN", fresh), "");
    assert!(
        shown.stdout.contains("nobody"),
        "{}{}",
        shown.stdout,
        shown.stderr
    );
    again.signal("INT");
    assert_eq!(again.end(), Some(0));
    wait_until_gone(folder.path());
}

#[test]
fn a_mongod_that_is_named_and_cannot_run_is_bad_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        folder.path().to_str().unwrap(),
    ];
    let mut command = tidegate(&arguments);
    let outcome = finish(command.env("TIDEGATE_MONGOD", "/nope"), "");
    assert_eq!(outcome.code, Some(64), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("TIDEGATE_MONGOD: /nope cannot be used"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_data_folder_that_cannot_be_used_is_named_with_the_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("data");
    let arguments = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        folder.to_str().unwrap(),
    ];
    let outcome = finish(&mut tidegate(&arguments), "");
    assert_eq!(outcome.code, Some(69), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("Not a directory"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_killed_dev_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path());
    address(&dev);
    dev.signal("KILL");
    assert_eq!(dev.end(), None);
    wait_until_gone(folder.path());
}

#[test]
fn a_second_signal_ends_at_once() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().to_str().unwrap();
        let mut command = tidegate(&["dev", "--listen", "127.0.0.1:0", "--data-dir", data_dir]);
        command
            .env("TIDEGATE_SHUTDOWN_TIMEOUT", "1h")
            .env("TIDEGATE_SOCKET__CLOSE_TIMEOUT", "1h");
        let dev = Running::start(&mut command);
        let server = address(&dev);
        let created = run(&[
            "subscription",
            "create",
            "--id",
            "a",
            "--filter",
            "{}",
            "--server",
            &server,
        ]);
        assert_eq!(created.code, Some(0), "{}", created.stderr);
        // The first signal alone would wait for this client.
        let _deaf = client_that_never_says_goodbye(&server);
        dev.signal(name);
        dev.notes("stopping");
        dev.signal(name);
        assert_eq!(dev.end(), Some(code));
        wait_until_gone(folder.path());
    }
}

/// Sends a request as a page of another origin does.
fn answer_to_page(server: &str, origin: &str) -> String {
    let address = server.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let lines = ["GET /api/v1 HTTP/1.1", &format!("Host: {address}")];
    let request = format!(
        "{}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n",
        lines.join("\r\n")
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Opens a WebSocket client that answers nothing, not even the closing handshake.
fn client_that_never_says_goodbye(server: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.trim_start_matches("http://")).unwrap();
    let request = "GET /api/v1/subscriptions/a/events HTTP/1.1\r\nHost: localhost\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = String::new();
    BufReader::new(&stream).read_line(&mut status).unwrap();
    assert!(status.contains("101"), "{status}");
    stream
}

#[test]
fn a_listener_outlives_a_restart_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let first = dev(folder.path());
    let server = address(&first);
    let create = [
        "subscription",
        "create",
        "--id",
        "a",
        "--filter",
        "{}",
        "--server",
        &server,
    ];
    assert_eq!(run(&create).code, Some(0));
    let listening = Running::start(&mut tidegate(&[
        "listen", "a", "--count", "2", "--server", &server,
    ]));
    listening.notes("connected");
    let publish = ["publish", "--type", "t", "--server", &server];
    assert_eq!(run(&publish).code, Some(0));
    listening.says("\"type\":\"t\"");
    first.signal("INT");
    assert_eq!(first.end(), Some(0));
    listening.notes("shutdown");

    let listen = server.trim_start_matches("http://");
    let data_dir = folder.path().to_str().unwrap();
    let arguments = ["dev", "--listen", listen, "--data-dir", data_dir];
    let second = Running::start(&mut tidegate(&arguments));
    listening.notes("connected");
    assert_eq!(run(&publish).code, Some(0));
    listening.says("\"type\":\"t\"");
    assert_eq!(listening.end(), Some(0));
    second.signal("INT");
    assert_eq!(second.end(), Some(0));
}

#[test]
fn whoever_lets_everyone_in_is_warned() {
    let database = "mongodb://127.0.0.1:1/";
    let serve = [
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--insecure",
        "--mongodb-uri",
        database,
    ];
    let serving = Running::start(&mut tidegate(&serve));
    serving.notes("everyone who can reach this address");
    serving.signal("TERM");
    assert_eq!(
        serving.end(),
        Some(0),
        "while it still waits for its database"
    );
}
