//! A node that cannot do its work ends: if any of its tasks panics or ends, the process does too.

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tidegate::config::Config;

use crate::{process::Process, raw::Raw, support::Service};

/// The tasks that serve more than one client.
const TASKS: [&str; 12] = [
    "accept",
    "date_events",
    "expiry",
    "feed",
    "heartbeat",
    "maintenance",
    "positions",
    "delete_history",
    "receipts",
    "replays",
    "router",
    "watchdog",
];
const AT_ONCE: usize = 3;

/// Asserts that a struck process ends at once with an error that names the task, and that its socket is closed.
async fn check(config: Config, task: &'static str, how: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let strikes = folder.path().join("strikes");
    let preparation = format!("export TEST_TIDEGATE_STRIKES={}", strikes.display());
    let process = Process::on(config, &preparation).await;
    let mut socket = Raw::open(process.service.address, "kept").await;
    std::fs::write(&strikes, format!("{task} {how}")).unwrap();
    let (code, log) = process.end_with_log().await;
    assert_eq!(code, Some(1), "{task} {how}: {log:?}");
    let said = match how {
        "panic" => format!("error: the task \"{task}\" panicked (a fault on purpose)"),
        _ => format!("error: the task \"{task}\" ended by itself"),
    };
    // Tasks that are being dropped may log behind it.
    let error = log.iter().find(|line| line.starts_with("error: "));
    assert!(
        error.is_some_and(|error| error.starts_with(&said)),
        "{said}: {log:?}"
    );
    while socket.frame().await.is_some() {}
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn each_task_that_panics_or_ends_ends_the_process() {
    let service = Service::start().await;
    let body = json!({"filter": {}});
    service.send("PUT", "/subscriptions/kept", Some(body)).await;
    let cases = TASKS
        .iter()
        .flat_map(|task| [(*task, "panic"), (*task, "end")]);
    stream::iter(cases)
        .for_each_concurrent(AT_ONCE, |(task, how)| {
            check(service.config.clone(), task, how)
        })
        .await;
    service.stop().await;
}
