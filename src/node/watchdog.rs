//! The watchdog reports the health of parts that do not report it themselves: the database and the router.
//!
//! While no server takes writes, it looks for a primary, so that the driver looks often and requests flow
//! again as soon as there is one. It logs once that the database is away, and once that it is back.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    access::CredentialKind,
    router::{RouterHandle, Withheld},
    store::{Availability, Store, jittered},
    telemetry::{Health, Part},
};

/// Average pause between two looks for a primary, and between two looks at missing rights.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches for ever.
pub(super) async fn run(store: Store, router: RouterHandle, health: Health) {
    tokio::select! {
        () = watch_database(&store, &health) => {}
        () = watch_rights(&store, &health) => {}
        () = watch_router(&router, &health) => {}
    }
}

async fn watch_database(store: &Store, health: &Health) {
    let availability = store.availability();
    loop {
        availability.wait_no_primary().await;
        tokio::select! {
            () = report_outage(store, health) => {}
            () = look_for_primary(store) => {}
        }
    }
}

/// Looks for a primary again and again.
async fn look_for_primary(store: &Store) {
    loop {
        if let Err(error) = store.look_for_primary().await {
            tracing::debug!(%error, "no primary was found");
        }
        sleep(jittered(PAUSE)).await;
    }
}

/// Reports that the database is away once it is, and when it is back.
async fn report_outage(store: &Store, health: &Health) {
    let availability = store.availability();
    let outage = tokio::select! {
        outage = availability.wait_unavailable() => outage,
        () = availability.wait_primary() => return,
    };
    let reason = outage.reason.as_str();
    tracing::warn!(
        reason,
        "the database is away; requests are refused until it is back"
    );
    report(store, health);
    availability.wait_primary().await;
    let away = whole_millis(outage.since);
    tracing::info!(away, "the database is back");
    report(store, health);
}

fn report(store: &Store, health: &Health) {
    let availability = store.availability();
    if let Availability::Unavailable(outage) = availability.now() {
        health.report(Part::Database, "away", Some(outage.reason));
    } else if let Some(right) = availability.missing_right() {
        health.report(Part::Database, "forbids", Some(right));
    } else {
        health.report(Part::Database, "up", None);
    }
}

fn whole_millis(since: Instant) -> String {
    let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

/// Reports a missing right, and when it is no longer missing.
async fn watch_rights(store: &Store, health: &Health) {
    let availability = store.availability();
    loop {
        availability.wait_missing_right().await;
        let mut missing = None;
        while let Some(right) = availability.missing_right() {
            report(store, health);
            if missing.as_ref() != Some(&right) {
                tracing::error!(
                    detail = right,
                    "this service lacks a right on the database; an operator must grant it"
                );
                missing = Some(right);
            }
            sleep(PAUSE).await;
        }
        tracing::info!("the database has refused no right for a while");
        report(store, health);
    }
}

/// Reports the number of subscriptions whose filters could not be matched with an event.
async fn watch_filters(router: &RouterHandle, health: &Health) {
    let mut known = 0;
    loop {
        known = router.unmatchable(known).await;
        let detail = format!(
            "{known} subscriptions are invalid because an event could not be matched with their filters; see \
             status=invalid"
        );
        match known {
            0 => health.report(Part::Filters, "up", None),
            _ => health.report(Part::Filters, "expensive", Some(detail)),
        };
    }
}

/// Reports the number of policies that cannot be used.
async fn watch_policies(router: &RouterHandle, health: &Health) {
    let mut known = 0;
    loop {
        known = router.broken_policies(known).await;
        let detail = format!(
            "{known} stored policies cannot be used: whoever is under one receives nothing; the log names them"
        );
        match known {
            0 => health.report(Part::Policies, "up", None),
            _ => health.report(Part::Policies, "broken", Some(detail)),
        };
    }
}

/// Reports the numbers of credentials for which there is no room.
async fn watch_credentials(router: &RouterHandle, health: &Health) {
    let mut known = Withheld::default();
    loop {
        known = router.withheld_credentials(known).await;
        let counted = CredentialKind::ALL.into_iter().zip(known);
        let counted = counted.filter(|(_, count)| *count > 0);
        let counted = counted.map(|(kind, count)| format!("{count} {}", kind.collection()));
        let counted = counted.collect::<Vec<_>>().join(", ");
        let detail = format!(
            "no room for {counted} (limits.credentials_bytes): they grant nothing, and as long as revocations are among them no \
             token and no tenant's key is let in"
        );
        if counted.is_empty() {
            health.report(Part::Credentials, "up", None);
        } else {
            health.report(Part::Credentials, "full", Some(detail));
        }
    }
}

async fn watch_router(router: &RouterHandle, health: &Health) {
    router.until_loaded().await;
    tokio::join!(
        watch_filters(router, health),
        watch_policies(router, health),
        watch_credentials(router, health),
        watch_room(router, health)
    );
}

/// Reports how full this node is of subscriptions, once it is nearly full.
async fn watch_room(router: &RouterHandle, health: &Health) {
    let mut occupancy = router.occupancy();
    let mut warned = false;
    loop {
        let warning = occupancy.borrow_and_update().warning();
        if let Some(warning) = warning.as_deref().filter(|_| !warned) {
            tracing::warn!(
                warning,
                "this node has almost as many subscriptions as it may hold"
            );
        }
        warned = warning.is_some();
        health.report(Part::Router, "up", warning);
        if occupancy.changed().await.is_err() {
            // The router has ended, so the supervisor ends this node.
            pending::<()>().await;
        }
    }
}
