//! Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell adds to a signal's number to make an exit code of it.
const SIGNALLED: i32 = 128;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Is cancelled by the first signal. The task behind it lives as long as the process: it is what
/// ends the process on the second signal, whatever the rest is doing then.
pub(crate) fn stop_token() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => SIGINT,
                _ = terminate.recv() => SIGTERM,
            };
            if asked.is_cancelled() {
                std::process::exit(SIGNALLED + number);
            }
            tracing::info!("stopping; a second signal ends the process at once");
            asked.cancel();
        }
    });
    Ok(stop)
}
