//! The client leaves: in order, by a reset, or by half. Whatever else happens at the same time, each connection ends
//! for one reason, and the metrics say which.

use std::{net::Shutdown, time::Duration};

use futures_util::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use socket2::SockRef;
use tokio::task::yield_now;
use tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    kit::{
        assert_no_panic, connect_many, insert_big, insert_events, until_closed, with_books_watched,
    },
    support::{Service, Socket},
};

/// A client's way to leave.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// The closing handshake.
    Close,
    /// A TCP reset.
    Reset,
    /// It closes its sending side and listens on.
    Half,
    /// It stays.
    Stay,
}

const LEAVING: [Manner; 3] = [Manner::Close, Manner::Reset, Manner::Half];
const ANY: [Manner; 4] = [Manner::Close, Manner::Reset, Manner::Half, Manner::Stay];

/// Makes each socket leave in one of these ways, after fewer than `patience` turns of the runtime.
async fn go_all(
    sockets: Vec<Socket>,
    manners: &[Manner],
    patience: u32,
    random: &mut StdRng,
) -> Vec<Option<(u16, String)>> {
    let going = sockets.into_iter().map(|socket| {
        let manner = manners[random.random_range(0..manners.len())];
        let wait = random.random_range(0..patience);
        async move {
            turns(wait).await;
            go(socket, manner).await
        }
    });
    join_all(going.collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_is_answered_with_its_own_code() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let bye = CloseFrame {
        code: CloseCode::Away,
        reason: "bye".into(),
    };
    socket.stream.close(Some(bye)).await.unwrap();
    let (messages, closed) = socket.rest().await;
    assert_eq!((messages.len(), closed.code), (0, 1001));
    until_closed(&service, "client_left", 1).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_is_counted_as_lost() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let socket = service.connect(&id).await;
    go(socket, Manner::Reset).await;
    let half = service.connect(&id).await;
    go(half, Manner::Half).await;
    until_closed(&service, "connection_lost", 2).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_while_the_subscription_is_deleted_ends_for_one_reason() {
    const ROUNDS: u64 = 40;
    const SOCKETS: usize = 8;
    let service = Service::start().await;
    with_books_watched(&service, async {
        for seed in 0..ROUNDS {
            let mut random = StdRng::seed_from_u64(seed);
            let wait = random.random_range(0..20);
            let id = service.subscribe(json!({"type": "x"})).await;
            let sockets = connect_many(&service, &id, SOCKETS).await;
            let deleting = async {
                turns(wait).await;
                insert_events(&service, "x", 0..5).await;
                let path = format!("/subscriptions/{id}");
                assert_eq!(
                    service.send("DELETE", &path, None).await.0,
                    204,
                    "seed {seed}"
                );
            };
            let (ends, ()) = tokio::join!(go_all(sockets, &ANY, 60, &mut random), deleting);
            for end in ends.into_iter().flatten() {
                assert_eq!(end, (4500, "deleted".to_owned()), "seed {seed}");
            }
            let opened = (seed + 1) * SOCKETS as u64;
            let reasons = ["client_left", "connection_lost", "deleted"];
            until_all_closed(&service, opened, &reasons).await;
        }
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_while_the_service_stops_ends_for_one_reason() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let wait = random.random_range(0..40);
        let service = Service::start().await;
        let id = service.subscribe(json!({"type": "x"})).await;
        let sockets = connect_many(&service, &id, 12).await;
        let stopping = async {
            turns(wait).await;
            insert_events(&service, "x", 0..5).await;
            service.begin_stop();
        };
        let (ends, ()) = tokio::join!(go_all(sockets, &ANY, 60, &mut random), stopping);
        for end in ends.into_iter().flatten() {
            assert_eq!(end, (1001, "shutdown".to_owned()), "seed {seed}");
        }
        service.stop().await;
    }
    assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_while_the_outbox_is_full_ends_for_one_reason_and_holds_up_nobody() {
    const ROUNDS: u64 = 12;
    let service = Service::start_with(|config| {
        config.socket.outbox_frames = 2;
        config.socket.send_buffer_bytes = 4096;
        // An unnecessary wait would last until the test fails.
        config.socket.router_patience = Duration::from_hours(1);
    })
    .await;
    let id = service.subscribe(json!({"type": "big"})).await;
    let marked = service.subscribe(json!({"type": "mark"})).await;
    let mut other = service.connect(&marked).await;
    with_books_watched(&service, async {
        for seed in 0..ROUNDS {
            let mut random = StdRng::seed_from_u64(seed);
            let sockets = connect_many(&service, &id, 4).await;
            let publishing = async {
                insert_big(&service, 30).await;
                service.publish("mark", json!(seed)).await;
                assert_eq!(other.event().await, seed);
            };
            tokio::join!(go_all(sockets, &LEAVING, 200, &mut random), publishing);
            service
                .until("only the other is open", async || {
                    service.metric("tidegate_connections").await.to_bits() == 1.0f64.to_bits()
                })
                .await;
        }
    })
    .await;
    other.leave().await;
    let reasons = ["client_left", "connection_lost", "slow_consumer"];
    until_all_closed(&service, 4 * ROUNDS + 1, &reasons).await;
    service.stop().await;
}

/// Leaves. Returns the end of the connection, if the client hears of it.
async fn go(mut socket: Socket, manner: Manner) -> Option<(u16, String)> {
    let tcp = SockRef::from(socket.stream.get_ref());
    match manner {
        Manner::Close => {
            // The close fails if the server was faster.
            drop(socket.stream.close(None).await);
            while let Some(Ok(_)) = socket.frame().await {}
            None
        }
        Manner::Reset => {
            tcp.set_linger(Some(Duration::ZERO)).unwrap();
            None
        }
        Manner::Half => {
            drop(tcp.shutdown(Shutdown::Write));
            told(&mut socket).await
        }
        Manner::Stay => told(&mut socket).await,
    }
}

/// Reads the end of a connection: at most one `ended`, and then the close.
async fn told(socket: &mut Socket) -> Option<(u16, String)> {
    let mut ended = None;
    loop {
        match socket.frame().await {
            Some(Ok(Message::Text(text))) => {
                assert!(ended.is_none(), "{text} after {ended:?}");
                let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                ended = (message["type"] == "ended").then_some(message);
            }
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.unwrap();
                let code = u16::from(frame.code);
                assert_eq!(ended.expect("ended before the close")["code"], code);
                return Some((code, frame.reason.to_string()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// Yields to other tasks this many times.
async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Waits until all of `opened` connections were closed, each for one of `reasons`.
async fn until_all_closed(service: &Service, opened: u64, reasons: &[&str]) {
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let opened = opened as f64;
    service
        .until("all are closed", async || {
            let mut closed = 0.0;
            for reason in reasons {
                closed += service.closed(reason).await;
            }
            closed.to_bits() == opened.to_bits()
        })
        .await;
    let counted = service.metric("tidegate_connections_opened_total").await;
    assert_eq!(counted.to_bits(), opened.to_bits());
}
