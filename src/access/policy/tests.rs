//! Policies as a reader of `docs/security.md` understands them. `tests/differential` compares them with a server.

mod publishing;
mod reading;

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::{Fault, Policy};
use crate::access::Claims;
use crate::filter::{Filter, FilterIndex, Limits};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn read(document: &Document) -> Result<Policy, Fault> {
    Policy::read(&raw(document))
}

fn reading(query: Document) -> Policy {
    read(&doc! {"_id": "default", "read": query}).unwrap()
}

fn claims(document: &Document) -> Claims {
    Claims::read(&raw(document))
}

fn filter(query: &Document) -> Filter {
    Filter::parse(&raw(query)).unwrap()
}

fn of_tenant() -> Document {
    doc! {"tenant": "$claims.tenant"}
}

#[test]
fn a_query_has_claims_as_literals_and_refuses_arrays() {
    for (query, bound) in [
        (
            of_tenant(),
            doc! {"$and": [
                {"tenant": {"$eq": "acme"}},
                {"tenant": {"$not": {"$type": "array"}}},
            ]},
        ),
        (
            doc! {"data.order.customer": "$claims.tenant", "type": {"$ne": "secret"}},
            doc! {"$and": [
                {"data.order.customer": {"$eq": "acme"}, "type": {"$ne": "secret"}},
                {
                    "data": {"$not": {"$type": "array"}},
                    "data.order": {"$not": {"$type": "array"}},
                    "data.order.customer": {"$not": {"$type": "array"}},
                },
            ]},
        ),
        (
            doc! {"$nor": [{"level": {"$gt": "$claims.level"}}]},
            doc! {"$nor": [{"level": {"$gt": 3_i64}}]},
        ),
        (
            doc! {"$or": [{"group": {"$in": "$claims.groups"}}, {"$comment": "all"}]},
            doc! {"$or": [
                {"$and": [
                    {"group": {"$in": ["a", "b"]}},
                    {"group": {"$not": {"$type": "array"}}},
                ]},
                {"$comment": "all"},
            ]},
        ),
        (doc! {}, doc! {}),
    ] {
        let claims = claims(&doc! {"level": 3, "groups": ["a", "b"]});
        let policy = reading(query).bind(Some("acme"), &claims).unwrap();
        assert_eq!(policy.query(), bound);
    }
}

/// The attacks of Parse Server GHSA-mmg8 and of Directus, among others: an array or a missing field in the place of the
/// scalar that the policy's author thought of.
#[test]
fn nothing_but_the_value_alone_is_within_an_equality() {
    let nobody = Claims::default();
    let top = reading(of_tenant()).bind(Some("a"), &nobody).unwrap();
    let deep = reading(doc! {"data.tenant": "$claims.tenant"});
    let deep = deep.bind(Some("a"), &nobody).unwrap();
    for (value, permitted) in [
        (Bson::from("a"), true),
        ("b".into(), false),
        ("A".into(), false),
        ("".into(), false),
        (vec!["b", "a"].into(), false),
        (vec!["a"].into(), false),
        (vec![vec!["a"]].into(), false),
        (vec![doc! {"tenant": "a"}].into(), false),
        (doc! {"tenant": "a"}.into(), false),
        (doc! {"$eq": "a"}.into(), false),
        (doc! {"0": "a"}.into(), false),
        ("$claims.tenant".into(), false),
        (Bson::Null, false),
        (Bson::Undefined, false),
    ] {
        let event = doc! {"tenant": value.clone()};
        assert_eq!(top.permits(&raw(&event)), permitted, "{event}");
        let event = doc! {"data": {"tenant": value.clone()}};
        assert_eq!(deep.permits(&raw(&event)), permitted, "{event}");
        for event in [
            doc! {"data": [{"tenant": value.clone()}]},
            doc! {"data": [[{"tenant": value.clone()}]]},
            doc! {"data.tenant": value.clone()},
            doc! {},
        ] {
            assert!(
                !deep.permits(&raw(&event)) && !top.permits(&raw(&event)),
                "{event}"
            );
        }
    }
}

#[test]
fn a_users_filter_adds_conditions_and_nothing_else() {
    let policy = reading(of_tenant());
    let policy = policy.bind(Some("a"), &Claims::default()).unwrap();
    let event = |tenant: &str| raw(&doc! {"tenant": tenant, "n": 1});
    for (user, matches) in [
        (doc! {}, true),
        (doc! {"n": 1}, true),
        (doc! {"n": 2}, false),
        (doc! {"$or": [{"tenant": "b"}, {}]}, true),
        (doc! {"$nor": [{"tenant": "a"}]}, false),
        (doc! {"$alwaysTrue": 1}, true),
        // A text, whatever it looks like.
        (doc! {"tenant": "$claims.tenant"}, false),
        (doc! {"tenant": {"$in": ["$claims.tenant"]}}, false),
        (doc! {"tenant": {"$ne": "$claims.tenant"}}, true),
    ] {
        let narrowed = policy.narrow(&filter(&user));
        assert_eq!(narrowed.matches(&event("a")), matches, "{user}");
        assert!(!narrowed.matches(&event("b")), "{user}");
        assert!(!narrowed.matches(&event("$claims.tenant")), "{user}");
    }
}

#[test]
fn a_claim_that_reads_like_a_template_is_a_text() {
    let policy = reading(doc! {"owner": "$claims.name", "tenant": "$claims.tenant"});
    let claims = claims(&doc! {"name": "$claims.tenant", "tenant": "b"});
    let policy = policy.bind(Some("a"), &claims).unwrap();
    assert!(policy.permits(&raw(&doc! {"owner": "$claims.tenant", "tenant": "a"})));
    assert!(!policy.permits(&raw(&doc! {"owner": "a", "tenant": "a"})));
    assert!(!policy.permits(&raw(&doc! {"owner": "$claims.tenant", "tenant": "b"})));
}

#[test]
fn numbers_are_equal_across_their_types_and_to_no_text() {
    let policy = reading(doc! {"account": "$claims.account"});
    let policy = policy.bind(None, &claims(&doc! {"account": 42})).unwrap();
    for (value, permitted) in [
        (Bson::Int32(42), true),
        (Bson::Int64(42), true),
        (Bson::Double(42.0), true),
        (Bson::Decimal128("42.0".parse().unwrap()), true),
        (Bson::Double(42.5), false),
        (Bson::from("42"), false),
        (Bson::Boolean(true), false),
    ] {
        assert_eq!(
            policy.permits(&raw(&doc! {"account": &value})),
            permitted,
            "{value}"
        );
    }
}

#[test]
fn a_claim_that_is_missing_or_of_a_wrong_shape_satisfies_nothing() {
    let of_one = doc! {"a": "$claims.c"};
    let of_many = doc! {"a": {"$in": "$claims.c"}};
    let of_some = doc! {"a": {"$in": ["$claims.c", "$claims.d"]}};
    let below = doc! {"$or": [{"a": {"$not": {"$gte": "$claims.c"}}}, {"b": 1}]};
    let all = [of_one, of_many, of_some, below];
    for (value, usable) in [
        (Bson::from("x"), [true; 4]),
        (1.into(), [true; 4]),
        (1.5.into(), [true; 4]),
        (false.into(), [true; 4]),
        (vec!["x", "y"].into(), [false, true, false, false]),
        (vec![1; 64].into(), [false, true, false, false]),
        (Bson::Array(vec![]), [false, true, false, false]),
        (vec![1; 65].into(), [false; 4]),
        (vec![Bson::from("x"), "".into()].into(), [false; 4]),
        (vec![vec!["x"]].into(), [false; 4]),
        (vec![doc! {"$gt": ""}].into(), [false; 4]),
        (doc! {"$gt": ""}.into(), [false; 4]),
        ("".into(), [false; 4]),
        (f64::NAN.into(), [false; 4]),
        (Bson::Null, [false; 4]),
    ] {
        let claims = claims(&doc! {"c": value.clone(), "d": "x"});
        let bound = all
            .each_ref()
            .map(|query| reading(query.clone()).bind(None, &claims));
        assert_eq!(bound.each_ref().map(Result::is_ok), usable, "{value}");
        for (bound, query) in bound.into_iter().zip(&all) {
            let unsatisfied = bound.err();
            let checked = reading(query.clone()).check(None, &claims);
            assert_eq!(checked.err(), unsatisfied, "{value}: {query}");
            let named = unsatisfied.is_none_or(|unsatisfied| &*unsatisfied.claim == "c");
            assert!(named, "{value}: {query}");
        }
    }
}

#[test]
fn the_tenant_is_the_callers_whatever_its_claims_say() {
    let policy = reading(of_tenant());
    let claims = claims(&doc! {"tenant": "b"});
    let bound = policy.bind(Some("a"), &claims).unwrap();
    assert!(bound.permits(&raw(&doc! {"tenant": "a"})));
    assert!(!bound.permits(&raw(&doc! {"tenant": "b"})));
    for tenant in [None, Some("")] {
        let unsatisfied = policy.bind(tenant, &claims).unwrap_err();
        assert_eq!(&*unsatisfied.claim, "tenant");
    }
}

#[test]
fn a_source_without_an_entry_has_nothing() {
    let policy = read(&doc! {
        "_id": "default", "read": of_tenant(),
        "sources": {"orders": {"read": {"customer": "$claims.customer"}}, "open": {"read": {}}},
    });
    let policy = policy.unwrap();
    let bind = |name, claims: &Document| policy.bind_source(name, Some("a"), &self::claims(claims));
    let orders = bind("orders", &doc! {"customer": 7}).unwrap().unwrap();
    assert!(orders.permits(&raw(&doc! {"customer": 7})));
    assert!(!orders.permits(&raw(&doc! {"tenant": "a"})));
    assert_eq!(&*bind("orders", &doc! {}).unwrap_err().claim, "customer");
    assert_eq!(bind("Orders", &doc! {"customer": 7}), Ok(None));
    let open = bind("open", &doc! {}).unwrap().unwrap();
    assert!(open.permits(&raw(&doc! {})));
}

/// `{}` of a thousand tenants: each is found by its tenant, and none is tried on every event.
#[test]
fn a_filter_that_demands_nothing_is_found_by_its_tenant() {
    let policy = reading(of_tenant());
    let mut index = FilterIndex::new();
    let everything = filter(&doc! {});
    for at in 0..1_000_u32 {
        let tenant = format!("t{at}");
        let bound = policy.bind(Some(&tenant), &Claims::default()).unwrap();
        index.insert(at, bound.narrow(&everything));
    }
    assert_eq!(index.scanned(), 0);
    let mut found = Vec::new();
    index.matching(&raw(&doc! {"tenant": "t7"}), &mut found);
    assert_eq!(found, [7]);
}

#[test]
fn the_bounds_of_a_users_filter_count_its_part_alone() {
    let limits = Limits {
        clauses: 3,
        filter_bytes: 100,
        depth: 4,
        ..Limits::default()
    };
    let user = raw(&doc! {"$or": [{"n": 1}, {"n": {"$eq": 2}}]});
    let user = Filter::parse_with(&user, &limits).unwrap();
    let policy = reading(doc! {"data.a.b.c.d.e.f": {"$in": "$claims.list"}});
    let list: Vec<String> = (0..64).map(|at| format!("{at:1000}")).collect();
    let policy = policy.bind(None, &claims(&doc! {"list": list})).unwrap();
    let narrowed = policy.narrow(&user);
    let within = format!("{:1000}", 5);
    let event = doc! {"n": 2, "data": {"a": {"b": {"c": {"d": {"e": {"f": within}}}}}}};
    assert!(narrowed.matches(&raw(&event)));
}

#[test]
fn the_same_policy_is_equal_and_another_is_not() {
    let stored = || doc! {"_id": "p", "read": of_tenant(), "quotas": {"subscriptions": 5}};
    assert_eq!(read(&stored()), read(&stored()));
    for (field, value) in [
        ("read", doc! {"tenant": {"$gte": "$claims.tenant"}}),
        ("publish", doc! {}),
        ("stamp", of_tenant()),
        ("sources", doc! {"orders": {"read": {}}}),
        ("quotas", doc! {"subscriptions": 6}),
    ] {
        let mut other = stored();
        other.insert(field, value);
        assert_ne!(read(&other).unwrap(), read(&stored()).unwrap(), "{field}");
    }
    let bind = |tenant| reading(of_tenant()).bind(Some(tenant), &Claims::default());
    assert_eq!(bind("a"), bind("a"));
    assert_ne!(bind("a"), bind("b"));
}

#[test]
fn claim_names_are_those_of_all_parts_but_the_tenant() {
    let policy = read(&doc! {
        "_id": "p",
        "read": {"tenant": "$claims.tenant", "$or": [{"a": {"$in": "$claims.groups"}}]},
        "publish": {"b": {"$not": {"$gt": "$claims.level"}}},
        "stamp": {"c": "$claims.sub", "d": "$claims.tenant"},
        "sources": {"s": {"read": {"e": {"$in": ["$claims.x", "$claims.cognito:groups"]}}}},
    });
    let policy = policy.unwrap();
    let names: Vec<&str> = policy.claim_names().collect();
    assert_eq!(names, ["cognito:groups", "groups", "level", "sub", "x"]);
    assert_eq!((policy.name(), policy.quotas().is_empty()), ("p", true));
}
