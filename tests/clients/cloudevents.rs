//! The Python SDK of CloudEvents publishes in each mode, and reads each bare event.

use bson::{Binary, Bson, DateTime, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};
use serde_json::{Value, json};

use super::{
    client::Client,
    installed::{Program::Python, are_here},
    support::Service,
};

/// Documents of other programs, each odd in its own way.
fn odd_documents() -> Vec<bson::Document> {
    let binary = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0, 255],
    };
    vec![
        doc! {},
        doc! {"__v": 0, "_class": "a.B", "createdAt": DateTime::now(), "updated_at": 1},
        doc! {"id": 7, "source": "", "type": 5, "subject": ["x"], "time": 12},
        doc! {"id": "", "source": "not a uri", "type": "", "subject": "", "time": "yesterday"},
        doc! {"type": "t", "specversion": "9.9", "dataschema": "", "datacontenttype": 3},
        doc! {"type": "t", "extension": {"a": 1}, "list": [1], "nothing": null, "Upper": 1},
        doc! {"type": "t", "whole": 1_i64 << 40, "double": 1.5, "is": true, "a-b": "x"},
        doc! {"type": "t", "control": "a\u{1}b", "oid": ObjectId::new(), "averyveryverylongname": 1},
        doc! {"type": "t", "data": binary.clone(), "datacontenttype": "image/png"},
        doc! {"type": "t", "data": {"n": 1}, "data_base64": "AP8="},
        doc! {"type": "t", "data": Bson::Null, "data_base64": binary},
        doc! {"type": "t", "data": "text", "datacontenttype": "text/plain"},
        doc! {"type": "t", "time": DateTime::MAX, "ts": Timestamp { time: 0, increment: 0 }},
        doc! {"type": "t", "time": DateTime::MIN, "tidegatecursor": "x"},
        doc! {"_id": {"a": [1, 2]}, "type": "t"},
    ]
}

fn said<'c>(client: &'c Client, what: &str) -> Vec<&'c Value> {
    let lines = client.seen.iter();
    lines.filter(|line| line["saw"] == what).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_publishes_in_each_mode_and_reads_every_frame() {
    if !are_here(&[Python]) {
        return;
    }
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut command = Python.script("sdk.py");
    command.arg(format!("http://{}", service.address)).arg(&id);
    let mut client = Client::start(command);
    let connected = |line: &Value| line["saw"] == "connected";
    let connected = client.until("connected", connected).await;
    assert_eq!(connected["subprotocol"], "cloudevents.json");
    let batch = |line: &Value| line["name"] == "batch";
    client.until("all is published", batch).await;
    let odd = odd_documents();
    let count = odd.len();
    let events = service.database.collection("events");
    events.insert_many(odd).await.unwrap();
    service.publish("last", json!({})).await;
    let is_last = |line: &Value| line["attributes"]["type"] == "last";
    client.until("the last event", is_last).await;

    assert_eq!(said(&client, "refused by the SDK"), Vec::<&Value>::new());
    let published = said(&client, "published");
    assert_eq!(published.len(), 7);
    for answer in published {
        assert_eq!(answer["status"], 202, "{answer}");
    }
    let frames = said(&client, "frame");
    // The batch has three events. This is the last one.
    assert_eq!(frames.len(), count + 6 + 3 + 1);
    let data = |name: &str| {
        let mut named = frames
            .iter()
            .filter(|frame| frame["attributes"]["id"] == name);
        named.next().unwrap()["data"].clone()
    };
    for mode in ["structured", "binary"] {
        assert_eq!(data(&format!("{mode}-json")), json!({"n": 5, "text": "ä"}));
        assert_eq!(data(&format!("{mode}-bytes")), json!([0, 255]));
        assert_eq!(data(&format!("{mode}-none")), Value::Null);
    }
    for frame in &frames {
        let attributes = &frame["attributes"];
        if attributes["type"] == "sdk" {
            assert_eq!(
                attributes["subject"], "with \"quotes\" and 100 %",
                "{frame}"
            );
            assert_eq!(attributes["extension"], "ü", "{frame}");
            assert_eq!(attributes["time"], "2030-01-31 12:00:00+00:00", "{frame}");
        }
    }
    client.finish().await;
}
