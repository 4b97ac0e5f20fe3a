//! A fault of ours, on purpose: tests of the whole process see what comes of it.
//!
//! Builds with debug assertions have this, others do not. Where `TEST_TIDEGATE_STRIKES` names a file, the task whose name
//! it holds panics (`router panic`) or ends (`router end`), once the file is there.

use std::{env, ffi::OsStr, future::Future, path::PathBuf, time::Duration};

use tokio::{fs, time::sleep};

const VARIABLE: &str = "TEST_TIDEGATE_STRIKES";
const LOOK: Duration = Duration::from_millis(20);

/// Runs a task until it ends or is struck.
pub(super) async fn exposed(name: &'static str, task: impl Future<Output = ()>) {
    tokio::select! {
        () = struck(name) => {}
        () = task => {}
    }
}

async fn struck(name: &str) {
    let path = env::var_os(VARIABLE).filter(|path| path != OsStr::new(""));
    let Some(path) = path.map(PathBuf::from) else {
        return std::future::pending().await;
    };
    loop {
        let read = fs::read_to_string(&path).await.unwrap_or_default();
        match read.trim().split_once(' ') {
            Some((task, "end")) if task == name => return,
            Some((task, "panic")) if task == name => panic!("a fault on purpose"),
            _ => sleep(LOOK).await,
        }
    }
}
