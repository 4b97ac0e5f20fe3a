//! The beginning of a session for many subscriptions.

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Handles, NotSubscribed, Rate, Several, Subscriber};
use crate::{
    access::Caller,
    carrier::Carrier,
    protocol::{Asked, Dialect, Ending, Message},
    router::{
        AttachError, OpenSession, OpenedSession,
        registry::{AliveGuard, SessionKey},
    },
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
    /// The wishes of the request itself, where there are no messages of a client.
    pub first: Option<Asked>,
    /// The client's address.
    pub remote: String,
}

/// The reason why a session was not opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// It was not taken.
    Attach(AttachError),
    /// All that it asks for is refused: the problem document of the first.
    Refused(Box<Value>),
}

/// The number of what the request itself asks for.
const FIRST: u64 = 1;

/// Serves one session from the request to the end, as [`serve`](crate::session::serve) does one with one channel.
pub(crate) async fn serve(
    context: Arc<NodeContext>,
    request: ManyRequest,
    answer: oneshot::Sender<Result<(), NotOpened>>,
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
        Err(error) => return refuse(answer, NotOpened::Attach(error)),
    };
    let key = opened.key;
    let after = request.first.as_ref();
    let after = after.and_then(|asked| asked.shared.get("after")?.as_str());
    let after = after.map(str::to_owned);
    let first = match request.first {
        None => First::default(),
        Some(asked) => {
            let caller = Arc::clone(&request.caller);
            First::ask(&request.subscriber, key, caller, asked).await
        }
    };
    if first.granted.is_empty()
        && let Some((_, refused)) = first.refused.first()
    {
        let problem = Box::new(refused.problem.clone());
        context.router.end_session(key, Ending::ClientLeft).await;
        return refuse(answer, NotOpened::Refused(problem));
    }
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
        let several = Several::new(&context, request.subscriber, request.dialect);
        session.several = Some(Box::new(Several {
            handles: first.handles(),
            stream_id: after,
            ..several
        }));
        session.transport.outbound().share(opened.position);
        session.welcome(&opened);
        for (handle, refused) in first.refused {
            session.say_refused(&handle, &refused.problem, refused.retry_after_ms);
        }
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

impl Session {
    pub(super) fn welcome(&mut self, opened: &OpenedSession) {
        let settings = &self.context.socket;
        let cursor = opened.position.cursor(self.context.router.deployment());
        let limits = json!({
            "handles": settings.handles,
            "items": settings.items,
            "subscribesPerSecond": settings.subscribes_per_second,
            "messageBytes": settings.many_message_bytes,
        });
        self.say(&Message::welcome(&opened.id, &cursor, &limits));
    }
}

impl Several {
    /// Nothing is asked for yet.
    pub(super) fn new(
        context: &NodeContext,
        subscriber: Arc<dyn Subscriber>,
        dialect: Dialect,
    ) -> Self {
        let settings = &context.socket;
        let now = Instant::now();
        let (per_second, burst) = (settings.subscribes_per_second, settings.subscribe_burst);
        Self {
            subscriber,
            handles: Handles::default(),
            last_number: FIRST,
            pasts: Vec::new(),
            pasts_of: FIRST,
            due: VecDeque::new(),
            due_bytes: 0,
            under_way: None,
            to_end: VecDeque::new(),
            ending: None,
            rate: Rate::new(per_second, burst, now),
            first_by: (!dialect.is_sse()).then(|| now + settings.first_subscribe),
            reached: None,
            stream_id: None,
            ends_wait_since: None,
        }
    }
}

/// The outcome of what the request itself asks for.
#[derive(Default)]
struct First {
    /// Each with whether its filter is the client's own.
    granted: Vec<(Arc<str>, bool)>,
    refused: Vec<(Arc<str>, NotSubscribed)>,
}

impl First {
    async fn ask(
        subscriber: &Arc<dyn Subscriber>,
        session: SessionKey,
        caller: Arc<Caller>,
        asked: Asked,
    ) -> Self {
        let handles = asked.items.iter();
        let handles = handles.map(|item| (Arc::clone(&item.handle), item.is_adhoc()));
        let handles: Vec<_> = handles.collect();
        let subscribing = Arc::clone(subscriber).subscribe(session, caller, FIRST, asked);
        let mut first = Self::default();
        for (handle, outcome) in handles.into_iter().zip(subscribing.await) {
            match outcome {
                Ok(()) => first.granted.push(handle),
                Err(problem) => first.refused.push((handle.0, problem)),
            }
        }
        first
    }

    fn handles(&self) -> Handles {
        let mut handles = Handles::default();
        for (handle, is_adhoc) in &self.granted {
            handles.ask(Arc::clone(handle), FIRST, *is_adhoc);
        }
        handles
    }
}
