//! The beginning of a session for many subscriptions.

use std::{
    collections::{HashSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Instant,
};

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Handle, NotSubscribed, Rate, Several, Subscriber};
use crate::{
    access::Caller,
    carrier::Carrier,
    protocol::{Asked, Dialect, Ending, Message},
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
    /// What the request itself asks for, where there are no messages of a client.
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
    let (granted, refused) = match request.first {
        None => (Vec::new(), Vec::new()),
        Some(asked) => {
            let handles: Vec<_> = asked
                .items
                .iter()
                .map(|item| Arc::clone(&item.handle))
                .collect();
            let caller = Arc::clone(&request.caller);
            let subscriber = Arc::clone(&request.subscriber);
            let outcomes = subscriber.subscribe(key, caller, FIRST, asked).await;
            sorted(handles, outcomes)
        }
    };
    if granted.is_empty()
        && let Some((_, first)) = refused.first()
    {
        let problem = Box::new(first.problem.clone());
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
        let settings = &context.socket;
        let now = Instant::now();
        session.several = Some(Box::new(Several {
            subscriber: request.subscriber,
            handles: granted
                .into_iter()
                .map(|handle| (handle, Handle::Asked(FIRST)))
                .collect(),
            adhoc: HashSet::new(),
            last_number: FIRST,
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
            first_by: (!request.dialect.is_sse()).then(|| now + settings.first_subscribe),
            reached: None,
            stream_id: after,
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
        for (handle, refused) in refused {
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

/// Sorts the handles of a message into those that were granted and those that were not.
fn sorted(
    handles: Vec<Arc<str>>,
    outcomes: Vec<Result<(), NotSubscribed>>,
) -> (Vec<Arc<str>>, Vec<(Arc<str>, NotSubscribed)>) {
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    for (handle, outcome) in handles.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => granted.push(handle),
            Err(problem) => refused.push((handle, problem)),
        }
    }
    (granted, refused)
}
