//! Injected faults, for tests of the whole process.
//!
//! Only builds with debug assertions have this. If `TEST_TIDEGATE_STRIKES` names a file, the task that the
//! file names panics (`router panic`) or ends (`router end`), as soon as the file is there.

use std::{env, ffi::OsStr, future::Future, path::PathBuf, time::Duration};

use tokio::{fs, time::sleep};

const VARIABLE: &str = "TEST_TIDEGATE_STRIKES";
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs a task until it ends, or a fault ends it.
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
            _ => sleep(LOOK_INTERVAL).await,
        }
    }
}
