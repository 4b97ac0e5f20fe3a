//! Ctrl-C, SIGTERM and SIGHUP: the first asks to stop, the second ends the process at once. SIGHUP is left alone where it
//! means something else.

use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The offset between a signal's number and a shell's exit code for it.
const SIGNALLED: i32 = 128;
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Returns a token that the first signal cancels. The task behind it lives as long as the process: the second signal
/// ends the process, whatever the rest is doing then.
pub(crate) fn stop_token() -> io::Result<CancellationToken> {
    stop_token_by(hangup()?)
}

/// Does the same, and leaves SIGHUP alone.
pub(crate) fn stop_token_despite_hangup() -> io::Result<CancellationToken> {
    stop_token_by(None)
}

fn stop_token_by(mut hangup: Option<Signal>) -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        // Without this task nobody could stop the node. If it is lost, the node stops.
        let _guard = token.clone().drop_guard();
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => SIGINT,
                _ = terminate.recv() => SIGTERM,
                () = received(&mut hangup) => SIGHUP,
            };
            if token.is_cancelled() {
                std::process::exit(SIGNALLED + number);
            }
            tracing::info!("stopping; a second signal ends the process at once");
            token.cancel();
        }
    });
    Ok(stop)
}

/// Listens for SIGHUP, the loss of the terminal. `None` where the parent made this process ignore it (`nohup`).
fn hangup() -> io::Result<Option<Signal>> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_ignored(&status, SIGHUP) {
        return Ok(None);
    }
    signal(SignalKind::hangup()).map(Some)
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether a process with this status (proc(5)) ignores a signal.
fn is_ignored(status: &str, number: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_known() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGTERM));
        assert!(is_ignored(status, 13));
        assert!(!is_ignored("", SIGHUP));
    }
}
