//! Times before 1970, and beyond what RFC 3339 has: callers name them, and programs store them.

use bson::{DateTime, Document, doc};
use serde_json::json;

use super::{send, start};

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_whatever_time_is_stored() {
    let (service, admin) = start().await;
    let body = json!({"sub": "42", "issuedBefore": "1601-05-09T14:55:13.7+03:04"});
    let (status, made) = send(&service, &admin, "POST", "/revocations", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["issuedBefore"], "1601-05-09T11:51:13.700Z");
    for (collection, path, field) in [
        ("revocations", "/revocations", "issuedBefore"),
        ("keys", "/keys", "createdAt"),
    ] {
        let all = service.database.collection::<Document>(collection);
        for (id, date) in [
            ("a", DateTime::from_millis(-1)),
            ("b", DateTime::MIN),
            ("c", DateTime::MAX),
        ] {
            all.insert_one(doc! {"_id": id, "name": id, field: date})
                .await
                .unwrap();
        }
        let (status, listed) = send(&service, &admin, "GET", path, None).await;
        assert_eq!(status, 200, "{path}: {listed}");
        let items = listed["items"].as_array().unwrap().iter();
        let old = items
            .clone()
            .find(|item| item[field] == "1969-12-31T23:59:59.999Z");
        assert!(old.is_some(), "{path}: {listed}");
    }
    service.stop().await;
}
