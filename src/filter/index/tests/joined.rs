//! A joined filter is the filter that parsing an `$and` of the two makes, in an index too.

use bson::{Document, doc};
use proptest::prelude::*;

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
