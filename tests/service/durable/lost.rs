//! The collection of positions disappears while the service runs.

use bson::{Document, doc};

use super::support::{ack, durable, next, publish, read, stored, until_stored};
use crate::support::{Service, Socket};

/// Makes a durable subscription whose client has acknowledged the first of three events and reads on.
async fn acknowledged_one(service: &Service) -> (String, String, Socket) {
    let id = durable(service).await;
    let mut socket = service.connect(&id).await;
    publish(service, 0..3).await;
    let (_, first) = next(&mut socket).await;
    ack(&mut socket, &first).await;
    until_stored(service, &id, &first).await;
    (id, first, socket)
}

async fn check(take_away: impl AsyncFnOnce(&Service)) {
    let service = Service::start().await;
    let (connected, first, mut socket) = acknowledged_one(&service).await;
    let (away, place, gone) = acknowledged_one(&service).await;
    drop(gone);
    take_away(&service).await;
    for (id, place) in [(&connected, &first), (&away, &place)] {
        service
            .until("the position is stored again", async || {
                let stored = stored(&service, id).await.unwrap_or_default();
                stored.get_str("position").is_ok_and(|at| at == place)
            })
            .await;
    }
    // The position moves on as before, and a delete removes it.
    let (_, second) = next(&mut socket).await;
    ack(&mut socket, &second).await;
    until_stored(&service, &connected, &second).await;
    let config = service.config.clone();
    service.stop().await;
    let service = Service::on(config).await;
    let mut again = service.connect(&away).await;
    assert_eq!(read(&mut again, 2).await.0[0], 1, "behind the acknowledged");
    let path = format!("/subscriptions/{connected}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    assert_eq!(stored(&service, &connected).await, None);
    let indexes = service.database.collection::<Document>("positions");
    service
        .until("it has its index", async || {
            let names = indexes.list_index_names().await.unwrap_or_default();
            names.contains(&"position".to_owned())
        })
        .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_positions_are_stored_again() {
    check(async |service| {
        let positions = service.database.collection::<Document>("positions");
        positions.drop().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_were_renamed_away_are_stored_again() {
    check(async |service| {
        let name = service.database.name();
        let rename = doc! {
            "renameCollection": format!("{name}.positions"), "to": format!("{name}.elsewhere"),
        };
        let admin = service.database.client().database("admin");
        admin.run_command(rename).await.unwrap();
    })
    .await;
}
