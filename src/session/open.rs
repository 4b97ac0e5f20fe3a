//! The beginning of a session: from a client's request to a session that is registered and has its client.

use std::{future::poll_fn, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{NodeContext, Session, SessionRequest, channel::Channel};
use crate::{
    carrier::Carrier,
    position::Cursor,
    protocol::Ending,
    router::{
        Attach, AttachError,
        outbox::Receiver,
        registry::{AliveGuard, Closed},
    },
    store::StoreError,
};

/// HTTP may take this long to hand the socket over.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same when the outbox is full already, and the router waits.
const UPGRADE_GRACE: Duration = Duration::from_secs(1);

/// Registers a session with its channel, and takes its client over; `None` if it came to nothing.
///
/// `alive` comes first, so that it is dropped last: whoever waits for its end knows that the socket is closed.
pub(super) async fn open(
    alive: AliveGuard,
    context: Arc<NodeContext>,
    request: SessionRequest,
    closed: Closed,
    answer: oneshot::Sender<Result<(), AttachError>>,
    carrier: impl Future<Output = Option<Carrier>>,
) -> Option<Box<Session>> {
    let (sender, outbox) = context.router.outbox();
    let Ok((after, resumed)) = resume_point(&context, &request).await else {
        refuse(answer, AttachError::Unavailable);
        return None;
    };
    #[cfg(test)]
    let subscription = request.subscription.clone();
    let attach = Attach {
        id: request.subscription,
        caller: Arc::clone(&request.caller),
        outbox: sender,
        dialect: request.dialect,
        after,
        acknowledged: resumed,
        close_on_gap: request.close_on_gap,
        remote: request.remote,
        closed,
    };
    let attached = match context.router.attach(attach).await {
        Ok(attached) => attached,
        Err(error) => {
            refuse(answer, error);
            return None;
        }
    };
    let key = attached.key.session;
    let beginning = async {
        let waiting = answer.send(Ok(())).is_ok();
        let carrier = if waiting {
            take_over(carrier, &outbox).await?
        } else {
            return None;
        };
        #[cfg(test)]
        super::fault::strike_beginning(&subscription);
        let channel = Channel::new(&attached, resumed);
        let context = Arc::clone(&context);
        let proof = (request.caller, request.refresher);
        let session = Session::new(context, key, proof, request.dialect, outbox, carrier);
        let mut session = Box::new(session);
        session.begin(channel, &attached, after, request.close_on_gap);
        Some(session)
    };
    // It is registered: whatever becomes of it here, the registry is told.
    let ending = match AssertUnwindSafe(beginning).catch_unwind().await {
        Ok(Some(mut session)) => {
            session.channels.keep_alive(attached.key.id, alive);
            return Some(session);
        }
        Ok(None) => Ending::ConnectionLost,
        Err(_) => {
            tracing::error!(?key, "opening a session panicked");
            Ending::InternalError
        }
    };
    context.router.end_session(key, ending).await;
    None
}

/// Returns where the client goes on: where it says, else at the acknowledged position of a durable subscription; and
/// whether it is the latter.
async fn resume_point(
    context: &NodeContext,
    request: &SessionRequest,
) -> Result<(Option<Cursor>, bool), StoreError> {
    if request.after.is_some() {
        return Ok((request.after, false));
    }
    let acknowledged = context.positions.resume(&request.subscription).await;
    let after = acknowledged
        .inspect_err(|error| tracing::warn!(%error, "an acknowledged position cannot be read"))?;
    Ok((after, after.is_some()))
}

pub(super) fn refuse<E>(answer: oneshot::Sender<Result<(), E>>, error: E) {
    if answer.send(Err(error)).is_err() {
        tracing::trace!("the client has left; nothing was opened");
    }
}

/// Waits for the way to the client until HTTP lets go of it. `None` where that takes too long, or where the router has
/// to wait for it: one session must not hold up the others.
pub(super) async fn take_over(
    carrier: impl Future<Output = Option<Carrier>>,
    outbox: &Receiver,
) -> Option<Carrier> {
    let awaited = async {
        poll_fn(|cx| outbox.poll_asked(cx)).await;
        sleep(UPGRADE_GRACE).await;
    };
    tokio::select! {
        biased;
        carrier = timeout(UPGRADE_TIMEOUT, carrier) => carrier.ok().flatten(),
        () = awaited => None,
    }
}
