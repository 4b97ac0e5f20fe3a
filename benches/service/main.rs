//! The cost and the speed of a node, beside its peers and the bare driver: `cargo bench --bench service [-- CASE…]`.
//!
//! Each case starts a private mongod, the release binary and, where they are installed, the peers (`nginx` with nchan,
//! `nats-server`) as processes of their own on the first core. This process is the load and stays on the second; mongod
//! may use both. CPU and memory are the kernel's figures. Every row is the median of several windows, ours and theirs
//! in turn; `teardown`, `replay`, `durable` and `return` print lines of their own. Without arguments all cases run except
//! `quick`, a check of a minute that fails if a ratio is far off. `access` stands for all cases that begin with it.
//!
//! Each file here is a case. `rig` is the machinery, and `peers` are the services that are compared.

mod access;
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

use anyhow::{Context as _, Result, bail, ensure};

use self::rig::{kernel, pin, table::Row};

const CASES: [&str; 23] = [
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
    "access-fanout",
    "access-latency",
    "access-distinct",
    "access-connect",
    "access-keys",
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
        "access-fanout" => access::fanout::run(&access::fanout::WHOLE, 1.03).await,
        "access-latency" => access::latency::run(&access::latency::WHOLE, 1.03).await,
        "access-distinct" => access::distinct::run(&access::distinct::WHOLE, 0.9).await,
        "access-connect" => access::connect::run(&access::connect::WHOLE, None).await,
        "access-keys" => access::keys::run(&access::keys::WHOLE, None).await,
        "teardown" => teardown::run().await.map(|()| Vec::new()),
        "replay" => replay::run().await.map(|()| Vec::new()),
        "durable" => durable::run().await.map(|()| Vec::new()),
        "return" => returning::run().await.map(|()| Vec::new()),
        "quick" => quick::run().await,
        unknown => bail!("no case {unknown}"),
    }
}

/// Returns the cases that a word names: itself, or those that begin with it.
fn named(word: &str) -> Result<Vec<&'static str>> {
    if word == "quick" {
        return Ok(vec!["quick"]);
    }
    if let Some(case) = CASES.into_iter().find(|case| *case == word) {
        return Ok(vec![case]);
    }
    let begins = |case: &&str| {
        case.strip_prefix(word)
            .is_some_and(|rest| rest.starts_with('-'))
    };
    let several: Vec<_> = CASES.into_iter().filter(begins).collect();
    let several = Some(several).filter(|cases| !cases.is_empty());
    several.with_context(|| format!("no case {word}; there are quick, {}", CASES.join(", ")))
}

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let mut cases = Vec::new();
    for word in &chosen {
        cases.extend(named(word)?);
    }
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
