//! The same over server-sent events.

use serde_json::{Value, json};

use crate::{
    kit::insert_events,
    support::{Events, Service},
};

/// A message: its id, and its JSON.
type Heard = (Option<String>, Value);

/// A stream that a test reads event by event.
struct Stream(Events);

impl Stream {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let request = request.header("accept", "text/event-stream");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
        Self(Events::of(answer))
    }

    async fn next(&mut self) -> Heard {
        let event = self.0.next().await.expect("it goes on");
        let id = Some(event.id).filter(|id| !id.is_empty());
        (id, event.data)
    }

    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let next = self.next().await;
            let last = fits(&next.1);
            heard.push(next);
            if last {
                return heard;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_by_its_last_id_and_loses_nothing() {
    let service = Service::start().await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let b = service.subscribe(json!({"type": "b"})).await;
    let path =
        format!("/stream?subscription={a}&subscription={b}&filter=%7B%22type%22%3A%22a%22%7D");
    let mut stream = Stream::of(service.http.get(service.url(&path))).await;
    let begun = stream
        .until(|message| message["type"] == "connected" && message["handle"] == "filter")
        .await;
    let kinds: Vec<_> = begun
        .iter()
        .map(|(_, message)| message["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["welcome", "connected", "connected", "connected"]);
    insert_events(&service, "a", 0..100).await;
    let mut heard = Vec::new();
    while heard.len() < 50 {
        heard.push(stream.next().await);
    }
    for (id, message) in &heard {
        assert_eq!(message["to"], json!([a, "filter"]), "{message}");
        assert_eq!(id.as_deref(), message["cursor"].as_str());
    }
    drop(stream);
    insert_events(&service, "b", 100..110).await;
    let last = heard.last().unwrap().0.clone().unwrap();
    let resumed = service
        .http
        .get(service.url(&path))
        .header("last-event-id", &last);
    let mut stream = Stream::of(resumed).await;
    let (id, welcome) = stream.next().await;
    assert_eq!(
        (&welcome["type"], id.as_deref()),
        (&json!("welcome"), Some(&*last))
    );
    let mut numbers: std::collections::BTreeMap<String, Vec<i64>> =
        std::collections::BTreeMap::new();
    let mut live = 0;
    let mut last_id = last;
    while live < 3 {
        let (id, message) = stream.next().await;
        let id = id.expect("none without an id");
        // Nothing that a handle has not got lies before it.
        assert!(id >= last_id, "{id} after {last_id}");
        last_id = id;
        live += usize::from(message["type"] == "live");
        for handle in message["to"].as_array().into_iter().flatten() {
            let number = message["event"]["data"]["n"].as_i64().unwrap();
            numbers
                .entry(handle.as_str().unwrap().to_owned())
                .or_default()
                .push(number);
        }
    }
    assert_eq!(numbers[&a], (50..100).collect::<Vec<_>>());
    assert_eq!(numbers["filter"], (50..100).collect::<Vec<_>>());
    assert_eq!(numbers[&b], (100..110).collect::<Vec<_>>());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_on_the_stream_unless_nothing_is_left() {
    let service = Service::start().await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let wanted = json!({"items": [{"handle": "gone", "subscription": "nobody"}, {"handle": "a", "subscription": a}]});
    let request = service.http.post(service.url("/stream")).json(&wanted);
    let mut stream = Stream::of(request).await;
    let heard = stream.until(|message| message["type"] == "connected").await;
    let refused = heard
        .iter()
        .find(|(_, message)| message["type"] == "refused")
        .unwrap();
    assert_eq!(
        (&refused.1["handle"], &refused.1["problem"]["status"]),
        (&json!("gone"), &json!(404))
    );
    for (path, status) in [
        ("/stream?subscription=nobody", 404),
        ("/stream?subscription=nobody&subscription=none", 404),
        ("/stream", 400),
        ("/stream?filter=x", 400),
        ("/stream?filter=%7B%22%24x%22%3A1%7D", 422),
        ("/stream?subscription=x&after=damaged", 400),
    ] {
        let answer = service.http.get(service.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status, "{problem}");
    }
    // With its last handle the stream ends.
    assert_eq!(
        service
            .send("DELETE", &format!("/subscriptions/{a}"), None)
            .await
            .0,
        204
    );
    let heard = stream.until(|message| message["type"] == "ended").await;
    assert_eq!(heard.last().unwrap().1["handle"], "a");
    assert_eq!(stream.0.next().await, None);
    service.stop().await;
}
