//! The client leaves: in order, by a reset, by half. Whatever else happens at the same time, each
//! connection ends for one reason, and the books say which.

use serde_json::json;
use tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::{kit::until_closed, support::Service};

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
