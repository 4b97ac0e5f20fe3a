use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use tidegate::store::{
    BatchWritten, Deleted, ListQuery, Sight, Store, StoreError, StoredStatus, SubscriptionBatch,
};
use tidegate::subscription::DocumentKey;
use tokio::sync::mpsc;

use crate::{other_program, raw, store};

fn ids(documents: &[RawDocumentBuf]) -> Vec<Bson> {
    let id = |document: &RawDocumentBuf| Bson::try_from(document.get("_id").unwrap().unwrap());
    documents
        .iter()
        .map(|document| id(document).unwrap())
        .collect()
}

async fn found(store: &Store, id: &str) -> RawDocumentBuf {
    store
        .find_subscription(id, &Sight::EVERYTHING)
        .await
        .unwrap()
        .document
        .unwrap()
}

#[tokio::test]
async fn a_bare_document_of_another_program_is_a_subscription() {
    let store = store().await;
    let subscriptions = other_program(&store)
        .await
        .collection::<Document>("subscriptions");
    let filters = [
        doc! {"_id": "a", "filter": {"data.amount": {"$gte": 1000}, "$or": [{"x": 1}]}},
        doc! {"_id": "b"},
        doc! {"_id": "c", "filter": null, "name": null, "status": "asleep", "theirs": [1, 2]},
        doc! {"_id": 5, "filter": {"$nonsense": 1}},
    ];
    subscriptions.insert_many(&filters).await.unwrap();
    assert_eq!(found(&store, "a").await, raw(&filters[0]));
}

#[tokio::test]
async fn wrong_types_and_sizes_are_refused_with_a_reason() {
    let store = store().await;
    let large = "x".repeat(5 << 20);
    for (document, reason) in [
        (
            doc! {"_id": "a", "filter": 5},
            "#/filter: must be object or null, is int",
        ),
        (
            doc! {"_id": "a", "name": []},
            "#/name: must be string or null, is array",
        ),
        (
            doc! {"_id": "a", "expiresAt": "soon"},
            "#/expiresAt: must be date or null, is string",
        ),
        (
            doc! {"_id": "a", "theirs": large},
            "larger than this collection allows",
        ),
    ] {
        let one = store
            .insert_subscription(&document, None)
            .await
            .unwrap_err();
        assert!(
            matches!(&one, StoreError::Refused { detail } if detail.contains(reason)),
            "{one}"
        );
        let many = store
            .insert_subscriptions(&[&raw(&document)], None)
            .await
            .unwrap();
        let many = many.outcomes[0].as_ref().unwrap_err();
        assert!(
            matches!(many, StoreError::Refused { detail } if detail.contains(reason)),
            "{many}"
        );
    }
    store
        .insert_subscription(&doc! {"_id": "a"}, None)
        .await
        .unwrap();
    let read = found(&store, "a").await;
    let error = store
        .update_subscription(&read, doc! {"filter": 5}, &[], &Sight::EVERYTHING, None)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused { detail } if detail.contains("#/filter: must be")),
        "{error:?}"
    );
    let error = store
        .replace_subscription(
            &read,
            &doc! {"_id": "a", "name": 5},
            &Sight::EVERYTHING,
            None,
        )
        .await
        .unwrap_err();
    assert!(matches!(&error, StoreError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn an_id_is_taken_once() {
    let store = store().await;
    let document = doc! {"_id": "a", "filter": {}};
    let first = store.insert_subscription(&document, None).await.unwrap();
    let second = store.insert_subscription(&document, None).await;
    assert!(matches!(second, Err(StoreError::Duplicate)));
    let read = store
        .find_subscription("a", &Sight::EVERYTHING)
        .await
        .unwrap();
    assert_eq!(read.document.unwrap(), first.document);
    assert!(read.operation_time >= first.operation_time);
}

async fn insert_all(store: &Store, documents: &[Document]) -> BatchWritten {
    let all: Vec<_> = documents.iter().map(raw).collect();
    let all: Vec<_> = all.iter().collect();
    store.insert_subscriptions(&all, None).await.unwrap()
}

#[tokio::test]
async fn each_of_a_batch_succeeds_or_fails_alone() {
    let store = store().await;
    let deep = (0..250).fold(doc! {}, |inner, _| doc! {"a": inner});
    let batch = [
        doc! {"_id": "a"},
        doc! {"_id": "a"},
        doc! {"_id": "b", "name": 5},
        doc! {"_id": "d", "deep": deep},
        doc! {"_id": "e", "large": "x".repeat(17 << 20)},
        doc! {"_id": "f"},
    ];
    let written = insert_all(&store, &batch).await;
    let outcomes: Vec<_> = written
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(()) => "stored",
            Err(StoreError::Duplicate) => "duplicate",
            Err(StoreError::Refused { .. }) => "refused",
            Err(error) => panic!("{error:?}"),
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            "stored",
            "duplicate",
            "refused",
            "refused",
            "refused",
            "stored"
        ]
    );
    let read = store
        .find_subscription("f", &Sight::EVERYTHING)
        .await
        .unwrap();
    assert!(read.document.is_some() && written.operation_time <= read.operation_time);
    assert_eq!(
        store
            .insert_subscriptions(&[], None)
            .await
            .unwrap()
            .outcomes
            .len(),
        0
    );
}

#[tokio::test]
async fn an_update_writes_only_what_it_names_and_only_over_what_was_read() {
    let store = store().await;
    let document =
        doc! {"_id": "a", "filter": {"a.b": {"$gt": 1}}, "name": "n", "theirs": {"x": 1}};
    store.insert_subscription(&document, None).await.unwrap();
    let read = found(&store, "a").await;
    let set = doc! {"filter": {"c.d": {"$in": [1, 2]}}, "revision": 2};
    let written = store
        .update_subscription(&read, set, &["name"], &Sight::EVERYTHING, None)
        .await
        .unwrap()
        .unwrap();
    let expected =
        doc! {"_id": "a", "filter": {"c.d": {"$in": [1, 2]}}, "theirs": {"x": 1}, "revision": 2};
    assert_eq!(written.document, raw(&expected));
    assert_eq!(found(&store, "a").await, written.document);

    let stale = store
        .update_subscription(&read, doc! {"name": "lost"}, &[], &Sight::EVERYTHING, None)
        .await
        .unwrap();
    assert!(stale.is_none());
    assert_eq!(found(&store, "a").await, written.document);
}

#[tokio::test]
async fn a_replacement_is_conditional_too() {
    let store = store().await;
    store
        .insert_subscription(&doc! {"_id": "a", "filter": {"$or": [{"x": 1}]}}, None)
        .await
        .unwrap();
    let read = found(&store, "a").await;
    let new = doc! {"_id": "a", "filter": {"y.z": {"$ne": null}}};
    let written = store
        .replace_subscription(&read, &new, &Sight::EVERYTHING, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(written.document, raw(&new));
    assert!(
        store
            .replace_subscription(&read, &new, &Sight::EVERYTHING, None)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn one_of_many_writers_at_once_wins() {
    let store = store().await;
    store
        .insert_subscription(&doc! {"_id": "a", "revision": 1}, None)
        .await
        .unwrap();
    let read = found(&store, "a").await;
    let writers = (0..8).map(|n| {
        store.update_subscription(
            &read,
            doc! {"revision": 2, "by": n},
            &[],
            &Sight::EVERYTHING,
            None,
        )
    });
    let written = futures_util::future::join_all(writers).await;
    let won = written.iter().filter(|one| one.as_ref().unwrap().is_some());
    assert_eq!(won.count(), 1);
}

#[tokio::test]
async fn a_delete_says_what_it_found() {
    let store = store().await;
    store
        .insert_subscription(&doc! {"_id": "a"}, None)
        .await
        .unwrap();
    let read = found(&store, "a").await;
    store
        .update_subscription(&read, doc! {"name": "new"}, &[], &Sight::EVERYTHING, None)
        .await
        .unwrap();
    assert_eq!(
        store
            .delete_subscription("a", Some(&read), &Sight::EVERYTHING, None)
            .await
            .unwrap(),
        Deleted::Changed
    );
    let read = found(&store, "a").await;
    let gone = store
        .delete_subscription("a", Some(&read), &Sight::EVERYTHING, None)
        .await
        .unwrap();
    assert!(matches!(gone, Deleted::Gone(_)));
    assert_eq!(
        store
            .delete_subscription("a", Some(&read), &Sight::EVERYTHING, None)
            .await
            .unwrap(),
        Deleted::NotFound
    );
    assert_eq!(
        store
            .delete_subscription("a", None, &Sight::EVERYTHING, None)
            .await
            .unwrap(),
        Deleted::NotFound
    );
}

#[tokio::test]
async fn pages_hold_every_id_of_every_type_once_and_in_order() {
    let store = store().await;
    let subscriptions = other_program(&store)
        .await
        .collection::<Document>("subscriptions");
    let mut documents = Vec::new();
    for (index, id) in [
        Bson::MinKey,
        Bson::Null,
        Bson::Int32(1),
        Bson::Double(1.5),
        Bson::Int64(1 << 40),
        "a".into(),
        "b".into(),
        doc! {"x": 1}.into(),
        ObjectId::new().into(),
        true.into(),
        bson::DateTime::from_millis(5).into(),
        Bson::MaxKey,
    ]
    .into_iter()
    .enumerate()
    {
        let mut document = doc! {"_id": id};
        if index % 2 == 0 {
            document.insert("name", "even");
        }
        if index % 3 == 0 {
            document.insert("status", if index % 2 == 0 { "paused" } else { "active" });
        }
        documents.push(document);
    }
    documents.push(doc! {"_id": "c", "name": "even\0", "status": "asleep"});
    subscriptions.insert_many(&documents).await.unwrap();

    for name in [None, Some("even".to_owned())] {
        for stored_status in [None, Some(StoredStatus::Active), Some(StoredStatus::Paused)] {
            let mut query = ListQuery {
                name: name.clone(),
                stored_status,
                limit: 100,
                ..ListQuery::default()
            };
            let whole = ids(&store.list_subscriptions(&query).await.unwrap().documents);
            let wanted = documents.iter().filter(|document| {
                let status = document.get_str("status").unwrap_or("active");
                name.as_deref()
                    .is_none_or(|name| document.get_str("name").is_ok_and(|n| n == name))
                    && match stored_status {
                        None => true,
                        Some(StoredStatus::Active) => status == "active",
                        Some(StoredStatus::Paused) => status == "paused",
                    }
            });
            assert_eq!(whole.len(), wanted.count(), "{query:?}");
            assert_eq!(
                store.count_subscriptions(&query).await.unwrap(),
                whole.len() as u64
            );

            query.limit = 2;
            let mut paged = Vec::new();
            loop {
                let page = ids(&store.list_subscriptions(&query).await.unwrap().documents);
                query.after = page.last().cloned().or(query.after);
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, whole, "{query:?}");
        }
    }
}

#[tokio::test]
async fn a_page_goes_on_after_an_id_that_was_deleted_meanwhile() {
    let store = store().await;
    let all: Vec<_> = ["a", "b", "c"].map(|id| doc! {"_id": id}).into();
    insert_all(&store, &all).await;
    store
        .delete_subscription("b", None, &Sight::EVERYTHING, None)
        .await
        .unwrap();
    let query = ListQuery {
        after: Some("b".into()),
        limit: 10,
        ..ListQuery::default()
    };
    assert_eq!(
        ids(&store.list_subscriptions(&query).await.unwrap().documents),
        ["c".into()]
    );
    let wanted = ["a", "x", "c"].map(|id| DocumentKey::Text(id.into()));
    assert_eq!(
        store
            .subscriptions_by_key(&wanted, &Sight::EVERYTHING)
            .await
            .unwrap()
            .len(),
        2
    );
}

/// Loads all ids at one time. Returns them, and the time.
async fn snapshot(store: &Store) -> (Vec<String>, Timestamp) {
    let (documents, mut arriving) = mpsc::channel::<SubscriptionBatch>(1);
    let mut ids = Vec::new();
    let mut documents = Some(documents);
    let gather = async {
        while let Some(batch) = arriving.recv().await {
            let add = |document: &RawDocument| {
                ids.push(document.get_str("_id").unwrap().to_owned());
            };
            batch.each(add).unwrap();
        }
    };
    let read = store.load_subscriptions(|| documents.take().expect("a quiet server"));
    let (time, ()) = tokio::join!(read, gather);
    (ids, time.unwrap())
}

#[tokio::test]
async fn a_snapshot_is_all_documents_of_one_time() {
    // More documents than one reply holds.
    const MANY: usize = 12_000;
    let store = store().await;
    assert_eq!(snapshot(&store).await.0.len(), 0);
    let many: Vec<_> = (0..MANY).map(|n| doc! {"_id": format!("{n:05}")}).collect();
    let written = insert_all(&store, &many).await;

    let (mut ids, time) = snapshot(&store).await;

    assert!(time >= written.operation_time);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), MANY);
}

#[tokio::test]
async fn a_snapshot_of_a_missing_collection_is_empty() {
    let store = store().await;
    let database = other_program(&store).await;
    database
        .collection::<Document>("subscriptions")
        .drop()
        .await
        .unwrap();
    let (ids, time) = snapshot(&store).await;
    assert_eq!(ids.len(), 0);
    assert!(time.time > 0);

    database
        .collection("subscriptions")
        .insert_one(doc! {"_id": "a"})
        .await
        .unwrap();
    assert_eq!(snapshot(&store).await.0, ["a"]);
}
