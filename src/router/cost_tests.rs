//! Tests of changes that concern very much at once. They print what those cost, and assert no duration.

use std::{sync::Arc, time::Instant};

use bson::{DateTime, Document, RawDocumentBuf, doc};

use super::{
    Router,
    gap_tests::{at, new_router, wish},
    outbox::Receiver,
    table::Entry,
};
use crate::{
    access::{Caller, Credential, CredentialKind, CredentialsChange, Scope, Scopes, TokenIdentity},
    config,
    filter::Limits,
    subscription::{CompiledSubscription, Status},
};

/// Returns a number of the environment, for a longer run.
fn number(name: &str, default: usize) -> usize {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

async fn apply(router: &mut Router, kind: CredentialKind, document: &Document) {
    let change = CredentialsChange::Stored(kind, raw(document));
    router.apply_credentials(&change, DateTime::now()).await;
}

async fn subscribe(router: &mut Router, document: &Document) {
    let limits = Limits::from(&config::Limits::default());
    let compiled = CompiledSubscription::compile(raw(document), &limits);
    let (subscription, filter) = compiled.into_parts();
    router.upsert(Entry::new(subscription), filter).await;
}

fn holder(n: usize) -> Caller {
    let token = TokenIdentity {
        issuer: "main".into(),
        subject: n.to_string().into(),
        jti: Some(format!("j{n}").into()),
        kid: Some("k".into()),
        issued_at: Some(0),
        signed_by: [0; 32],
    };
    Caller {
        credential: Credential::Token(Box::new(token)),
        scopes: Scopes::of(&[Scope::EventsRead, Scope::SubscriptionsRead]),
        ..Caller::anybody()
    }
}

#[tokio::test]
async fn a_revocation_ends_the_sessions_that_it_names_among_very_many() {
    let sessions = number("TEST_TIDEGATE_SESSIONS", 2_000);
    let (mut router, handle, _feed) = new_router();
    router.settings.limits.connections = usize::MAX;
    router.settings.limits.connections_per_subscription = usize::MAX;
    router.position = at(1);
    router.loaded_at = at(1);
    subscribe(&mut router, &doc! {"_id": "a"}).await;
    let mut receivers: Vec<Receiver> = Vec::new();
    for n in 0..sessions {
        let (mut attach, receiver) = wish(&handle, "a", None);
        attach.caller = Arc::new(holder(n));
        router.try_attach(attach).unwrap();
        receivers.push(receiver);
    }
    for (id, names, left) in [
        ("none", doc! {"sub": "nobody"}, sessions),
        ("one", doc! {"sub": "1"}, sessions - 1),
        ("all", doc! {"kid": "k"}, 0),
    ] {
        let mut revocation = doc! {"_id": id};
        revocation.extend(names);
        let began = Instant::now();
        apply(&mut router, CredentialKind::Revocation, &revocation).await;
        println!("revocation of {id} among {sessions}: {:?}", began.elapsed());
        assert_eq!(router.registry.len(), left, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_very_many_subscriptions_changes_for_all_of_them() {
    let subscriptions = number("TEST_TIDEGATE_SUBSCRIPTIONS", 2_000);
    let (mut router, _handle, _feed) = new_router();
    let sound = doc! {"_id": "default", "read": {"tenant": "$claims.tenant"}};
    apply(&mut router, CredentialKind::Policy, &sound).await;
    let began = Instant::now();
    for n in 0..subscriptions {
        let filter = doc! {"type": "order.placed", "data.customer": i64::try_from(n).unwrap()};
        let tenant = format!("t{}", n % 100);
        let document = doc! {"_id": format!("s{n}"), "tenant": tenant, "filter": filter};
        subscribe(&mut router, &document).await;
    }
    println!("{subscriptions} subscriptions made: {:?}", began.elapsed());
    let narrower = doc! {"_id": "default", "read": {"tenant": "$claims.tenant", "public": true}};
    let broken = doc! {"_id": "default", "read": {"tenant": {"$odd": 1}}};
    for (name, policy, active) in [
        ("narrower", narrower, subscriptions),
        ("broken", broken, 0),
        ("sound", sound, subscriptions),
    ] {
        let began = Instant::now();
        apply(&mut router, CredentialKind::Policy, &policy).await;
        let took = began.elapsed();
        println!("policy of {subscriptions} subscriptions, {name}: {took:?}");
        let found = router.subscriptions.counts()[Status::Active as usize];
        assert_eq!(found, active as u64, "{name}");
    }
}
