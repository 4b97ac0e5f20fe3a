//! A router and a session for many subscriptions, which have their turns when a test says so.

use std::{
    pin::{Pin, pin},
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bson::{DateTime, Document, RawDocumentBuf, doc};
use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::mpsc};

use super::client::{Client, Known};
use crate::{
    access::Caller,
    carrier::{Carrier, TcpGauge, event_stream},
    config::{self, Config},
    filter::Limits,
    history::{HistoryContext, history},
    mongod::{Mongod, Options},
    position::{Cursor, DeploymentId, Position},
    positions::positions,
    protocol::{Asked, Dialect, Token},
    router::{
        AttachError, FeedBatch, FeedChange, FeedChangeKind, FromFeed, OpenSession, Operation,
        Router, RouterHandle, Settings, Span, Subscribe,
        opened::Wish,
        registry::{AliveGuard, SessionKey},
    },
    session::{
        NodeContext, Outcome, Refresher, Refreshing, Session,
        many::{NotSubscribed, Refusal, Several, Subscriber, Subscribing},
    },
    store::Store,
    subscription::CompiledSubscription,
    telemetry::{Health, Lag, Metrics},
};

const HERE: DeploymentId = DeploymentId([7; 6]);
/// The subscriptions that there are, and the kind of events that each matches.
pub(super) const SUBSCRIPTIONS: [(&str, &str); 3] = [("s0", "a"), ("s1", "a"), ("s2", "b")];

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The session has a turn.
    Session,
    /// The router takes what it was asked.
    Router,
    /// The client reads what has arrived.
    Read,
    /// An event that a subscription matches is committed, and applied.
    Event(u8),
    /// A subscription gets another name.
    Rename(u8),
    Delete(u8),
    /// A change could not be carried.
    Gap,
    /// The client subscribes a handle that is not in use, from the beginning of all or from now on.
    Subscribe(u8, u8, bool),
    Unsubscribe(u8),
    /// The client subscribes a handle from a point where the router has not come to.
    Ahead,
}

/// Returns the runtime that timers and threads for blocking work belong to.
pub(super) fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    });
    &RUNTIME
}

/// The parts of a node that no session here makes use of. They need a database.
struct Idle {
    store: Store,
    metrics: Arc<Metrics>,
    _mongod: Mongod,
}

fn idle() -> &'static Idle {
    static IDLE: LazyLock<Idle> = LazyLock::new(|| {
        std::thread::spawn(|| {
            runtime().block_on(async {
                let mongod = Mongod::start(Options::default()).await.unwrap();
                let config = Config {
                    mongodb_uri: mongod.uri(),
                    ..Config::default()
                };
                Idle {
                    store: Store::connect(&config).await.unwrap(),
                    metrics: Arc::new(Metrics::default()),
                    _mongod: mongod,
                }
            })
        })
        .join()
        .unwrap()
    });
    &IDLE
}

#[derive(Debug)]
struct NoRefresher;

impl Refresher for NoRefresher {
    fn refresh(self: Arc<Self>, _: SessionKey, _: Token) -> Refreshing {
        Box::pin(std::future::pending())
    }
}

/// Reads what a client asks for, as far as clients here ask.
#[derive(Debug)]
struct Reader(RouterHandle);

impl Subscriber for Reader {
    fn subscribe(
        self: Arc<Self>,
        session: SessionKey,
        _: Arc<Caller>,
        number: u64,
        asked: Asked,
    ) -> Subscribing {
        let after = asked.shared.get("after").and_then(Value::as_str);
        let after = after.map(|after| Cursor::parse(after).unwrap());
        let wanted = asked.items.into_iter().map(|item| Subscribe {
            wish: Wish {
                subscription: item.fields["subscription"].as_str().unwrap().into(),
                after,
                acknowledged: false,
                close_on_gap: false,
                warnings: Vec::new(),
            },
            handle: item.handle,
            number,
            adhoc: None,
        });
        let wanted = wanted.collect();
        Box::pin(async move {
            let answered = self.0.subscribe(session, wanted).await.unwrap();
            let refused = |error: AttachError| NotSubscribed {
                problem: json!(error.to_string()),
                retry_after_ms: None,
            };
            answered
                .into_iter()
                .map(|answer| answer.map_err(refused))
                .collect()
        })
    }

    fn problem(&self, refusal: Refusal) -> Value {
        json!(format!("{refusal:?}"))
    }
}

type Body = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

pub(super) struct World {
    router: Router,
    feed: mpsc::Sender<FromFeed>,
    session: Session,
    /// The end of the session, once it has come.
    over: Option<Outcome>,
    body: Body,
    client: Client,
    now: u32,
}

fn at(now: u32) -> Position {
    Position::at(bson::Timestamp {
        time: now,
        increment: 1,
    })
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Waits for something that needs nobody's turn.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).as_mut().poll(&mut noop()) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for somebody"),
    }
}

impl World {
    /// All subscriptions are there, a few events have been, and the session is open.
    pub(super) fn new() -> Self {
        let idle = idle();
        let settings = || Settings {
            deployment: HERE,
            database: "d".to_owned(),
            narrows: false,
            quotas: config::Quotas::default(),
            limits: config::Limits::default(),
            socket: config::Socket::default(),
            feed: config::Feed::default(),
        };
        let metrics = Arc::clone(&idle.metrics);
        let encoder = settings().encoder(&metrics);
        let (mut router, handle, feed) = Router::new(settings(), 4, Arc::clone(&metrics));
        let context = context(&handle, encoder, &metrics);
        let (session, body) = open(&mut router, &handle, &context);
        let mut world = Self {
            router,
            feed,
            session,
            over: None,
            body,
            client: Client::default(),
            now: 1,
        };
        for subscription in 0..3 {
            world.store(subscription, 0);
        }
        world.client.begun_at(&world.cursor());
        for subscription in [0, 2, 0] {
            world.apply(Step::Event(subscription));
        }
        world
    }

    fn cursor(&self) -> String {
        at(self.now).cursor(HERE)
    }

    pub(super) fn apply(&mut self, step: Step) {
        match step {
            Step::Session => self.poll_session(),
            Step::Router => {
                self.router.play();
            }
            Step::Read => {
                self.read();
            }
            Step::Event(of) => self.event(of),
            Step::Rename(of) if self.client.is_there(of) => self.store(of, self.now + 1),
            Step::Delete(of) if self.client.is_there(of) => {
                let id = SUBSCRIPTIONS[usize::from(of)].0;
                let key = RawDocumentBuf::try_from(&doc! {"_id": id}).unwrap();
                self.change(
                    FeedChangeKind::SubscriptionDeleted(key),
                    RawDocumentBuf::new(),
                );
                self.client.commits(self.now, Known::Deleted(of));
            }
            Step::Rename(_) | Step::Delete(_) => {}
            Step::Gap => {
                let missed = FeedChangeKind::Missed(crate::protocol::GapReason::OversizedChange);
                self.change(missed, RawDocumentBuf::new());
                self.client.commits(self.now, Known::Gap);
            }
            Step::Subscribe(handle, of, from_past) => {
                let after = from_past.then(|| self.client.beginning());
                self.ask(handle, of, after);
            }
            Step::Ahead => {
                let ahead = at(self.now + 3).cursor(HERE);
                self.ask(3, 0, Some(ahead));
            }
            Step::Unsubscribe(handle) => {
                if let Some(message) = self.client.unsubscribe(handle) {
                    self.say(&message);
                }
            }
        }
    }

    fn ask(&mut self, handle: u8, of: u8, after: Option<String>) {
        if let Some(message) = self.client.subscribe(handle, of, after) {
            self.say(&message);
        }
    }

    fn say(&mut self, message: &Value) {
        if self.over.is_none() {
            self.session.answer_many(&message.to_string()).unwrap();
        }
    }

    fn event(&mut self, of: u8) {
        let kind = SUBSCRIPTIONS[usize::from(of)].1;
        let n = i64::from(self.now + 1);
        let event = doc! {"_id": n, "type": kind, "data": {"n": n}};
        let reply = RawDocumentBuf::try_from(&event).unwrap();
        let span = Span::within(&reply, &reply).unwrap();
        self.change(FeedChangeKind::Operation(Operation::event(span)), reply);
        self.client.commits(self.now, Known::Event(kind));
    }

    fn store(&mut self, of: u8, name: u32) {
        let (id, kind) = SUBSCRIPTIONS[usize::from(of)];
        let document: Document =
            doc! {"_id": id, "filter": {"type": kind}, "name": name.to_string()};
        let document = RawDocumentBuf::try_from(&document).unwrap();
        let limits = Limits::from(&config::Limits::default());
        let compiled = CompiledSubscription::compile(document, &limits);
        self.change(
            FeedChangeKind::SubscriptionStored(Box::new(compiled)),
            RawDocumentBuf::new(),
        );
        self.client.commits(self.now, Known::Stored(of, name));
    }

    /// Commits a change, which the router applies behind everything that it was asked before.
    fn change(&mut self, kind: FeedChangeKind, reply: RawDocumentBuf) {
        self.now += 1;
        let change = FeedChange {
            position: at(self.now),
            wall_time: DateTime::now(),
            kind,
        };
        let batch = FeedBatch {
            reply,
            changes: vec![change],
            position: at(self.now),
            received_at: Instant::now(),
            unapplied: Lag::default().received(Instant::now(), Duration::ZERO, Instant::now()),
        };
        self.feed.try_send(FromFeed::Batch(batch)).unwrap();
        while self.router.play() {}
    }

    /// Polls the session until it has nothing to do. What is compiled on another thread is waited for.
    fn poll_session(&mut self) {
        if self.over.is_some() {
            return;
        }
        for _ in 0..20 {
            if let Poll::Ready(outcome) = self.session.poll(&mut noop()) {
                self.over = Some(outcome);
                return;
            }
            if !self.session.channels.any_catches_up() {
                return;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Reads what has arrived; returns whether that was something.
    fn read(&mut self) -> bool {
        let mut some = false;
        while let Poll::Ready(Some(chunk)) = self.body.as_mut().poll_next(&mut noop()) {
            self.client.read(&chunk.unwrap());
            some = true;
        }
        some
    }

    /// Lets everything that is under way come to its end, and stops.
    pub(super) fn settle(&mut self) {
        for _ in 0..200 {
            while self.router.play() {}
            self.poll_session();
            let catches_up = self.session.channels.any_catches_up();
            if !self.read() && self.client.is_at_rest() && !catches_up {
                break;
            }
        }
        assert!(
            self.client.is_at_rest(),
            "somebody waits: {:?}",
            self.client
        );
        self.client.check_all_came(self.now);
        self.stop();
    }

    fn stop(&mut self) {
        self.router.play_stop();
        self.poll_session();
        let outcome = self.over.take().expect("the router has ended it");
        let Self {
            session,
            body,
            client,
            ..
        } = self;
        let mut finishing = pin!(session.finish(Ok(outcome)));
        for _ in 0..1_000 {
            let is_over = finishing.as_mut().poll(&mut noop()).is_ready();
            while let Poll::Ready(Some(chunk)) = body.as_mut().poll_next(&mut noop()) {
                client.read(&chunk.unwrap());
            }
            // It waits for a client to close.
            if is_over || client.is_over() {
                return;
            }
        }
        panic!("it does not end: {client:?}");
    }

    pub(super) fn check(&self) {
        self.client.check_at_end();
    }
}

fn context(
    handle: &RouterHandle,
    encoder: crate::router::EventEncoder,
    metrics: &Arc<Metrics>,
) -> Arc<NodeContext> {
    let idle = idle();
    let feed = config::Feed::default();
    let health = || Health::new(&feed, Lag::default());
    let (history, _) = history(HistoryContext {
        store: idle.store.clone(),
        router: handle.clone(),
        settings: feed.clone(),
        metrics: Arc::clone(metrics),
        health: health(),
        guarded: false,
    });
    let observations = Router::observations_of_nobody();
    let (positions, _) = positions(
        idle.store.clone(),
        observations,
        &feed,
        Arc::clone(metrics),
        health(),
    );
    Arc::new(NodeContext {
        router: handle.clone(),
        limits: config::Limits::default(),
        socket: config::Socket::default(),
        feed,
        drain: Duration::ZERO,
        metrics: Arc::clone(metrics),
        history,
        positions,
        encoder,
    })
}

/// Opens a session, as [`serve`](super::super::serve) does.
fn open(router: &mut Router, handle: &RouterHandle, context: &Arc<NodeContext>) -> (Session, Body) {
    let (sender, outbox) = handle.outbox();
    let (_alive, closed) = AliveGuard::new();
    let caller = Arc::new(Caller::anybody());
    let opening = handle.open_session(OpenSession {
        caller: Arc::clone(&caller),
        outbox: sender,
        dialect: Dialect::Many,
        remote: String::new(),
        closed,
    });
    let mut opening = pin!(opening);
    assert!(opening.as_mut().poll(&mut noop()).is_pending());
    assert!(router.play());
    let opened = at_once(opening).unwrap();
    let (stream, body) = event_stream(Arc::new(TcpGauge::default()));
    let proof: (Arc<Caller>, Arc<dyn Refresher>) = (caller, Arc::new(NoRefresher));
    let carrier = Carrier::Stream(stream);
    let mut session = Session::new(
        Arc::clone(context),
        opened.key,
        proof,
        Dialect::Many,
        outbox,
        carrier,
    );
    let reader = Arc::new(Reader(handle.clone()));
    session.several = Some(Box::new(Several::new(context, reader, Dialect::Many)));
    session.transport.outbound().share(opened.position);
    session.welcome(&opened);
    (session, Box::pin(body))
}
