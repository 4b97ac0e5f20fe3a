//! The cost and the speed of a node, beside its peers and the bare driver: `cargo bench --bench service [-- CASE…]`.
//!
//! Each case starts a private mongod, the release binary and, where they are installed, the peers (`nginx` with nchan,
//! `nats-server`) as processes of their own on the first core. This process is the load and stays on the second; mongod
//! may use both. CPU and memory are the kernel's figures. Every row is the median of several windows, ours and theirs
//! in turn; the last four cases print lines of their own. Without arguments all cases run except `quick`, a check of a
//! minute that fails if a ratio is far off.
//!
//! Each file here is a case. `rig` is the machinery, and `peers` are the services that are compared.

mod churn;
mod deletes;
mod distinct;
mod durable;
mod fanout;
mod feed;
mod idle;
mod latency;
mod nodes;
mod peers;
mod publish;
mod quick;
mod replay;
mod returning;
mod rig;
mod several;
mod start;
mod teardown;

use anyhow::{Result, bail, ensure};

use self::rig::{kernel, pin, table::Row};

const CASES: [&str; 18] = [
    "fanout",
    "saturated",
    "saturated-10k",
    "wide",
    "several",
    "idle",
    "distinct",
    "latency",
    "feed",
    "publish",
    "churn",
    "deletes",
    "nodes",
    "start",
    "teardown",
    "replay",
    "durable",
    "return",
];

async fn run(case: &str) -> Result<Vec<Row>> {
    match case {
        "fanout" => fanout::paced().await,
        "saturated" => fanout::saturated(1_000, 1_500_000.0).await,
        "saturated-10k" => fanout::saturated(10_000, 1_000_000.0).await,
        "wide" => fanout::wide().await,
        "several" => several::run().await,
        "idle" => idle::run().await,
        "distinct" => distinct::run().await,
        "latency" => latency::run().await,
        "feed" => feed::run().await,
        "publish" => publish::run().await,
        "churn" => churn::run().await,
        "deletes" => deletes::run().await,
        "nodes" => nodes::run().await,
        "start" => start::run().await,
        "teardown" => teardown::run().await.map(|()| Vec::new()),
        "replay" => replay::run().await.map(|()| Vec::new()),
        "durable" => durable::run().await.map(|()| Vec::new()),
        "return" => returning::run().await.map(|()| Vec::new()),
        "quick" => quick::run().await,
        unknown => bail!("no case {unknown}; there are quick, {}", CASES.join(", ")),
    }
}

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let mut cases: Vec<&str> = chosen.iter().map(String::as_str).collect();
    if cases.is_empty() {
        cases = CASES.to_vec();
    }
    pin::load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    drop(rustls::crypto::ring::default_provider().install_default());
    runtime.block_on(all(&cases))
}

/// Runs the cases one after another. A case that fails does not stop the others.
async fn all(cases: &[&str]) -> Result<()> {
    let mut bad = Vec::new();
    for case in cases {
        let before = kernel::load_average();
        match run(case).await {
            Ok(rows) => {
                for row in &rows {
                    row.print();
                    let holds = row.goal.is_none_or(|goal| goal.holds(row.ratio()));
                    if *case == "quick" && !holds {
                        bad.push(row.case.clone());
                    }
                }
            }
            Err(error) => {
                println!("{case}: FAILED: {error:#}");
                bad.push((*case).to_owned());
            }
        }
        let after = kernel::load_average();
        println!("# {case}: load average {before} before, {after} after");
    }
    ensure!(bad.is_empty(), "failed: {}", bad.join("; "));
    Ok(())
}
