//! Replay from the database's history: a bounded number of change streams, shared.
//!
//! A client whose cursor is older than what the node remembers waits here for a reader. Clients that
//! wait for overlapping stretches share one. A reader ends when it has reached what the node remembers; from
//! there on each client is served from memory. What it read is remembered too, so that ten thousand cursors
//! after a restart cost a handful of streams. A client that takes too long is let go, and comes back from
//! where it is.

mod archive;
mod group;
mod read_batches;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

pub(crate) use self::archive::{Late, Remembered, Seam};
use self::{
    archive::Shelf,
    group::{begin, refuse, take_group},
    read_batches::Memory,
};
use crate::{
    config,
    feed::{PastError, PastReader},
    position::Position,
    protocol::Load,
    router::{Batch, RouterHandle},
    store::{Store, jittered},
    telemetry::{Health, Metrics, Part},
};

/// Wishes that may wait to be looked at.
const WISHES: usize = 1_024;
/// Wishes that may wait for a stream. More are refused as busy, and come back.
const WAITING: usize = 32_768;
/// Who has waited for this part of `replay_wait` no longer stands behind those with newer cursors.
const TURN_PART: u32 = 4;
/// Those who come within this time of the first are served together.
const GATHER: Duration = Duration::from_millis(50);
/// Batches read ahead of a client.
const BATCHES_AHEAD: usize = 4;
/// How long one client may hold up the others of its group.
const PATIENCE: Duration = Duration::from_secs(1);
/// Attempts to open or to go on with a stream.
const ATTEMPTS: u32 = 5;

/// Why there is no reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The database does not reach back so far.
    Lost,
    /// Not now: too many wait, or the database is away.
    Busy,
}

/// A client's share of a reader: batches in order, from its position on and perhaps a little before.
/// Closed at the end, or when the client was too slow: to go on, ask again.
#[derive(Debug)]
pub(crate) struct Reader(mpsc::Receiver<Arc<Batch>>);

impl Reader {
    /// The next batch; `None` when the reader has ended.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Batch>>> {
        self.0.poll_recv(cx)
    }
}

#[derive(Debug)]
struct Wish {
    from: Position,
    since: Instant,
    reply: oneshot::Sender<Result<Reader, Refusal>>,
}

/// The way to the replays of a node.
#[derive(Clone, Debug)]
pub(crate) struct Replays {
    wishes: mpsc::Sender<Wish>,
    wait: Duration,
    shelf: Shelf,
}

impl Replays {
    /// A reader that shows everything after `from`.
    pub(crate) async fn after(&self, from: Position) -> Result<Reader, Refusal> {
        let (reply, answer) = oneshot::channel();
        let wished = async {
            let since = Instant::now();
            let wish = Wish { from, since, reply };
            self.wishes.send(wish).await.ok()?;
            answer.await.ok()
        };
        timeout(self.wait, wished)
            .await
            .ok()
            .flatten()
            .unwrap_or(Err(Refusal::Busy))
    }

    /// A reading of the events after `from` that no change stream can show any more, `to` at most.
    pub(crate) async fn late(&self, from: Position, to: Position) -> Result<Late, Refusal> {
        self.shelf.clone().open(from, to).await
    }
}

/// What readers work with.
#[derive(Clone, Debug)]
pub(crate) struct Library {
    /// Where the history is.
    pub store: Store,
    /// Who knows what the node remembers.
    pub router: RouterHandle,
    /// How many streams, how long.
    pub settings: config::Feed,
    /// Where streams are counted.
    pub metrics: Arc<Metrics>,
    /// Where it is told that the past cannot be read.
    pub health: Health,
}

/// The task that owns the readers, and the handle to it.
pub(crate) fn replays(library: Library) -> (Replays, impl Future<Output = ()>) {
    let (sender, inbox) = mpsc::channel(WISHES);
    let replays = Replays {
        wishes: sender,
        wait: library.settings.replay_wait,
        shelf: Shelf {
            store: library.store.clone(),
            metrics: Arc::clone(&library.metrics),
            permits: Arc::new(Semaphore::new(library.settings.replay_streams.max(1))),
            wait: library.settings.replay_wait,
        },
    };
    (replays, run(library, inbox))
}

async fn run(library: Library, mut wished: mpsc::Receiver<Wish>) {
    let streams = library.settings.replay_streams.max(1);
    let turn = library.settings.replay_wait / TURN_PART;
    // Half of the streams at most are with those who have waited for long: theirs are the long stretches,
    // and the newest are not to wait behind them either.
    let for_the_longest = Arc::new(Semaphore::new((streams / 2).max(1)));
    let mut waiting: Vec<Wish> = Vec::new();
    let mut running = JoinSet::new();
    let mut start_at = Instant::now();
    loop {
        let free = running.len() < streams;
        tokio::select! {
            wish = wished.recv() => match wish {
                Some(wish) => {
                    if waiting.is_empty() {
                        start_at = Instant::now() + GATHER;
                    }
                    take_in(wish, &mut waiting);
                }
                None => return,
            },
            () = sleep_until(start_at), if free && !waiting.is_empty() => {
                waiting.retain(|wish| !wish.reply.is_closed());
                let permit = Arc::clone(&for_the_longest).try_acquire_owned().ok();
                let longest = permit.is_some().then(|| longest(&waiting, turn)).flatten();
                let permit = permit.filter(|_| longest.is_some());
                let group = take_group(&mut waiting, longest);
                if !group.is_empty() {
                    let library = library.clone();
                    running.spawn(async move {
                        let remembered = serve(library, group).await;
                        drop(permit);
                        remembered
                    });
                }
            }
            Some(ended) = running.join_next() => match ended {
                Ok(Some(remembered)) => send_to_memory(&mut waiting, remembered),
                Ok(None) => {}
                // Its clients find their readers closed, and ask again.
                Err(error) => {
                    tracing::error!(%error, "a reader of the past panicked");
                    library.metrics.client_task_panicked("reader");
                }
            },
        }
    }
}

/// Lets a wish wait, unless too many do who still want to.
fn take_in(wish: Wish, waiting: &mut Vec<Wish>) {
    if waiting.len() >= WAITING {
        waiting.retain(|wish| !wish.reply.is_closed());
    }
    if waiting.len() < WAITING {
        waiting.push(wish);
    } else {
        refuse(std::iter::once(wish), Refusal::Busy);
    }
}

/// Where the one goes on that has waited longest, if that is longer than a turn.
fn longest(waiting: &[Wish], turn: Duration) -> Option<Position> {
    let first = waiting.iter().min_by_key(|wish| wish.since)?;
    (first.since.elapsed() > turn).then_some(first.from)
}

/// Who waits for what is remembered since has a reader that has nothing to read.
fn send_to_memory(waiting: &mut Vec<Wish>, from: Position) {
    for wish in waiting.extract_if(.., |wish| wish.from >= from) {
        let (_, receiver) = mpsc::channel(1);
        if wish.reply.send(Ok(Reader(receiver))).is_err() {
            tracing::trace!("the client left before its replay began");
        }
    }
}

/// Reads one stretch of the past for a group. Returns from where on it is remembered now, if it is.
async fn serve(library: Library, mut group: Vec<Wish>) -> Option<Position> {
    group.sort_unstable_by_key(|wish| wish.from);
    let load = Load::on(Arc::clone(&library.metrics.waiting_bytes));
    let mut reading = match begin(&library, &group).await {
        Ok((reading, first)) => {
            refuse(group.drain(..first), Refusal::Lost);
            reading
        }
        Err(refusal) => {
            refuse(group.drain(..), refusal);
            return None;
        }
    };
    let mut memory = Memory::new(reading.from, library.settings.window_bytes);
    let mut members = Vec::new();
    for wish in group {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        if wish.reply.send(Ok(Reader(receiver))).is_ok() {
            members.push(sender);
        }
    }
    while !members.is_empty() {
        let Some(batch) = reading.next().await else {
            return memory.hand_over(&library.router).await;
        };
        batch.count(&load);
        memory.add(&batch);
        hand_out(&batch, &mut members).await;
    }
    None
}

/// Gives a batch to everyone; who does not take it in time is let go.
async fn hand_out(batch: &Arc<Batch>, members: &mut Vec<mpsc::Sender<Arc<Batch>>>) {
    let deadline = sleep(PATIENCE);
    tokio::pin!(deadline);
    let mut staying = Vec::with_capacity(members.len());
    for member in members.drain(..) {
        let taken = tokio::select! {
            biased;
            sent = member.send(Arc::clone(batch)) => sent.is_ok(),
            () = &mut deadline => false,
        };
        if taken {
            staying.push(member);
        }
    }
    *members = staying;
}

/// A stream over the past, opened again where it failed.
struct Reading {
    library: Library,
    reader: PastReader,
    first: Option<Arc<Batch>>,
    /// Where it began.
    from: Position,
    position: Position,
}

impl Reading {
    /// Opens the stream and reads its first reply, which is when the server tells lost history.
    async fn begin(library: Library, from: Position) -> Result<Self, Refusal> {
        let (reader, first) = open(&library, from).await?;
        let position = first.position;
        Ok(Self {
            library,
            reader,
            first: Some(Arc::new(first)),
            from,
            position,
        })
    }

    /// The next batch; `None` when the node remembers what comes next, or the stream failed for good.
    async fn next(&mut self) -> Option<Arc<Batch>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.position >= self.library.router.progress().position {
            return None;
        }
        let batch = if let Ok(batch) = self.reader.next().await {
            batch
        } else {
            let (reader, batch) = open(&self.library, self.position).await.ok()?;
            self.reader = reader;
            batch
        };
        self.position = self.position.max(batch.position);
        Some(Arc::new(batch))
    }
}

/// Waits for the database where it is lost, but not for ever.
async fn returned(store: &Store, wait: Duration) {
    if timeout(wait, store.availability().wait_primary())
        .await
        .is_err()
    {
        tracing::debug!("the past is still away");
    }
}

async fn open(library: &Library, from: Position) -> Result<(PastReader, Batch), Refusal> {
    let mut pause = library.settings.retry_min;
    for _ in 0..ATTEMPTS {
        library.metrics.replay_streams.inc();
        let opened = async {
            let mut reader = PastReader::open(&library.store, from, &library.settings).await?;
            let first = reader.next().await?;
            Ok((reader, first))
        };
        match opened.await {
            Ok(opened) => {
                library.health.report(Part::Replay, "up", None);
                return Ok(opened);
            }
            Err(PastError::Lost) => return Err(Refusal::Lost),
            Err(PastError::Failed) => {
                library.health.report(Part::Replay, "failing", None);
                let wait = library.settings.replay_wait;
                returned(&library.store, wait).await;
                sleep(jittered(pause)).await;
            }
        }
        pause = (pause * 2).min(library.settings.retry_max);
    }
    Err(Refusal::Busy)
}
