//! One real MongoDB for each test process, one database for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tidegate::mongod::{Mongod, Options};
use tokio::sync::OnceCell;

/// The server that all tests of this process share; the first that asks starts it. It ends with the
/// process, and belongs to no test's runtime.
pub(crate) async fn shared_mongod() -> &'static Mongod {
    static SHARED: OnceCell<Mongod> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let options = Options {
                // All tests write to it at once: no feed is to be overtaken by what others write.
                oplog_size_mb: 512,
                // Nor is a large write to find the cache full of theirs.
                cache_size_gb: 1.0,
                ..options()
            };
            Mongod::start(options).await.expect("a mongod")
        })
        .await
}

/// Options for a server that tests want to themselves: with fail points and a quick TTL monitor.
pub(crate) fn options() -> Options {
    Options::default()
        .parameter("enableTestCommands", "1")
        .parameter("ttlMonitorSleepSecs", "1")
}

/// A name for a database that no other test uses: the test's own name and a number.
pub(crate) fn database_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let thread = thread::current();
    let test = thread
        .name()
        .unwrap_or("test")
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    // A database's name has 63 bytes at most.
    format!("{:.50}_{}", test, NEXT.fetch_add(1, Ordering::Relaxed))
}
