//! Entity tags: `If-Match` and `If-None-Match`.

use bson::{Document, doc};
use reqwest::Method;
use serde_json::json;

use super::{Answer, request, send, support::Service, with_json};

const PATH: &str = "/subscriptions/a";

async fn put(service: &Service, header: (&str, &str), filter: i32) -> Answer {
    let body = json!({"filter": {"a": filter}});
    let put = with_json(service, Method::PUT, PATH, &body);
    send(put.header(header.0, header.1)).await
}

async fn etag(service: &Service) -> String {
    let read = send(request(service, Method::GET, PATH)).await;
    read.header("etag").to_owned()
}

#[tokio::test]
async fn a_write_goes_through_only_against_the_state_that_was_seen() {
    let service = Service::start().await;
    assert_eq!(put(&service, ("if-match", "*"), 1).await.status, 412);
    assert_eq!(put(&service, ("if-none-match", "*"), 1).await.status, 201);
    let refused = put(&service, ("if-none-match", "*"), 2).await;
    assert_eq!(refused.status, 412);
    assert_eq!(refused.problem("precondition-failed"), ["If-None-Match"]);

    let seen = etag(&service).await;
    assert_eq!(put(&service, ("if-match", &seen), 2).await.status, 200);
    let refused = put(&service, ("if-match", &seen), 3).await;
    assert_eq!(refused.status, 412);
    assert_eq!(refused.problem("precondition-failed"), ["If-Match"]);
    let list = format!("\"other\", {}", etag(&service).await);
    assert_eq!(put(&service, ("if-match", &list), 3).await.status, 200);
    assert_eq!(put(&service, ("if-match", "*"), 4).await.status, 200);
    assert_eq!(put(&service, ("if-match", "nonsense"), 4).await.status, 400);
}

#[tokio::test]
async fn a_change_made_in_a_shell_counts() {
    let service = Service::start().await;
    put(&service, ("if-none-match", "*"), 1).await;
    let seen = etag(&service).await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let update = doc! {"$set": {"theirs": 1}};
    subscriptions
        .update_one(doc! {"_id": "a"}, update)
        .await
        .unwrap();
    let patch = with_json(&service, Method::PATCH, PATH, &json!({"name": "n"}));
    assert_eq!(send(patch.header("if-match", &seen)).await.status, 412);
    let delete = request(&service, Method::DELETE, PATH);
    assert_eq!(send(delete.header("if-match", &seen)).await.status, 412);
    let delete = request(&service, Method::DELETE, PATH);
    assert_eq!(
        send(delete.header("if-match", etag(&service).await))
            .await
            .status,
        204
    );
    let delete = request(&service, Method::DELETE, PATH);
    assert_eq!(send(delete.header("if-match", "*")).await.status, 404);
}

#[tokio::test]
async fn a_reader_that_has_the_state_is_told_so() {
    let service = Service::start().await;
    put(&service, ("if-none-match", "*"), 1).await;
    let seen = etag(&service).await;
    for header in [
        seen.clone(),
        format!("W/{seen}"),
        format!("\"x\", {seen}"),
        "*".to_owned(),
    ] {
        let read = request(&service, Method::GET, PATH).header("if-none-match", header);
        let answer = send(read).await;
        assert_eq!((answer.status, answer.header("etag")), (304, seen.as_str()));
        assert_eq!(answer.text, "");
    }
    let read = request(&service, Method::GET, PATH).header("if-none-match", "\"x\"");
    assert_eq!(send(read).await.status, 200);
}

#[tokio::test]
async fn of_two_writers_with_the_same_tag_one_wins() {
    let service = Service::start().await;
    put(&service, ("if-none-match", "*"), 0).await;
    let seen = etag(&service).await;
    let writers = (1..=5).map(|filter| put(&service, ("if-match", &seen), filter));
    let mut statuses: Vec<_> = futures_util::future::join_all(writers)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412]);
}

/// Comparison is strong (RFC 9110, section 13.1.1), but a weak tag is not taken for a change.
#[tokio::test]
async fn a_tag_that_a_proxy_made_weak_is_told_from_a_change() {
    let service = Service::start().await;
    put(&service, ("if-none-match", "*"), 1).await;
    let weak = format!("W/{}", etag(&service).await);
    for (tag, words) in [(&*weak, "weak"), ("W/\"other\"", "has changed")] {
        let refused = put(&service, ("if-match", tag), 2).await;
        assert_eq!(refused.status, 412);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{tag}: {detail}");
    }
}
