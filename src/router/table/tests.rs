//! Tables as the router uses them.

use super::*;
use crate::{
    filter::{Limits, fault},
    position::Position,
};
use bson::{Document, RawDocumentBuf, doc, oid::ObjectId};

fn compiled(document: &Document) -> CompiledSubscription {
    CompiledSubscription::compile(
        RawDocumentBuf::try_from(document).unwrap(),
        &Limits::default(),
    )
}

impl Table {
    fn store(&mut self, document: &Document) -> Option<Slot> {
        let (subscription, filter) = compiled(document).into_parts();
        self.upsert(Entry::new(subscription), filter)
    }
}

fn key(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn of(id: impl Into<bson::Bson>) -> DocumentKey {
    DocumentKey::from_bson(id.into()).unwrap()
}

fn matched(table: &Table, event: &Document) -> usize {
    matching(table, event).len()
}

#[test]
fn only_active_subscriptions_match_and_each_status_is_counted() {
    let mut table = Table::default();
    table.store(&doc! {"_id": "a", "filter": {"x": 1}});
    table.store(&doc! {"_id": "b", "filter": {"x": 1}, "status": "paused"});
    table.store(&doc! {"_id": "c", "filter": {"x": {"$foo": 1}}});
    table.store(&doc! {"_id": 5, "filter": {}});
    assert_eq!(table.counts(), [1, 1, 2]);
    assert_eq!(matched(&table, &doc! {"x": 1}), 1);
    let invalid = [of("c"), of(5)];
    assert_eq!(table.invalid_after(&Sight::EVERYTHING, None, 10), invalid);
    assert_eq!(
        table.invalid_after(&Sight::EVERYTHING, None, 1),
        invalid[..1]
    );
    assert_eq!(
        table.invalid_after(&Sight::EVERYTHING, Some(&of("c")), 10),
        invalid[1..]
    );
    assert_eq!(
        table.invalid_after(&Sight::EVERYTHING, Some(&of(5)), 10),
        []
    );
}

#[test]
fn a_corrected_document_heals_and_the_same_document_is_no_change() {
    let mut table = Table::default();
    table.store(&doc! {"_id": "a", "filter": {"x": {"$foo": 1}}});
    let right = doc! {"_id": "a", "filter": {"x": 1}};
    assert!(table.store(&right).is_some());
    assert!(table.store(&right).is_none());
    assert!(table.holds(&key(&right)));
    assert_eq!(table.counts(), [1, 0, 0]);
    assert_eq!(table.invalid_after(&Sight::EVERYTHING, None, 1), []);
}

#[test]
fn removing_forgets_everything() {
    let mut table = Table::default();
    table.store(&doc! {"_id": "a", "filter": {"x": 1}});
    table.store(&doc! {"_id": 5});
    table.store(&doc! {"_id": 5, "name": "n"});
    assert_eq!(table.counts(), [1, 0, 1]);
    assert!(table.remove(&of(5)).is_none());
    assert!(table.remove(&of("a")).is_some());
    assert!(table.remove(&of("a")).is_none());
    assert_eq!(table.counts(), [0, 0, 0]);
    assert_eq!(matched(&table, &doc! {"x": 1}), 0);
}

#[test]
fn what_finds_no_room_is_known_and_invalid_until_there_is_some() {
    let document = |id: &str, filter: Document| doc! {"_id": id, "filter": filter};
    let small = document("a", doc! {"x": 1});
    let bytes = key(&small).as_bytes().len();
    let mut table = Table::with_capacity(Capacity {
        subscriptions: 2,
        bytes: 3 * bytes,
    });
    for id in ["a", "b", "c"] {
        table.store(&document(id, doc! {"x": 1}));
    }
    assert_eq!(table.counts(), [2, 0, 1]);
    assert_eq!(matched(&table, &doc! {"x": 1}), 2);
    let third = document("c", doc! {"x": 1});
    assert!(
        table
            .fault(&key(&third))
            .unwrap()
            .contains("limits.subscriptions")
    );
    let large = document("b", doc! {"x": "long".repeat(100)});
    assert!(table.store(&large).is_some(), "told as a change");
    assert_eq!(table.counts(), [1, 0, 2]);
    table.store(&document("b", doc! {"x": 1}));
    assert_eq!(table.counts(), [2, 0, 1]);
    assert!(table.remove(&of("a")).is_some());
    assert!(table.store(&third).is_some());
    assert_eq!(table.counts(), [2, 0, 0]);
    assert_eq!(matched(&table, &doc! {"x": 1}), 2);
    for id in ["b", "c"] {
        assert!(table.remove(&of(id)).is_some());
    }
    assert_eq!(table.occupancy().held, Capacity::default());
}

/// Whatever comes first, after a reload too.
#[test]
fn of_a_string_and_an_object_id_of_the_same_digits_the_string_is_the_subscription() {
    let id = ObjectId::new();
    let (named, digits) = (id.to_hex(), doc! {"_id": id, "filter": {"x": 1}});
    let named = doc! {"_id": named, "filter": {"x": 2}};
    for order in [[&digits, &named], [&named, &digits]] {
        let mut table = Table::default();
        for document in order {
            table.store(document);
        }
        check_taken(&mut table, id);
    }
    let mut reloaded = Table::default();
    reloaded.replace_all(self::table(&[named, digits]));
    check_taken(&mut reloaded, id);
}

fn check_taken(table: &mut Table, id: ObjectId) {
    assert_eq!(table.counts(), [1, 0, 1]);
    assert_eq!(table.invalid_after(&Sight::EVERYTHING, None, 2), [of(id)]);
    assert_eq!(matched(table, &doc! {"x": 1}), 0);
    assert_eq!(matched(table, &doc! {"x": 2}), 1);
    assert!(table.fault(&key(&doc! {"_id": id})).is_some());
    assert!(table.remove(&of(id.to_hex())).is_some());
    let successor = table.successor(&id.to_hex()).unwrap();
    table.store(&successor.document.try_into().unwrap());
    assert_eq!(table.counts(), [1, 0, 0]);
    assert_eq!(matched(table, &doc! {"x": 1}), 1);
    assert!(table.successor(&id.to_hex()).is_none());
    assert!(table.remove(&of(id)).is_some());
    assert_eq!(table.counts(), [0, 0, 0]);
}

#[test]
fn one_that_is_kept_apart_goes_without_a_trace() {
    let id = ObjectId::new();
    let mut table = self::table(&[
        doc! {"_id": id, "filter": {"x": 1}},
        doc! {"_id": id.to_hex(), "filter": {"x": 1}},
    ]);
    assert!(table.remove(&of(id)).is_none());
    assert_eq!(table.counts(), [1, 0, 0]);
    assert!(table.remove(&of(id.to_hex())).is_some());
    assert!(table.successor(&id.to_hex()).is_none());
}

/// Whichever way they come: one after the other, or with a load.
#[test]
fn what_is_kept_apart_takes_room_and_gives_way_to_the_subscription() {
    let id = ObjectId::new();
    let digits = doc! {"_id": id, "filter": {"x": 1}};
    let named = doc! {"_id": id.to_hex(), "filter": {"x": 2}};
    let other = doc! {"_id": "other", "filter": {"x": 3}};
    for (most, held, successor) in [(1, 1, [0, 1]), (2, 2, [1, 0])] {
        for order in [[&digits, &named], [&named, &digits]] {
            let room = Capacity {
                subscriptions: most,
                bytes: usize::MAX,
            };
            let mut one_by_one = Table::with_capacity(room);
            let (compiler, mut gathering) = TableBuilder::start(
                Limits::default(),
                room,
                Arc::new(crate::access::Policies::new(true)),
            );
            for document in order {
                one_by_one.store(document);
                gathering.add(compiled(document).subscription, None);
            }
            for mut table in [one_by_one, *gathering.finish(compiler)] {
                assert_eq!(table.occupancy().held.subscriptions, held, "{order:?}");
                assert!(
                    table
                        .held(&of(id.to_hex()))
                        .is_some_and(|held| !held.withheld)
                );
                table.remove(&of(id.to_hex()));
                let found = table.successor(&id.to_hex()).unwrap();
                assert_eq!(found.withheld, successor == [0, 1]);
                assert_eq!(table.occupancy().held, Capacity::default());
                table.store(&other);
                assert_eq!(table.occupancy().held.subscriptions, 1);
            }
        }
    }
}

#[test]
fn what_is_committed_after_the_expiry_does_not_match() {
    let date = DateTime::from_millis;
    let expiring = |id: &str, at| doc! {"_id": id, "filter": {}, "expiresAt": date(at)};
    let mut table = self::table(&[
        doc! {"_id": "never", "filter": {}},
        expiring("a", 5),
        expiring("b", 9),
    ]);
    let matched = |table: &Table, at| {
        let mut matched = Matched::default();
        let found = table.matching(&key(&doc! {}), date(at), &mut matched);
        found.map(|_| matched.slots.len()).unwrap()
    };
    assert_eq!(
        [5, 6, 9, 10, 5].map(|at| matched(&table, at)),
        [3, 2, 2, 1, 3]
    );
    assert_eq!(table.next_expiry(), Some(date(5)));
    table.store(&expiring("a", 20));
    assert_eq!([6, 10, 21].map(|at| matched(&table, at)), [3, 2, 1]);
    assert_eq!(table.next_expiry(), Some(date(9)));
    table.replace_all(self::table(&[expiring("b", 9), expiring("c", 7)]));
    assert_eq!(table.next_expiry(), Some(date(7)));
    assert_eq!([7, 8, 10].map(|at| matched(&table, at)), [2, 1, 0]);
    for id in ["b", "c"] {
        table.remove(&of(id));
    }
    assert_eq!(table.next_expiry(), None);
}

fn table(documents: &[Document]) -> Table {
    let mut table = Table::default();
    for document in documents {
        table.store(document);
    }
    table
}

fn matching(table: &Table, event: &Document) -> Vec<String> {
    let mut matched = Matched::default();
    let found = table.matching(&key(event), DateTime::MIN, &mut matched);
    assert!(found.is_ok() && matched.too_expensive.is_empty());
    let slots = matched.slots;
    let id = |slot: Slot| table.get(slot).unwrap().subscription.id().unwrap();
    let mut ids: Vec<_> = slots
        .into_iter()
        .map(|slot| id(slot).into_owned())
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_reload_tells_what_is_gone_and_what_changed() {
    let mut table = table(&["a", "b", "c"].map(|id| doc! {"_id": id, "filter": {"x": 1}}));
    let slots = ["b", "c"].map(|id| table.slot(id));
    let difference = table.replace_all(self::table(&[
        doc! {"_id": "e", "filter": {"x": 1}},
        doc! {"_id": "c", "filter": {"x": 2}},
        doc! {"_id": "d", "filter": {"x": 1}, "status": "paused"},
        doc! {"_id": 5},
        doc! {"_id": "b", "filter": {"x": 1}},
    ]));
    assert_eq!(difference.gone.len(), 1);
    assert_eq!(difference.gone[0].1.subscription.key(), of("a"));
    assert_eq!(difference.changed, [table.slot("c").unwrap()]);
    assert_eq!(
        ["b", "c"].map(|id| table.slot(id)),
        slots,
        "what stays keeps its slot"
    );
    assert_eq!(matching(&table, &doc! {"x": 1}), ["b", "e"]);
    assert_eq!(matching(&table, &doc! {"x": 2}), ["c"]);
    assert_eq!(table.counts(), [3, 1, 1]);
}

#[test]
fn one_that_is_blamed_is_invalid_until_its_document_changes_through_a_reload_too() {
    let documents = ["a", "b"].map(|id| doc! {"_id": id, "filter": {"x": 1}});
    let mut table = table(&documents);
    let slot = table.slot("a").unwrap();
    assert!(table.blame(slot, "too much".into()));
    assert!(!table.blame(slot, "again".into()));
    for _ in 0..2 {
        assert_eq!((table.counts(), table.unmatchable()), ([1, 0, 1], 1));
        assert_eq!(matching(&table, &doc! {"x": 1}), ["b"]);
        let mut read = compiled(&documents[0]);
        table.judge(&mut read);
        assert_eq!(read.error(), Some("too much"));
        assert_eq!(table.invalid_after(&Sight::EVERYTHING, None, 9), [of("a")]);
        assert!(table.store(&documents[0]).is_none(), "no change");
        assert!(
            table
                .replace_all(self::table(&documents))
                .changed
                .is_empty()
        );
    }
    table.store(&doc! {"_id": "a", "filter": {"x": 2}});
    assert_eq!((table.counts(), table.unmatchable()), ([2, 0, 0], 0));
    assert_eq!(matching(&table, &doc! {"x": 2}), ["a"]);
}

#[test]
fn a_filter_that_panics_is_found_and_the_others_are_not_blamed() {
    let table = table(&[
        doc! {"_id": "a", "filter": {"x": {"$ne": 5}}},
        doc! {"_id": "b", "filter": {"x": {"$ne": fault::TEXT}}},
    ]);
    let event = key(&doc! {"x": 1});
    let found = table.matching(&event, DateTime::MIN, &mut Matched::default());
    assert!(found.is_err());
    assert_eq!(table.panicking(&event), [table.slot("b").unwrap()]);
}

#[test]
fn a_filter_that_panics_when_it_is_compiled_makes_its_subscription_invalid() {
    let table = table(&[
        doc! {"_id": "a", "filter": {"x": 1}},
        doc! {"_id": "b", "filter": {"x": fault::COMPILED}},
    ]);
    assert_eq!(table.counts(), [1, 0, 1]);
    assert_eq!(table.invalid_after(&Sight::EVERYTHING, None, 9), [of("b")]);
}

/// Everything that a table can do goes on after a reload as before.
#[test]
fn a_reloaded_table_is_changed_like_any_other() {
    let mut table = table(&["a", "b", "c", "d"].map(|id| doc! {"_id": id, "filter": {"x": 1}}));
    table.remove(&of("b"));
    table.replace_all(self::table(
        &["d", "c", "e", "f"].map(|id| doc! {"_id": id, "filter": {"x": 1}}),
    ));
    table.store(&doc! {"_id": "g", "filter": {"x": 1}});
    table.store(&doc! {"_id": "d", "filter": {"x": 2}});
    table.remove(&of("e"));
    assert_eq!(matching(&table, &doc! {"x": 1}), ["c", "f", "g"]);
    assert_eq!(matching(&table, &doc! {"x": 2}), ["d"]);
    assert_eq!(table.replace_all(Table::default()).gone.len(), 4);
    assert_eq!(table.counts(), [0, 0, 0]);
    assert!(table.slot("c").is_none());
}

#[test]
fn a_reload_keeps_since_when_there_was_a_subscription() {
    let since = Position::at(bson::Timestamp {
        time: 5,
        increment: 1,
    });
    let mut table = Table::default();
    for id in ["same", "changed"] {
        let made = compiled(&doc! {"_id": id, "filter": {}}).subscription;
        let entry = Entry {
            since,
            ..Entry::new(made)
        };
        table.upsert(entry, None);
    }
    table.replace_all(self::table(&[
        doc! {"_id": "changed", "filter": {"x": 1}},
        doc! {"_id": "same", "filter": {}},
        doc! {"_id": "new", "filter": {}},
    ]));
    let known = |id| table.get(table.slot(id).unwrap()).unwrap().since;
    assert_eq!(
        ["same", "changed", "new"].map(known),
        [since, since, Position::START]
    );
}

/// However many clients bring a filter, it is matched once.
#[test]
fn equal_filters_of_clients_are_one_entry_of_the_index() {
    let mut table = Table::default();
    let mut bring = |number: i32| {
        let document = doc! {"_id": ObjectId::from_bytes([0; 12]), "filter": {"x": number}};
        let (subscription, filter) = compiled(&document).into_parts();
        table.adhoc(subscription, |_| filter)
    };
    let slot = bring(1);
    assert!((0..1_000).all(|_| bring(1) == slot));
    let other = bring(2);
    assert_ne!(other, slot);
    assert_eq!(table.index.len(), 2);
    assert_eq!(matched(&table, &doc! {"x": 1}), 1);
    assert!(table.remove_adhoc(slot));
    assert_eq!(table.index.len(), 1);
    assert_eq!(matched(&table, &doc! {"x": 1}), 0);
}
