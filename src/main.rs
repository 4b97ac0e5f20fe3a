//! The `tidegate` binary: arguments → configuration → run.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use tidegate::cli::{self, Cli, Failure};

fn main() -> ExitCode {
    let cli = cli::parse();
    match run(cli) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Ok(Err(failure)) if failure.is_already_printed() => failure.exit_code().into(),
        Ok(Err(failure)) => {
            cli::error(&failure);
            failure.exit_code().into()
        }
        Err(error) => {
            cli::error(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the command. The outer result is about the process, the inner one about the command.
fn run(cli: Cli) -> anyhow::Result<Result<(), Failure>> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("TLS was set up already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let outcome = runtime.block_on(cli.run());
    // A thread may still wait for standard input. Nobody needs its result.
    runtime.shutdown_background();
    Ok(outcome)
}
