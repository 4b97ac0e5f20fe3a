//! What a node costs and how fast it is: `cargo bench --bench service [-- CASE…]`.
//!
//! Each case starts a private mongod and the release binary as processes of their own, drives them
//! from this process over loopback, and reads the server's CPU and memory from the kernel. Cases:
//! `idle`, `fanout`, `latency`, `deletes`, `teardown`, `start`, `replay`, `durable`, `return`; all of them without arguments.

mod client;
mod deletes;
mod durable;
mod fanout;
mod idle;
mod latency;
mod node;
mod numbers;
mod replay;
mod returning;
mod start;
mod teardown;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let cases: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let all = [
        "idle", "fanout", "latency", "deletes", "teardown", "start", "replay", "durable", "return",
    ];
    if let Some(unknown) = cases.iter().find(|case| !all.contains(&case.as_str())) {
        bail!("no case {unknown}; there are {}", all.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        drop(rustls::crypto::ring::default_provider().install_default());
        for case in all {
            if cases.is_empty() || cases.iter().any(|chosen| chosen == case) {
                match case {
                    "idle" => idle::run().await?,
                    "fanout" => fanout::run().await?,
                    "latency" => latency::run().await?,
                    "deletes" => deletes::run().await?,
                    "teardown" => teardown::run().await?,
                    "start" => start::run().await?,
                    "replay" => replay::run().await?,
                    "durable" => durable::run().await?,
                    _ => returning::run().await?,
                }
            }
        }
        Ok(())
    })
}
