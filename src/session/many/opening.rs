//! The beginning of a session for many subscriptions.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Instant,
};

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::oneshot;

use super::{Rate, Several, Subscriber};
use crate::{
    access::Caller,
    carrier::Carrier,
    protocol::{Dialect, Ending, Message},
    router::{AttachError, OpenSession, registry::AliveGuard},
    session::{
        NodeContext, Session,
        open::{refuse, take_over},
        refresh::Refresher,
    },
};

/// A client's request for a session for many subscriptions.
#[derive(Debug)]
pub(crate) struct ManyRequest {
    pub caller: Arc<Caller>,
    /// Proves a new credential on the way.
    pub refresher: Arc<dyn Refresher>,
    /// Reads what the client asks for.
    pub subscriber: Arc<dyn Subscriber>,
    pub dialect: Dialect,
    /// The client's address.
    pub remote: String,
}

/// Serves one session from the request to the end, as [`serve`](crate::session::serve) does one with one channel.
pub(crate) async fn serve(
    context: Arc<NodeContext>,
    request: ManyRequest,
    answer: oneshot::Sender<Result<(), AttachError>>,
    carrier: impl Future<Output = Option<Carrier>>,
) {
    // Dropped last: whoever waits for its end knows that the socket is closed.
    let (_alive, closed) = AliveGuard::new();
    let (sender, outbox) = context.router.outbox();
    let open = OpenSession {
        caller: Arc::clone(&request.caller),
        outbox: sender,
        dialect: request.dialect,
        remote: request.remote.clone(),
        closed,
    };
    let opened = match context.router.open_session(open).await {
        Ok(opened) => opened,
        Err(error) => return refuse(answer, error),
    };
    let key = opened.key;
    let beginning = async {
        answer.send(Ok(())).ok()?;
        let carrier = take_over(carrier, &outbox).await?;
        let proof = (request.caller, request.refresher);
        let session = Session::new(
            Arc::clone(&context),
            key,
            proof,
            request.dialect,
            outbox,
            carrier,
        );
        let mut session = Box::new(session);
        let settings = &context.socket;
        let now = Instant::now();
        session.several = Some(Box::new(Several {
            subscriber: request.subscriber,
            handles: HashMap::new(),
            last_number: 0,
            due: VecDeque::new(),
            due_bytes: 0,
            under_way: None,
            to_end: VecDeque::new(),
            ending: None,
            rate: Rate::new(
                settings.subscribes_per_second,
                settings.subscribe_burst,
                now,
            ),
            first_by: Some(now + settings.first_subscribe),
            reached: None,
            ends_wait_since: None,
        }));
        session.transport.outbound().share(opened.position);
        let cursor = opened.position.cursor(context.router.deployment());
        let limits = json!({
            "handles": settings.handles,
            "items": settings.items,
            "subscribesPerSecond": settings.subscribes_per_second,
            "messageBytes": settings.many_message_bytes,
        });
        session.say(&Message::welcome(&opened.id, &cursor, &limits));
        Some(session)
    };
    // It is registered: whatever becomes of it here, the registry is told.
    let ending = match AssertUnwindSafe(Box::pin(beginning)).catch_unwind().await {
        Ok(Some(mut session)) => {
            let ran = AssertUnwindSafe(session.run()).catch_unwind().await;
            return Box::pin(session.finish(ran)).await;
        }
        Ok(None) => Ending::ConnectionLost,
        Err(_) => {
            tracing::error!(?key, "opening a session panicked");
            Ending::InternalError
        }
    };
    context.router.end_session(key, ending).await;
}
