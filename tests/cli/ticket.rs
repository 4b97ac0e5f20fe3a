//! `ticket` against a real service that asks for keys.

use bson::{Document, doc};
use serde_json::Value;
use tidegate::config::Auth;

use super::{
    process::{Outcome, finish, tidegate},
    support::{Service, admin_key},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_printed_and_opens_one_stream() {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    let key = admin_key(&service.config);
    let subscriptions = service.database.collection::<Document>("subscriptions");
    for id in ["a", "b"] {
        let document = doc! {"_id": id, "filter": {}};
        subscriptions.insert_one(document).await.unwrap();
    }
    let server = format!("http://{}", service.address);
    let ticket = |arguments: &[&str]| -> Outcome {
        let mut command = tidegate(&[&["ticket"], arguments].concat());
        command
            .env("TIDEGATE_SERVER", &server)
            .env("TIDEGATE_TOKEN", &key);
        finish(&mut command, "")
    };
    let made = ticket(&["a"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let text = made.stdout.trim();
    assert!(text.starts_with("tgt_") && text.len() == 42, "{made:?}");
    assert!(made.stderr.contains("until"), "{made:?}");
    let made = ticket(&["a", "--json"]);
    let shown: Value = serde_json::from_str(&made.stdout).unwrap();
    let url = format!("{server}{}", shown["url"].as_str().unwrap());
    for status in [200, 401] {
        let stream = service.http.get(&url).header("accept", "text/event-stream");
        assert_eq!(stream.send().await.unwrap().status(), status);
    }
    let many = ticket(&["a", "b", "--json"]);
    let shown: Value = serde_json::from_str(&many.stdout).unwrap();
    let url = shown["url"].as_str().unwrap();
    assert!(url.starts_with("/api/v1/socket?ticket=tgt_"), "{shown}");
    let unknown = ticket(&["nobody"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("nobody"), "{unknown:?}");
    service.stop().await;
}
