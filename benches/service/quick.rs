//! A minute's check for developers: ratios alone. The bounds are wide enough for a busy machine, and catch a lost
//! factor of two or three.

use std::time::Duration;

use anyhow::Result;

use crate::{
    access, fanout, feed, latency, publish,
    rig::table::{Goal, Row},
};

const SPAN: Duration = Duration::from_secs(3);

pub(crate) async fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if let Some((ours, theirs)) = fanout::beside_nchan(300, 20, SPAN, 1).await? {
        let cpu = |w: &crate::rig::window::Window| w.cpu_per_message;
        rows.push(Row {
            case: "300 sockets, 20 events/s".to_owned(),
            unit: "µs of server CPU a message",
            ours: fanout::middle(&ours, cpu),
            beside: Some(("nchan", fanout::middle(&theirs, cpu))),
            goal: Some(Goal::AtMost(2.5)),
        });
    }
    let (ours, theirs) = fanout::beside_nats(300, SPAN, 1).await?;
    let rate = |w: &crate::rig::window::Window| w.messages_per_second;
    if !theirs.is_empty() {
        rows.push(Row {
            case: "300 sockets, saturated".to_owned(),
            unit: "messages/s",
            ours: fanout::middle(&ours, rate),
            beside: Some(("nats-server", fanout::middle(&theirs, rate))),
            goal: Some(Goal::AtLeast(0.3)),
        });
    }
    let latency = latency::measure(100, 300, 100).await?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a short run")]
    let [ours, bare] = [latency.ours[0], latency.bare[0]].map(|micros| micros as f64);
    rows.push(Row {
        case: "commit to socket at 100/s".to_owned(),
        unit: "µs, p50",
        ours,
        beside: Some(("bare change stream", bare)),
        goal: Some(Goal::AtMost(2.0)),
    });
    rows.extend(wider(feed::compare(50_000, 1).await?, Goal::AtLeast(0.4)));
    rows.extend(wider(publish::compare(10, 1).await?, Goal::AtLeast(0.3)));
    rows.extend(with_credentials().await?);
    Ok(rows)
}

/// Compares a node that asks for credentials with one that does not.
async fn with_credentials() -> Result<Vec<Row>> {
    let fanout = access::fanout::Size {
        sockets: 300,
        rate: 20,
        span: SPAN,
        rounds: 1,
    };
    let latency = access::latency::Size {
        others: 100,
        events: 300,
        rate: 300,
        rounds: 1,
    };
    let distinct = access::distinct::Size {
        subscriptions: 500,
        tenants: 10,
        span: SPAN,
        rounds: 1,
    };
    let connect = access::connect::Size {
        sockets: 200,
        rounds: 1,
    };
    let keys = access::keys::Size {
        keys: 10_000,
        rounds: 1,
    };
    let mut rows = access::fanout::run(&fanout, 2.0).await?;
    rows.extend(access::latency::run(&latency, 2.0).await?);
    rows.extend(access::distinct::run(&distinct, 0.4).await?);
    rows.extend(access::connect::run(&connect, Some(4.0)).await?);
    rows.extend(access::keys::run(&keys, Some(3_000.0)).await?);
    Ok(rows)
}

/// Replaces the goals of some comparisons.
fn wider(rows: Vec<Row>, goal: Goal) -> impl Iterator<Item = Row> {
    let goal = Some(goal);
    rows.into_iter().map(move |row| Row { goal, ..row })
}
