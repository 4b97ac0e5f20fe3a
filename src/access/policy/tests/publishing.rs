//! Publishing under a policy.

use bson::{Bson, Document, cstr, doc, rawdoc};

use super::super::{BoundPublishing, PublishRefusal, StampFault, Unsatisfied};
use super::{claims, of_tenant, raw, read};

fn publishing(tenant: Option<&str>, more: Document) -> BoundPublishing {
    let mut document = doc! {"_id": "p", "read": of_tenant()};
    document.extend(more);
    let policy = read(&document).unwrap();
    let claims = claims(&doc! {"level": 3, "sub": "ann", "groups": ["a", "b"]});
    policy.bind_publishing(tenant, &claims).unwrap()
}

fn not_permitted(field: Option<&str>) -> Result<(), PublishRefusal> {
    Err(PublishRefusal::NotPermitted {
        field: field.map(Into::into),
    })
}

#[test]
fn a_stamp_sets_what_is_absent_and_refuses_another_value() {
    let stamp = doc! {"tenant": "$claims.tenant", "level": "$claims.level", "kind": "web"};
    let bound = publishing(Some("acme"), doc! {"stamp": stamp});
    let all = doc! {"type": "a", "tenant": "acme", "level": 3_i64, "kind": "web"};
    let mut event = raw(&doc! {"type": "a"});
    bound.stamp(&mut event).unwrap();
    assert_eq!(event, raw(&all));
    bound.stamp(&mut event).unwrap();
    assert_eq!(event, raw(&all));
    // A smaller type of integer stays as it is given.
    let mut event = raw(&doc! {"level": 3, "tenant": "acme", "kind": "web"});
    let before = event.clone();
    bound.stamp(&mut event).unwrap();
    assert_eq!(event, before);
    for (field, value) in [
        ("tenant", Bson::from("other")),
        ("tenant", Bson::Null),
        ("tenant", vec!["acme"].into()),
        ("tenant", Bson::Symbol("acme".into())),
        ("tenant", doc! {"$eq": "acme"}.into()),
        ("level", "3".into()),
        ("level", 3.0.into()),
        ("kind", "Web".into()),
    ] {
        let mut event = raw(&doc! {"type": "a", field: &value});
        let before = event.clone();
        let fault = bound.stamp(&mut event).unwrap_err();
        assert_eq!(
            fault,
            StampFault {
                field: field.into()
            },
            "{value}"
        );
        assert_eq!(event, before);
    }
    let mut twice = rawdoc! {"tenant": "acme"};
    twice.append(cstr!("tenant"), "other");
    assert_eq!(&*bound.stamp(&mut twice).unwrap_err().field, "tenant");
}

#[test]
fn a_stamp_takes_one_value() {
    let policy = read(&doc! {"_id": "p", "read": {}, "stamp": {"group": "$claims.groups"}});
    let claims = claims(&doc! {"groups": ["a"]});
    let bound = policy.unwrap().bind_publishing(None, &claims);
    assert_eq!(
        bound,
        Err(Unsatisfied {
            claim: "groups".into()
        })
    );
}

#[test]
fn the_stored_form_is_judged_by_publish_or_else_by_read() {
    let bound = publishing(None, doc! {"read": {"tenant": "acme"}});
    assert_eq!(bound.judge(&raw(&doc! {"tenant": "acme"})), Ok(()));
    assert_eq!(bound.judge(&raw(&doc! {})), not_permitted(Some("tenant")));
    let publish = doc! {
        "tenant": "acme", "type": {"$in": ["order.placed", "order.paid"]},
        "data.level": {"$lte": "$claims.level"},
        "$or": [{"data.by": "$claims.sub"}, {"data.open": true}],
        "$nor": [{"secret": true}],
    };
    let bound = publishing(None, doc! {"publish": publish});
    let event = doc! {
        "tenant": "acme", "type": "order.paid", "data": {"level": 3, "by": "ann"},
    };
    assert_eq!(bound.judge(&raw(&event)), Ok(()));
    for (field, value, blamed) in [
        ("tenant", Bson::from("other"), Some("tenant")),
        ("tenant", vec!["acme"].into(), Some("tenant")),
        ("type", "order.lost".into(), Some("type")),
        (
            "data",
            doc! {"level": 4, "by": "ann"}.into(),
            Some("data.level"),
        ),
        (
            "data",
            vec![doc! {"level": 3, "by": "ann"}].into(),
            Some("data"),
        ),
        ("data", doc! {"level": 3, "by": "bob"}.into(), None),
        ("secret", true.into(), None),
    ] {
        let mut event = event.clone();
        event.insert(field, value);
        assert_eq!(bound.judge(&raw(&event)), not_permitted(blamed), "{event}");
    }
}

#[test]
fn a_tenant_has_its_own_source_where_the_policy_says_nothing_of_it() {
    let own = |more| publishing(Some("acme"), more).default_source();
    let default = Some("/tenants/acme".to_owned());
    for (more, source) in [
        (doc! {}, default.clone()),
        (doc! {"publish": of_tenant()}, default.clone()),
        (doc! {"publish": {"source": {"$ne": "/x"}}}, default.clone()),
        (
            doc! {"publish": {"source": {"$exists": true}}},
            default.clone(),
        ),
        (doc! {"publish": {"source": Bson::Null}}, default.clone()),
        (
            doc! {"publish": {"source": {"$gte": Bson::MinKey}}},
            default.clone(),
        ),
        (doc! {"publish": {"source.x": 1}}, default.clone()),
        (
            doc! {"publish": {"$nor": [{"source": "/x"}]}},
            default.clone(),
        ),
        (
            doc! {"publish": {"$or": [{"source": "/x"}, {"type": "a"}]}},
            default,
        ),
        (
            doc! {"publish": {"$or": [{"source": "/x"}, {"source": "/y"}]}},
            None,
        ),
        (doc! {"publish": {"source": {"$regex": "^/acme/"}}}, None),
        (
            doc! {"publish": {"$and": [{"source": "$claims.sub"}]}},
            None,
        ),
        (doc! {"stamp": {"source": "/x"}}, Some("/x".to_owned())),
        (doc! {"read": {"source": "/x"}}, None),
    ] {
        assert_eq!(own(more.clone()), source, "{more}");
    }
    assert_eq!(publishing(None, doc! {"read": {}}).default_source(), None);
}

#[test]
fn no_other_source_is_allowed_than_the_tenants_own() {
    let bound = publishing(Some("acme"), doc! {});
    let judge = |source: Bson| bound.judge(&raw(&doc! {"tenant": "acme", "source": source}));
    assert_eq!(judge("/tenants/acme".into()), Ok(()));
    let refusal = Err(PublishRefusal::Source {
        allowed: "/tenants/acme".into(),
    });
    for other in [
        Bson::from("/tenants/other"),
        "/tenants/acme/".into(),
        "".into(),
        Bson::Null,
        vec!["/tenants/acme"].into(),
    ] {
        assert_eq!(judge(other), refusal);
    }
    assert_eq!(bound.judge(&raw(&doc! {"tenant": "acme"})), refusal);
    let odd = publishing(Some("a/b c%"), doc! {}).default_source();
    assert_eq!(odd.as_deref(), Some("/tenants/a%2Fb%20c%25"));
}
