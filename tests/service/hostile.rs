//! Clients that break the rules of a socket: each ends alone, for a named reason, counted once.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    apart::Apart,
    raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, client_frame, upgrade_request},
    support::{Service, Socket},
};

const MESSAGE_BYTES: usize = 1024;

/// A node and a subscription to attack.
struct Target {
    service: Service,
    id: String,
}

impl Target {
    async fn new() -> Self {
        let service =
            Service::start_with(|config| config.socket.message_bytes = MESSAGE_BYTES).await;
        let id = service.subscribe(json!({})).await;
        Self { service, id }
    }

    async fn open(&self) -> Raw {
        Raw::open(self.service.address, &self.id).await
    }

    /// Asserts that these bytes end the connection with this code and reason, counted once.
    async fn check(&self, sent: &[u8], code: u16, reason: &str) {
        let before = self.service.count_closed(reason).await;
        let mut raw = self.open().await;
        raw.send(sent).await;
        let ended = raw.assert_ends(code, reason).await;
        assert!(ended["cursor"].is_string(), "{ended}");
        assert_eq!(ended["retryAfterMs"], json!(null), "{ended}");
        self.assert_counted(reason, before + 1).await;
    }

    async fn assert_counted(&self, reason: &str, expected: i64) {
        let counted = async || {
            let closed = self.service.count_closed(reason).await;
            assert!(closed <= expected, "{reason} is counted {closed} times");
            closed >= expected
        };
        self.service.until(reason, counted).await;
        self.service.assert_books_balance().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_breaks_the_protocol_ends_its_connection() {
    let target = Target::new().await;
    let unmasked = vec![TEXT, 2, b'{', b'}'];
    let bad_continuation = client_frame(0x80, b"tail");
    let mut second_start = client_frame(0x01, b"{\"type\":");
    second_start.extend(client_frame(TEXT, b"\"ping\"}"));
    for (what, sent) in [
        ("reserved bits", client_frame(TEXT | 0x40, b"{}")),
        ("an unknown data opcode", client_frame(0x83, b"{}")),
        ("an unknown control opcode", client_frame(0x8B, b"")),
        ("no mask", unmasked),
        ("a control frame in fragments", client_frame(0x09, b"")),
        ("a long ping", client_frame(PING, &[b'x'; 126])),
        ("nothing to continue", bad_continuation),
        ("a message inside another", second_start),
        ("half a close code", client_frame(CLOSE, &[3])),
        (
            "a close code nobody may send",
            client_frame(CLOSE, &[3, 237]),
        ),
    ] {
        println!("{what}");
        target.check(&sent, 1002, "protocol_error").await;
    }
    target.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_broken_text_and_long_messages_have_codes_of_their_own() {
    let target = Target::new().await;
    let long = vec![b' '; MESSAGE_BYTES + 1];
    let mut fragments = client_frame(0x01, &long[..MESSAGE_BYTES]);
    fragments.extend(client_frame(0x80, b"x"));
    let mut endless = vec![TEXT, 0x80 | 127];
    endless.extend([0xFF; 12]);
    for (sent, code, reason) in [
        (client_frame(BINARY, b"{}"), 1003, "binary"),
        (client_frame(TEXT, &[0xC3, 0x28]), 1007, "not_utf8"),
        (client_frame(CLOSE, &[3, 232, 0xFF]), 1007, "not_utf8"),
        (client_frame(TEXT, &long), 1009, "too_big"),
        (fragments, 1009, "too_big"),
        (endless, 1009, "too_big"),
    ] {
        target.check(&sent, code, reason).await;
    }
    target.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_understood_ends_its_connection() {
    let target = Target::new().await;
    let deep = "[".repeat(MESSAGE_BYTES);
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"type":"unheard of"}"#,
        r#"{"type":["ping"]}"#,
        r#"{"type":"ack"}"#,
        r#"{"type":"ack","cursor":"made up"}"#,
        r#"{"type":"ack","cursor":7}"#,
        &deep,
    ] {
        println!("{text:.40}");
        let sent = client_frame(TEXT, text.as_bytes());
        target.check(&sent, 4520, "bad_message").await;
    }
    target.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_is_answered_with_its_own_code() {
    let target = Target::new().await;
    for (counted, payload) in (1..).zip([
        &b""[..],
        b"\x03\xE8",
        b"\x03\xE9going away",
        b"\x0F\xA0mine",
    ]) {
        let mut raw = target.open().await;
        raw.send(&client_frame(CLOSE, payload)).await;
        let frame = raw.frame().await.expect("an answer, not the end");
        assert_eq!((frame.first, &frame.payload[..]), (CLOSE, payload));
        assert_eq!(raw.frame().await, None);
        target.assert_counted("client_left", counted).await;
    }
    target.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_fragments_with_control_frames_between_is_understood() {
    let target = Target::new().await;
    let mut raw = target.open().await;
    let mut sent = client_frame(0x01, b"{\"type\"");
    sent.extend(client_frame(PING, b"between"));
    sent.extend(client_frame(0x00, b""));
    sent.extend(client_frame(0x00, b":\"pi"));
    sent.extend(client_frame(0x80, b"ng\"}"));
    // However the bytes are split.
    for byte in sent {
        raw.send(&[byte]).await;
    }
    let pong = raw.frame().await.unwrap();
    assert_eq!((pong.first, &pong.payload[..]), (PONG, &b"between"[..]));
    assert_eq!(raw.message().await, json!({"type": "pong"}));
    target.service.publish("still here", json!(1)).await;
    assert_eq!(raw.message().await["event"]["type"], "still here");
    drop(raw);
    target.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_behind_the_request_in_one_segment_is_not_lost() {
    let target = Target::new().await;
    let mut raw = Raw::dial(target.service.address).await;
    let mut sent = upgrade_request(&target.id, "").into_bytes();
    sent.extend(client_frame(TEXT, br#"{"type":"ping"}"#));
    sent.extend(client_frame(PING, b"at once"));
    raw.send(&sent).await;
    assert_eq!(raw.answer().await.status, 101);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let frame = raw.frame().await.expect("a frame, not the end");
        seen.push(match frame.first {
            TEXT => frame.json()["type"].as_str().unwrap().to_owned(),
            PONG => String::from_utf8(frame.payload).unwrap(),
            _ => panic!("{frame:?}"),
        });
    }
    seen.sort();
    assert_eq!(seen, ["at once", "connected", "pong"]);
    drop(raw);
    target.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_cloudevents_ignore_what_the_client_says() {
    let target = Target::new().await;
    let path = format!("/api/v1/subscriptions/{}/events", target.id);
    let mut socket = Socket::open(target.service.address, &path, Some("cloudevents.json"))
        .await
        .unwrap();
    for text in ["", "not JSON", r#"{"type":"ping"}"#, r#"{"type":"ack"}"#] {
        socket.say(text).await;
    }
    target.service.publish("first", json!(1)).await;
    assert_eq!(socket.message().await["type"], "first");
    assert_eq!(target.service.count("tidegate_connections").await, 1);
    drop(socket);
    target.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_is_counted_as_lost() {
    let target = Target::new().await;
    drop(target.open().await);
    target.assert_counted("connection_lost", 1).await;
    let raw = target.open().await;
    // The connection ends with a reset.
    raw.tcp.set_zero_linger().unwrap();
    drop(raw);
    target.assert_counted("connection_lost", 2).await;
    target.service.stop().await;
}

/// Neither by messages that are ignored, nor by fragments that never make a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_stop_sending_starve_nobody() {
    let service = Apart::start(1, |_| {}).await;
    let id = service.subscribe(json!({})).await;
    let pongs = Raw::open(service.address, &id).await;
    let mut fragments = Raw::open(service.address, &id).await;
    fragments.send(&client_frame(0x01, b"")).await;
    let floods = [
        tokio::spawn(flood(pongs, client_frame(PONG, b""))),
        tokio::spawn(flood(fragments, client_frame(0x00, b""))),
    ];
    let mut quiet = service.connect(&id).await;
    for n in 0..20 {
        service.publish("n", json!(n)).await;
        assert_eq!(quiet.event().await, json!(n));
    }
    for flood in floods {
        assert!(!flood.is_finished(), "it ended too early to tell anything");
        flood.abort();
    }
    drop(quiet);
    service.stop().await;
}

async fn flood(mut raw: Raw, frame: Vec<u8>) {
    let many = frame.repeat(4096);
    while raw.tcp.write_all(&many).await.is_ok() {}
}
