//! Making keys.

use bson::doc;
use serde_json::{Value, json};
use tidegate::config::{Auth, Quotas};

use super::{make, send, start};
use crate::support::{Service, admin_key};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_stored_as_a_hash() {
    let (service, admin) = start().await;
    let body = json!({"name": "mine", "scopes": ["events:read"], "networks": ["127.0.0.0/8"]});
    let (id, text) = make(&service, &admin, body).await;
    let path = format!("/keys/{id}");
    for path in ["/keys", &path] {
        let (status, shown) = send(&service, &admin, "GET", path, None).await;
        assert_eq!(status, 200);
        let shown = shown.to_string();
        assert!(
            shown.contains("mine") && shown.contains(&text[..7]),
            "{shown}"
        );
        assert!(
            !shown.contains(&text[15..]) && !shown.contains("hash"),
            "{shown}"
        );
    }
    let keys = service.database.collection::<bson::Document>("keys");
    let stored = keys.find_one(doc! {"_id": &id}).await.unwrap().unwrap();
    assert!(!stored.to_string().contains(&text[15..]));
    let (status, _) = send(&service, &text, "GET", "/whoami", None).await;
    assert_eq!(status, 200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_key_that_may_do_more() {
    let (service, admin) = start().await;
    let minter =
        json!({"scopes": ["keys:write", "events:read"], "expiresAt": "2100-01-01T00:00:00Z"});
    let (_, minter) = make(&service, &admin, minter).await;
    for (body, expected) in [
        (json!({"scopes": ["events:read"]}), 201),
        (json!({"scopes": ["events:publish"]}), 403),
        (json!({"scopes": ["admin"]}), 403),
        (
            json!({"scopes": ["events:read"], "expiresAt": "2100-01-02T00:00:00Z"}),
            403,
        ),
        (
            json!({"scopes": ["events:read"], "expiresAt": "2099-01-01T00:00:00Z"}),
            201,
        ),
        (
            json!({"scopes": ["events:read"], "expiresAt": "2001-01-01T00:00:00Z"}),
            422,
        ),
        (json!({"scopes": ["events"]}), 422),
        (json!({"scopes": ["events:read"], "tenant": "a:b"}), 422),
        (json!({"scopes": ["events:read"], "foo": 1}), 422),
        (json!({}), 422),
        (json!([]), 422),
    ] {
        let (status, answer) = send(&service, &minter, "POST", "/keys", Some(body.clone())).await;
        assert_eq!(status, expected, "{body}: {answer}");
        if status == 201 {
            let end = answer["expiresAt"].as_str().unwrap();
            assert!(end <= "2100-01-01T00:00:00.000Z", "{end}");
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_keys_is_bounded_in_bytes_and_a_key_in_claims() {
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        config.quotas = Quotas::NONE;
        config.limits.page_bytes = 64 << 10;
    })
    .await;
    let admin = admin_key(&service.config);
    let claims = |count: usize, length: usize| -> Value {
        let claims = (0..count).map(|n| (format!("claim{n}"), "x".repeat(length).into()));
        Value::Object(claims.collect())
    };
    let many = json!({"scopes": [], "claims": claims(65, 1)});
    let (status, problem) = send(&service, &admin, "POST", "/keys", Some(many)).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (422, &"#/claims".into())
    );
    let mut made = Vec::new();
    for _ in 0..5 {
        let body = json!({"scopes": [], "claims": claims(64, 500)});
        made.push(make(&service, &admin, body).await.0);
    }
    let (mut seen, mut pages, mut path) = (Vec::new(), 0, "/keys?limit=100".to_owned());
    loop {
        let (status, page) = send(&service, &admin, "GET", &path, None).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap();
        seen.extend(
            items
                .iter()
                .map(|key| key["id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/keys?limit=100&cursor={next}");
    }
    // Two of them fill a page.
    assert!(pages >= 3, "{pages}");
    assert!(
        made.iter()
            .all(|id| seen.iter().filter(|one| *one == id).count() == 1)
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weaker_key_does_not_change_a_stronger_one() {
    let (service, admin) = start().await;
    let (strong, _) = make(&service, &admin, json!({"scopes": ["admin"]})).await;
    let (weak, minter) = make(&service, &admin, json!({"scopes": ["keys:write"]})).await;
    for (id, expected) in [(&strong, 403), (&weak, 200), (&"key_none".to_owned(), 404)] {
        let path = format!("/keys/{id}");
        let change = json!({"name": "new", "networks": null});
        // Sight and rights come before the meaning of a body.
        let refused = if expected == 200 { 422 } else { expected };
        let meaningless = [json!({"name": 5}), json!({"scopes": []}), json!([])];
        let all = meaningless.map(|body| (body, refused));
        for (body, expected) in [(change, expected), (json!({}), expected)]
            .into_iter()
            .chain(all)
        {
            let body = Some(body);
            let (status, answer) = send(&service, &minter, "PATCH", &path, body.clone()).await;
            assert_eq!(status, expected, "{body:?}: {answer}");
        }
    }
    let path = format!("/keys/{strong}");
    let (status, _) = send(&service, &minter, "DELETE", &path, None).await;
    assert_eq!(status, 403);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_with_a_key_is_kept() {
    let (service, admin) = start().await;
    let request = service
        .http
        .post(service.url("/keys"))
        .bearer_auth(&admin)
        .header("idempotency-key", "once")
        .json(&json!({"scopes": []}));
    assert_eq!(request.send().await.unwrap().status(), 400);
    service.stop().await;
}
