//! Writes of positions may come twice, late, and from several nodes.

use bson::{Document, Timestamp, doc};
use tidegate::{
    position::{DeploymentId, Position},
    store::{Beginning, DurableSnapshot, PositionChanges, Store},
};

use crate::store;

fn at(time: u32) -> Position {
    Position::at(Timestamp { time, increment: 0 })
}

fn begun(time: u32, seen: bool) -> PositionChanges {
    PositionChanges {
        begun: vec![("a".into(), Beginning { at: at(time), seen })],
        ..PositionChanges::default()
    }
}

fn acknowledged(time: u32) -> PositionChanges {
    PositionChanges {
        acknowledged: vec![("a".into(), at(time))],
        ..PositionChanges::default()
    }
}

fn ended(time: u32) -> PositionChanges {
    PositionChanges {
        ended: vec![("a".into(), at(time))],
        ..PositionChanges::default()
    }
}

fn snapshot(time: u32, ids: &[&str]) -> PositionChanges {
    let snapshot = DurableSnapshot {
        at: at(time),
        ids: ids.iter().map(|id| (*id).into()).collect(),
    };
    PositionChanges {
        snapshot: Some(snapshot),
        ..PositionChanges::default()
    }
}

/// Writes these changes, each twice, and compares the stored position.
async fn check(changes: &[PositionChanges], expected: Option<u32>) {
    let store = store().await;
    for change in changes {
        store.write_positions(change).await.unwrap();
        store.write_positions(change).await.unwrap();
    }
    let stored = position(&store).await;
    assert_eq!(stored, expected.map(at), "{changes:#?}");
}

async fn position(store: &Store) -> Option<Position> {
    let found = store.find_position("a").await.unwrap();
    found.map(|cursor| cursor.position)
}

#[tokio::test]
async fn acknowledgements_move_forward_only() {
    let moves = [begun(1, true), acknowledged(5), acknowledged(3)];
    check(&moves, Some(5)).await;
}

#[tokio::test]
async fn a_late_acknowledgement_makes_nothing() {
    check(&[acknowledged(5)], None).await;
    let late = [begun(1, true), ended(4), acknowledged(3)];
    check(&late, None).await;
}

#[tokio::test]
async fn the_first_beginning_stays() {
    let found = [begun(2, true), acknowledged(3), begun(9, false)];
    check(&found, Some(3)).await;
    // Another node that is behind sees the insert later.
    let seen = [begun(2, true), acknowledged(3), begun(2, true)];
    check(&seen, Some(3)).await;
    // It was found by a load before its insert was seen.
    check(&[begun(2, false), begun(4, true)], Some(4)).await;
}

#[tokio::test]
async fn a_node_that_is_behind_neither_ends_nor_resets_a_newer_subscription_of_the_same_id() {
    let newer = [begun(5, true), acknowledged(7)];
    for late in [begun(1, true), ended(3), snapshot(4, &[])] {
        check(&[newer.as_slice(), &[late]].concat(), Some(7)).await;
    }
    // The late write of its beginning comes just before the newer one's.
    check(&[begun(1, true), begun(5, true), ended(3)], Some(5)).await;
}

#[tokio::test]
async fn a_snapshot_ends_subscriptions_that_are_not_in_it() {
    check(&[begun(1, true), snapshot(2, &["b"])], None).await;
    check(&[begun(1, true), snapshot(2, &["a"])], Some(1)).await;
}

/// A copy of a database is another deployment: its positions name the original one.
#[tokio::test]
async fn a_position_of_another_deployment_is_kept_until_something_is_acknowledged() {
    let store = store().await;
    let elsewhere = DeploymentId([0xFF; 6]);
    let positions = store.database().collection::<Document>("positions");
    let theirs = at(9).cursor(elsewhere);
    let document = doc! {"_id": "a", "since": &theirs, "position": &theirs};
    positions.insert_one(document).await.unwrap();

    store.write_positions(&begun(1, false)).await.unwrap();
    let found = store.find_position("a").await.unwrap().unwrap();
    assert_eq!((found.deployment, found.position), (elsewhere, at(9)));
    store.write_positions(&acknowledged(2)).await.unwrap();
    assert_eq!(position(&store).await, Some(at(2)));
    store.write_positions(&ended(3)).await.unwrap();
    assert_eq!(position(&store).await, None);
}
