//! One real MongoDB per test process, and one database per test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tidegate::mongod::{Mongod, Options};
use tokio::sync::OnceCell;

/// Returns the server that all tests of this process share. The first caller starts it. It ends with the process, and
/// belongs to no test's runtime.
pub(crate) async fn shared_mongod() -> &'static Mongod {
    static SHARED: OnceCell<Mongod> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let options = Options {
                // All tests write at once, and their writes must not push a feed out of the oplog,
                oplog_size_mb: 512,
                // nor fill the cache before a large write.
                cache_size_gb: 1.0,
                ..options()
            };
            Mongod::start(options).await.expect("a mongod")
        })
        .await
}

/// Makes options for a test's own server, with fail points and a quick TTL monitor.
pub(crate) fn options() -> Options {
    Options::default()
        .parameter("enableTestCommands", "1")
        .parameter("ttlMonitorSleepSecs", "1")
}

/// Makes a database name that no other test uses: the test's own name and a number.
pub(crate) fn database_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let thread = thread::current();
    let test = thread
        .name()
        .unwrap_or("test")
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    // MongoDB allows 63 bytes.
    format!("{:.50}_{}", test, NEXT.fetch_add(1, Ordering::Relaxed))
}
