//! A joined filter is the filter that parsing an `$and` of the two makes, in an index too.

use bson::{Document, doc};
use proptest::prelude::*;

use super::super::demand::{Analysis, Demand, Demanded};
use super::inputs::{event, filter};
use super::raw;
use crate::filter::{Filter, FilterIndex, Limits, Steps};

proptest! {
    #[test]
    fn a_joined_filter_answers_and_costs_what_an_and_does(
        one in filter(),
        other in filter(),
        events in prop::collection::vec(event(), 1..6),
    ) {
        let parse = |filter: &Document| Filter::parse(&raw(filter));
        let (Ok(one_alone), Ok(other_alone)) = (parse(&one), parse(&other)) else {
            // Some patterns are refused under some options.
            return Ok(());
        };
        let joined = one_alone.clone().and(other_alone.clone(), &Limits::default()).unwrap();
        let parsed = parse(&doc! {"$and": [one, other]}).unwrap();
        prop_assert_eq!(joined.never_matches(), parsed.never_matches());
        for event in &events {
            let matches = one_alone.matches(event) && other_alone.matches(event);
            prop_assert_eq!(joined.matches(event), matches);
            // Compared as text, since NaN equals NaN there.
            let explained = |filter: &Filter| format!("{:?}", filter.explain(event));
            prop_assert_eq!(explained(&joined), explained(&parsed));
            let (mut of_joined, mut of_parsed) = (Steps::default(), Steps::default());
            prop_assert!(joined.matches_counted(event, &mut of_joined).is_ok());
            prop_assert!(parsed.matches_counted(event, &mut of_parsed).is_ok());
            prop_assert_eq!(of_joined.spent(), of_parsed.spent());
        }
        let index: FilterIndex<u8> = [(0, parsed), (1, joined.clone()), (2, joined)].into_iter().collect();
        prop_assert_eq!((index.len(), index.records.stored()), (3, 1));
    }
}

/// Whatever a user asks for, each way to find the joined filter leads through the policy's equality.
#[test]
fn a_narrowed_filter_demands_what_its_policy_demands() {
    let policy = doc! {"$and": [
        {"tenant": {"$eq": "acme"}},
        {"tenant": {"$not": {"$type": "array"}}},
    ]};
    let policy = Filter::parse(&raw(&policy)).unwrap();
    let branches = |number: i32| -> Vec<Document> { (0..number).map(|n| doc! {"n": n}).collect() };
    let many: Vec<Document> = (0..200).map(|at| doc! {format!("a{at}"): 1}).collect();
    for (user, ways) in [
        (doc! {}, 1),
        (doc! {"a": {"$ne": 1}}, 1),
        (doc! {"a": 1}, 1),
        (doc! {"$or": branches(2)}, 2),
        (doc! {"$or": branches(64)}, 64),
        (doc! {"$or": branches(65)}, 1),
        (doc! {"$or": [{"a": 1}, {"b": {"$exists": false}}]}, 1),
        (doc! {"$and": many}, 1),
    ] {
        let narrowed = Filter::parse(&raw(&user)).unwrap().narrowed_by(&policy);
        let conjunctions = Analysis { seed: 1 }.conjunctions(narrowed.root());
        assert_eq!(conjunctions.len(), ways, "{user}");
        for conjunction in conjunctions {
            let of_tenant = |demand: &Demand<'_>| {
                let equal =
                    matches!(&demand.demanded, Demanded::Equal(values) if values.len() == 1);
                equal && demand.path.as_str() == "tenant"
            };
            assert!(conjunction.iter().any(of_tenant), "{user}");
        }
        let index: FilterIndex<u8> = [(0, narrowed)].into_iter().collect();
        assert_eq!(index.scanned(), 0, "{user}");
    }
}
