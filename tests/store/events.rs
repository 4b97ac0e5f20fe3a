use std::time::Duration;

use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use mongodb::{Client, error::ErrorKind};
use tidegate::{
    config::Config,
    mongod::Mongod,
    store::{
        EventCommit, EventLookup, EventOutcome, EventQuery, PageKey, PageStep, Store, StoreError,
        event_page_key,
    },
};

use crate::{other_program, raw, store, support};

async fn publish(store: &Store, events: &[Document]) -> Vec<EventOutcome> {
    let events = events.iter().map(raw).collect();
    store.insert_events(events).await.unwrap().outcomes
}

fn field(documents: &[RawDocumentBuf], name: &str) -> Vec<String> {
    let text = |document: &RawDocumentBuf| document.get_str(name).unwrap_or("-").to_owned();
    documents.iter().map(text).collect()
}

async fn list(store: &Store, query: EventQuery) -> Vec<String> {
    field(&read(store, &query).await.unwrap().0, "id")
}

/// Reads a page, and the key of the next one.
async fn read(
    store: &Store,
    query: &EventQuery,
) -> Result<(Vec<RawDocumentBuf>, Option<PageKey>), StoreError> {
    let take = |page: &mut Vec<_>, event: &RawDocument| {
        page.push(event.to_owned());
        PageStep::Next
    };
    let read = store.read_events(query, Vec::new(), take).await?;
    Ok((read.page, read.next))
}

#[tokio::test]
async fn a_stored_event_has_its_fields_in_order_and_the_servers_times() {
    let store = store().await;
    let before = DateTime::now();
    let written = store
        .insert_events(vec![raw(
            &doc! {"id": "e", "source": "/s", "data": {"a": 1}},
        )])
        .await
        .unwrap();
    let events = other_program(&store).await.collection::<Document>("events");
    let stored = events.find_one(doc! {}).await.unwrap().unwrap();
    let names: Vec<_> = stored.keys().map(String::as_str).collect();
    assert_eq!(names, ["_id", "ts", "id", "source", "data", "storedAt"]);
    let ts = stored.get_timestamp("ts").unwrap();
    assert!(ts.time > 0 && ts <= written.operation_time);
    let stored_at = *stored.get_datetime("storedAt").unwrap();
    assert!(
        stored_at >= before
            && stored_at <= DateTime::from_millis(before.timestamp_millis() + 10_000)
    );
}

#[tokio::test]
async fn duplicates_are_told_from_what_is_new_and_from_what_is_refused() {
    let store = store().await;
    let event = |id: &str, source: &str| doc! {"id": id, "source": source};
    let first = publish(
        &store,
        &[event("1", "/a"), event("2", "/a"), event("1", "/a")],
    )
    .await;
    assert_eq!(
        first,
        [
            EventOutcome::Stored,
            EventOutcome::Stored,
            EventOutcome::Duplicate
        ]
    );

    let mut deep = doc! {"id": "deep", "source": "/a"};
    deep.insert("data", (0..250).fold(doc! {}, |inner, _| doc! {"a": inner}));
    let second = publish(
        &store,
        &[
            event("2", "/a"),
            event("2", "/b"),
            doc! {"id": ["x"], "source": "/a"},
            doc! {"id": "large", "source": "/a", "data": "x".repeat(17 << 20)},
            doc! {"id": "rather", "source": "/a", "data": "x".repeat((16 << 20) - 400_000)},
            deep,
            doc! {"id": "ts", "source": "/a", "ts": 5},
            event("3", "/a"),
        ],
    )
    .await;
    let short: Vec<_> = second
        .iter()
        .map(|outcome| match outcome {
            EventOutcome::Stored => "stored",
            EventOutcome::Duplicate => "duplicate",
            EventOutcome::Refused(_) => "refused",
        })
        .collect();
    assert_eq!(
        short,
        [
            "duplicate",
            "stored",
            "refused",
            "refused",
            "refused",
            "refused",
            "refused",
            "stored"
        ],
        "{second:?}"
    );
    assert_eq!(publish(&store, &[]).await, []);
}

/// Only the words of the server tell which index a duplicate breaks, and a new version may change them.
#[tokio::test]
async fn the_server_names_the_index_of_a_duplicate() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    let twin = doc! {"id": "1", "source": "/a"};
    let error = events.insert_many([&twin, &twin]).await.unwrap_err();
    let ErrorKind::InsertMany(many) = *error.kind else {
        panic!("{error}");
    };
    let duplicate = &many.write_errors.unwrap()[0];
    let words = &duplicate.message;
    assert_eq!(duplicate.code, 11_000);
    assert!(words.contains(" index: id_source dup key"), "{words}");
}

#[tokio::test]
async fn any_document_of_another_program_is_an_event() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    let theirs = [
        doc! {},
        doc! {"id": null, "source": null},
        doc! {"id": null, "source": null},
        doc! {"id": "x"},
        doc! {"id": "x"},
        doc! {"source": "/s"},
        doc! {"_id": "y", "type": 5, "data": [1], "ts": "text"},
    ];
    events.insert_many(theirs).await.unwrap();
    assert_eq!(list(&store, EventQuery::default()).await.len(), 7);
}

#[tokio::test]
async fn events_of_other_programs_are_dated_once_and_what_they_say_themselves_stays() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    // Neither is so long ago that the event would be deleted.
    let committed = DateTime::now();
    let long_ago = DateTime::from_millis(committed.timestamp_millis() - 3_600_000);
    let theirs = [
        doc! {"_id": 1},
        doc! {"_id": 2, "storedAt": null, "ts": null},
        doc! {"_id": 3, "storedAt": long_ago},
        doc! {"_id": 4, "ts": "text"},
    ];
    events.insert_many(theirs).await.unwrap();
    publish(&store, &[doc! {"id": "ours"}]).await;
    let (undated, more) = store.undated_events().await.unwrap();
    assert_eq!((undated.len(), more), (4, false));

    let at = Timestamp {
        time: 7,
        increment: 3,
    };
    let commits = [1, 2, 3, 4].map(|id| EventCommit {
        id: id.into(),
        at,
        wall_time: committed,
    });
    assert_eq!(store.date_events(&commits).await.unwrap(), 4);
    assert_eq!(store.date_events(&commits).await.unwrap(), 0);
    assert_eq!(store.undated_events().await.unwrap().0, []);
    for (id, ts, stored_at) in [
        (1, Bson::from(at), committed),
        (2, at.into(), committed),
        (3, at.into(), long_ago),
        (4, "text".into(), committed),
    ] {
        let event = events.find_one(doc! {"_id": id}).await.unwrap().unwrap();
        assert_eq!(event.get("ts"), Some(&ts));
        assert_eq!(event.get_datetime("storedAt").unwrap(), &stored_at);
    }
}

/// A node that was away, or got too much at once, has the oplog and the event's own id.
#[tokio::test]
async fn the_commit_of_an_event_that_no_node_saw_is_looked_up() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    let key = ObjectId::new();
    events
        .insert_many([doc! {"_id": key}, doc! {"_id": "named"}])
        .await
        .unwrap();
    let now = store.server_time().await.unwrap();
    let (undated, _) = store.undated_events().await.unwrap();
    let commits = store.find_commits(&undated, now).await.unwrap();
    assert_eq!(commits.len(), 2);
    for commit in &commits {
        assert!(
            commit.at.time > 0 && commit.wall_time <= now,
            "{commit:?} {now}"
        );
    }
    let estimates: Vec<_> = undated
        .into_iter()
        .map(|event| event.estimate(now))
        .collect();
    let estimate = |id: Bson| estimates.iter().find(|one| one.id == id).unwrap();
    let at = |date: DateTime| u32::try_from(date.timestamp_millis() / 1_000).unwrap();
    for (id, made_at) in [(Bson::from(key), key.timestamp()), ("named".into(), now)] {
        let estimate = estimate(id);
        assert_eq!((estimate.at.time, estimate.wall_time), (at(made_at), now));
    }
}

/// Inserts an event that says it was made at `made_at` seconds, and has it dated there at the time `now`.
async fn date_by_estimate(store: &Store, made_at: u32, now: u32) {
    let mut id = ObjectId::new().bytes();
    id[..4].copy_from_slice(&made_at.to_be_bytes());
    let events = other_program(store).await.collection::<Document>("events");
    let id = ObjectId::from_bytes(id);
    events.insert_one(doc! {"_id": id}).await.unwrap();
    let (undated, _) = store.undated_events().await.unwrap();
    let now = DateTime::from_millis(i64::from(now) * 1_000);
    assert_eq!(store.date_by_estimate(undated, now).await.unwrap(), 1);
}

/// Whether a replay from `since` to `end`, which begins ten seconds earlier, may miss an event.
async fn may_miss(store: &Store, since: u32, end: u32) -> bool {
    let at = |time: u32| Timestamp { time, increment: 0 };
    let asked = store.may_miss_estimated(at(since - 10), at(since), at(end));
    asked.await.unwrap()
}

/// The event may lie before cursors that were issued until then, and no others.
#[tokio::test]
async fn an_estimate_is_noted_for_replays_that_begin_between_its_place_and_the_time_of_the_estimate()
 {
    let store = store().await;
    let (early, late) = (1_000_000, 1_010_000);
    date_by_estimate(&store, early, early).await;
    assert!(!may_miss(&store, early, late).await, "it is at the end");
    for now in [early, late] {
        date_by_estimate(&store, now - 500, now).await;
        date_by_estimate(&store, now - 400, now + 100).await;
    }
    for (since, end, misses) in [
        (early - 2_000, early + 5_000, false),
        (early - 489, early + 5_000, true),
        (early + 100, early + 5_000, true),
        (early + 101, early + 5_000, false),
        (late - 490, late + 5_000, false),
        (late - 489, late + 5_000, true),
        (late + 101, late + 5_000, false),
        // Its clock may have been ahead.
        (early - 2_000, early - 560, true),
        (early - 2_000, early - 561, false),
    ] {
        assert_eq!(may_miss(&store, since, end).await, misses, "{since} {end}");
    }
    assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());
}

/// The event was committed at any time until then. A reading that ends before does not reach its place.
#[tokio::test]
async fn an_estimate_of_an_event_that_does_not_tell_its_age_is_noted_for_all_cursors_until_then() {
    let (early, now) = (1_000_000, 1_010_000);
    let named = doc! {"_id": "named"};
    let ahead = doc! {"_id": ObjectId::new()};
    for event in [named, ahead] {
        let store = store().await;
        let events = other_program(&store).await.collection::<Document>("events");
        events.insert_one(event).await.unwrap();
        let (undated, _) = store.undated_events().await.unwrap();
        let date = DateTime::from_millis(i64::from(now) * 1_000);
        assert_eq!(store.date_by_estimate(undated, date).await.unwrap(), 1);
        assert!(may_miss(&store, early, early + 50).await);
        assert!(may_miss(&store, now, now + 50).await);
        assert!(!may_miss(&store, now + 1, now + 50).await);
    }
}

#[tokio::test]
async fn of_very_many_estimates_fewer_stretches_are_noted() {
    let store = store().await;
    for n in 1..=150 {
        date_by_estimate(&store, n * 1_000, n * 1_000 + 5).await;
    }
    let notes = store.database().collection::<Document>("migrations");
    let note = notes.find_one(doc! {"_id": "guesses"}).await.unwrap();
    let stretches = note.unwrap().get_array("stretches").unwrap().len();
    assert!(stretches <= 100, "{stretches}");
    assert!(
        may_miss(&store, 75_000, 200_000).await,
        "nothing is forgotten"
    );
    // Stretches whose events have expired are forgotten.
    let week = 7 * 86_400;
    date_by_estimate(&store, 2 * week, 2 * week + 5).await;
    let note = notes.find_one(doc! {"_id": "guesses"}).await.unwrap();
    assert_eq!(note.unwrap().get_array("stretches").unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_inserted_again_has_the_place_of_its_last_commit() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    for _ in 0..2 {
        events.delete_one(doc! {"_id": 1}).await.unwrap();
        events.insert_one(doc! {"_id": 1}).await.unwrap();
    }
    let (undated, _) = store.undated_events().await.unwrap();
    let now = store.server_time().await.unwrap();
    let commits = store.find_commits(&undated, now).await.unwrap();
    let last = commits.iter().map(|commit| commit.at).max().unwrap();
    assert_eq!(commits.len(), 2);
    store.date_events(&commits).await.unwrap();
    let event = events.find_one(doc! {"_id": 1}).await.unwrap().unwrap();
    assert_eq!(event.get_timestamp("ts").unwrap(), last);
}

/// The oplog may be so long that it is never searched to its end.
#[tokio::test]
async fn an_oplog_that_takes_too_long_says_nothing_and_is_no_failure() {
    let mongod = Mongod::start(support::options()).await.unwrap();
    let config = Config {
        mongodb_uri: mongod.uri(),
        ..Config::default()
    };
    let store = Store::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let events = client.database(store.database_name()).collection("events");
    events.insert_one(doc! {"_id": 1}).await.unwrap();
    let now = store.server_time().await.unwrap();
    let (undated, _) = store.undated_events().await.unwrap();
    assert_eq!(store.find_commits(&undated, now).await.unwrap().len(), 1);
    // The first read looks for the oldest entry, the second one for the event.
    for passed in [0, 1] {
        let too_long = doc! {
            "configureFailPoint": "failCommand",
            "mode": {"skip": passed},
            "data": {
                "failCommands": ["find"],
                "errorCode": 50,
                "namespace": "local.oplog.rs",
            },
        };
        let admin = client.database("admin");
        admin.run_command(too_long).await.unwrap();
        assert_eq!(store.find_commits(&undated, now).await.unwrap(), []);
    }
    drop(store);
    mongod.stop().await;
}

#[tokio::test]
async fn pages_follow_the_log_and_begin_with_what_has_no_timestamp() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    for n in 0..5 {
        publish(&store, &[doc! {"id": format!("ours{n}")}]).await;
    }
    events
        .insert_many([
            doc! {"_id": 1, "id": "theirs0"},
            doc! {"_id": "a", "id": "theirs1"},
        ])
        .await
        .unwrap();
    let wanted = [
        "theirs0", "theirs1", "ours0", "ours1", "ours2", "ours3", "ours4",
    ];
    assert_eq!(list(&store, EventQuery::default()).await, wanted);

    let mut query = EventQuery {
        limit: Some(2),
        ..EventQuery::default()
    };
    let mut paged = Vec::new();
    loop {
        let (page, next) = read(&store, &query).await.unwrap();
        paged.extend(field(&page, "id"));
        let Some(next) = next else { break };
        query.after = Some(PageKey::decode(&next.encode().unwrap()).unwrap());
    }
    assert_eq!(paged, wanted);
    // A page ends before the event that it does not take.
    let query = EventQuery::default();
    let take = |taken: &mut Vec<_>, event: &RawDocument| {
        if taken.len() == 3 {
            return PageStep::Full;
        }
        taken.push(event.to_owned());
        PageStep::Next
    };
    let read = store.read_events(&query, Vec::new(), take).await;
    let read = read.unwrap();
    let last = event_page_key(&read.page[2], false).unwrap();
    assert!(read.as_of.is_some());
    assert_eq!(read.next, Some(last.clone().shown_as_of(read.as_of)));
    // A key without a point in time, as older versions issued it, still works.
    let query = EventQuery {
        after: Some(last),
        ..EventQuery::default()
    };
    let read = store.read_events(&query, Vec::new(), take).await.unwrap();
    assert_eq!(field(&read.page, "id"), wanted[3..6]);
    assert_eq!(read.as_of, None);
}

#[tokio::test]
async fn the_archive_shows_what_was_committed_by_then_and_nothing_later() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    let ours = vec![raw(&doc! {"id": "before"})];
    let to = store.insert_events(ours).await.unwrap().operation_time;
    let shown = events.find_one(doc! {"id": "before"}).await;
    let ts = shown.unwrap().unwrap().get_timestamp("ts").unwrap();
    let late = doc! {"_id": "late", "id": "late", "ts": ts};
    events.insert_one(late).await.unwrap();
    let read = async |as_of| {
        let reply = store.read_archive(ts, to, None, as_of).await?.unwrap();
        let cursor = reply.get_document("cursor").unwrap();
        let batch = cursor.get_array("firstBatch").unwrap();
        let ids = batch.into_iter().map(|event| {
            let event = event.unwrap().as_document().unwrap();
            event.get_str("id").unwrap().to_owned()
        });
        let mut ids: Vec<_> = ids.collect();
        ids.sort();
        Ok::<_, StoreError>(ids)
    };
    assert_eq!(read(Some(to)).await.unwrap(), ["before"]);
    assert_eq!(read(None).await.unwrap(), ["before", "late"]);
    // The server does not show everything rather than the past.
    let long_ago = Timestamp {
        time: to.time - 10_000,
        increment: 1,
    };
    assert!(read(Some(long_ago)).await.is_err());
}

#[tokio::test]
async fn a_page_ends_at_no_hidden_event_and_goes_on_all_the_same() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    let at = |time, increment| Timestamp { time, increment };
    let mut all = Vec::new();
    for time in 100..130_u32 {
        // Seconds with one that is shown, with none, and with some before and behind it.
        let shown = match time % 3 {
            0 => 0,
            1 => 9,
            _ => 2,
        };
        for increment in 1..5 {
            let kind = if increment == shown {
                "shown"
            } else {
                "hidden"
            };
            let id = format!("{kind}-{time}-{increment}");
            all.push(doc! {"_id": &id, "id": &id, "ts": at(time, increment)});
        }
    }
    events.insert_many(&all).await.unwrap();
    let shown: Vec<_> = (all.iter().map(|event| event.get_str("_id").unwrap()))
        .filter(|id| id.starts_with("shown"))
        .collect();
    let take = |page: &mut Vec<_>, event: &RawDocument| {
        let is_shown = event.get_str("id").unwrap().starts_with("shown");
        if is_shown {
            page.push(event.to_owned());
        }
        if is_shown {
            PageStep::Next
        } else {
            PageStep::Hidden
        }
    };
    for newest_first in [false, true] {
        // Every page ends as soon as it may.
        let mut query = EventQuery {
            newest_first,
            time_limit: Some(Duration::ZERO),
            ..EventQuery::default()
        };
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let read = store.read_events(&query, Vec::new(), take).await.unwrap();
            found.extend(field(&read.page, "id"));
            pages += 1;
            assert!(pages <= 2 * all.len(), "the pages go on");
            let Some(next) = read.next else { break };
            let text = format!("{next:?}");
            assert!(!text.contains("hidden"), "{text}");
            let place = Some(PageKey::decode(&next.encode().unwrap()).unwrap());
            if newest_first {
                query.before = place;
            } else {
                query.after = place;
            }
        }
        if newest_first {
            found.reverse();
        }
        assert_eq!(found, shown);
        assert!(pages > shown.len(), "{pages}");
    }
}

#[tokio::test]
async fn the_newest_are_those_that_have_no_timestamp_yet() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    let theirs = (0..3).map(|n| doc! {"_id": n, "id": format!("theirs{n}")});
    events.insert_many(theirs).await.unwrap();
    for n in 0..3 {
        publish(&store, &[doc! {"id": format!("ours{n}")}]).await;
    }
    let odd = doc! {"_id": 9, "id": "odd", "ts": "text"};
    events.insert_one(odd).await.unwrap();
    let wanted = [
        "theirs2", "theirs1", "theirs0", "ours2", "ours1", "ours0", "odd",
    ];
    let mut query = EventQuery {
        newest_first: true,
        ..EventQuery::default()
    };
    assert_eq!(list(&store, query.clone()).await, wanted);
    query.limit = Some(2);
    let mut pages = Vec::new();
    loop {
        let (page, next) = read(&store, &query).await.unwrap();
        pages.push(field(&page, "id"));
        let Some(next) = next else { break };
        query.before = Some(next);
        // An event inserted later is on no page; an event deleted later is still on one.
        publish(&store, &[doc! {"id": format!("later{}", pages.len())}]).await;
        events.delete_one(doc! {"id": "ours1"}).await.unwrap();
    }
    let wanted: Vec<_> = wanted.chunks(2).map(<[&str]>::to_vec).collect();
    assert_eq!(pages, wanted);
}

#[tokio::test]
async fn events_are_found_by_what_they_are_shown_with() {
    let store = store().await;
    let here = format!("/{}/events", store.database_name());
    let events = other_program(&store).await.collection::<Document>("events");
    events.insert_many([
        doc! {"_id": 1, "id": "bare"},
        doc! {"_id": 2, "id": "typed", "type": "tidegate.event", "source": &here},
        doc! {"_id": 3, "id": "other", "type": "t", "source": "/s", "subject": "x", "data": {"n": 5}},
    ]).await.unwrap();
    let query = EventQuery::default;
    let of_type = |text: &str| EventQuery {
        type_: Some(text.to_owned()),
        ..query()
    };
    assert_eq!(
        list(&store, of_type("tidegate.event")).await,
        ["bare", "typed"]
    );
    assert_eq!(list(&store, of_type("t")).await, ["other"]);
    let of_source = |text: &str| EventQuery {
        source: Some(text.to_owned()),
        ..query()
    };
    assert_eq!(list(&store, of_source(&here)).await, ["bare", "typed"]);
    assert_eq!(list(&store, of_source("/s")).await, ["other"]);
    let of_subject = EventQuery {
        subject: Some("x".to_owned()),
        ..query()
    };
    assert_eq!(list(&store, of_subject).await, ["other"]);
    let filtered = EventQuery {
        filter: Some(doc! {"data.n": {"$gt": 4}}),
        ..query()
    };
    assert_eq!(list(&store, filtered).await, ["other"]);
    let wrong = EventQuery {
        filter: Some(doc! {"$nonsense": 1}),
        ..query()
    };
    let StoreError::Refused { detail } = read(&store, &wrong).await.unwrap_err() else {
        panic!("the database takes it");
    };
    assert!(
        !detail.contains("nonsense"),
        "the database's words: {detail}"
    );
}

#[tokio::test]
async fn one_event_is_found_by_the_id_it_is_shown_with() {
    let store = store().await;
    let here = format!("/{}/events", store.database_name());
    let events = other_program(&store).await.collection::<Document>("events");
    let object_id = ObjectId::new();
    let uuid = bson::Uuid::new();
    events
        .insert_many([
            doc! {"_id": object_id},
            doc! {"_id": 1, "id": "e", "source": "/a"},
            doc! {"_id": 2, "id": "e", "source": "/b"},
            doc! {"_id": 3, "id": "e"},
            doc! {"_id": 4, "id": null, "source": "/c"},
            doc! {"_id": 5, "id": 7_i64, "source": "/a"},
            doc! {"_id": uuid},
            doc! {"_id": {"k": 1}},
            doc! {"_id": "text"},
            doc! {"_id": 2.5},
        ])
        .await
        .unwrap();
    let count = async |id: &str, source: Option<&str>| {
        let asked = EventLookup {
            source,
            ..EventLookup::default()
        };
        store.find_events(id, asked).await.unwrap().len()
    };
    assert_eq!(count(&object_id.to_hex(), None).await, 1);
    assert_eq!(count("e", None).await, 3);
    assert_eq!(count("e", Some("/b")).await, 1);
    assert_eq!(count("e", Some(&here)).await, 1);
    assert_eq!(count("4", Some("/c")).await, 1);
    assert_eq!(count("3", None).await, 0);
    assert_eq!(count("7", Some("/a")).await, 1);
    assert_eq!(count("7.0", Some("/a")).await, 0);
    assert_eq!(count(&uuid.to_string(), None).await, 1);
    assert_eq!(count(r#"{"k":1}"#, Some(&here)).await, 1);
    assert_eq!(count("text", None).await, 1);
    assert_eq!(count("2.5", None).await, 1);
    assert_eq!(count("nothing", None).await, 0);
    assert_eq!(count("", None).await, 0);
}

#[tokio::test]
async fn looking_up_an_event_reads_indexes_only() {
    let store = store().await;
    let events = other_program(&store).await.collection::<Document>("events");
    let many: Vec<_> = (0..200)
        .map(|n| doc! {"id": n.to_string(), "source": "/s"})
        .collect();
    publish(&store, &many).await;
    // With collection scans forbidden, a lookup that needs one fails.
    let admin = events.client().database("admin");
    let forbid = |on: bool| doc! {"setParameter": 1, "notablescan": on};
    admin.run_command(forbid(true)).await.unwrap();
    let found = store.find_events("7", EventLookup::default()).await;
    let narrowed = EventLookup {
        source: Some("/s"),
        within: Some(doc! {"source": "/s", "tenant": null}),
        ..EventLookup::default()
    };
    let narrowed = store.find_events("7", narrowed).await;
    let undated = store.undated_events().await;
    let five = EventQuery {
        limit: Some(5),
        ..EventQuery::default()
    };
    let listed = read(&store, &five).await;
    admin.run_command(forbid(false)).await.unwrap();
    assert_eq!(found.unwrap().len(), 1);
    assert_eq!(narrowed.unwrap().len(), 1);
    assert_eq!(undated.unwrap().0, []);
    assert_eq!(listed.unwrap().0.len(), 5);
}

#[test]
fn a_damaged_page_key_is_refused() {
    let document = raw(&doc! {"_id": ObjectId::new(), "ts": Timestamp { time: 5, increment: 6 }});
    let key = event_page_key(&document, false).unwrap();
    let text = key.encode().unwrap();
    assert_eq!(PageKey::decode(&text), Ok(key));
    for at in 0..text.len() {
        let mut damaged = text.clone().into_bytes();
        damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
        assert!(PageKey::decode(&String::from_utf8(damaged).unwrap()).is_err());
    }
    for text in ["", "A", "00000000", "\u{fc}"] {
        assert!(PageKey::decode(text).is_err());
    }
}
