//! The socket breaks behind every single message in turn, and the client comes back to another node.

use serde_json::{Value, json};

use super::{
    kit::{open, subscribe, tell},
    model::Model,
};
use crate::{
    kit::insert_events,
    lag::lagging,
    support::{Service, Socket},
};

/// The subscriptions: what each matches. The second is changed all the time.
const SUBSCRIPTIONS: [&[&str]; 3] = [&["a", "b"], &["a"], &["b"]];
const CHANGED: usize = 1;
/// Handles, their subscriptions, and whether they begin in the past.
const HANDLES: [(&str, usize, bool); 6] = [
    ("both", 0, false),
    ("a", CHANGED, false),
    ("a too", CHANGED, false),
    ("past", 0, true),
    ("again", 2, true),
    ("changed past", CHANGED, true),
];
/// Handles of a subscription that is deleted each time, and whether they begin in the past.
const GONE: [(&str, bool); 3] = [("gone", false), ("gone too", false), ("gone past", true)];

/// Events, in the order of their commits.
type Published = Vec<(&'static str, i64)>;

/// Everything that is cut off again and again.
struct Cuts {
    first: Service,
    second: Service,
    ids: Vec<String>,
    next: i32,
    /// A socket that is never cut off, and stays on the first subscription.
    probe: Socket,
    /// The events that it has not read yet, and the cursor of the last that it has.
    owed: usize,
    standing: String,
    /// The cuts between two messages of one change.
    between: usize,
    /// The cuts of a client that had handles that caught up.
    in_replays: usize,
}

impl Cuts {
    async fn start(second: impl AsyncFnOnce(&Service) -> Service) -> Self {
        let first = Service::start().await;
        let second = second(&first).await;
        let mut ids = Vec::new();
        for kinds in SUBSCRIPTIONS {
            ids.push(first.subscribe(json!({"type": {"$in": kinds}})).await);
        }
        let mut probe = open(&first).await;
        let connected = subscribe(&mut probe, "probe", &ids[0]).await;
        Self {
            first,
            second,
            ids,
            next: 0,
            probe,
            owed: 0,
            standing: connected["cursor"].as_str().unwrap().to_owned(),
            between: 0,
            in_replays: 0,
        }
    }

    /// Publishes two events of each kind with the next numbers.
    async fn publish(&mut self, published: &mut Published) {
        for kind in ["a", "b"] {
            insert_events(&self.first, kind, self.next..self.next + 2).await;
            published.extend((self.next..self.next + 2).map(|n| (kind, i64::from(n))));
            self.next += 2;
            self.owed += 2;
        }
    }

    /// Renames the subscription that is changed all the time. Each of its handles is told.
    async fn rename(&mut self) -> Value {
        let name = self.next.to_string();
        let path = format!("/subscriptions/{}", self.ids[CHANGED]);
        let change = json!({"name": name});
        assert_eq!(self.first.send("PATCH", &path, Some(change)).await.0, 200);
        json!(name)
    }

    /// Returns the cursor behind everything that was published.
    async fn here(&mut self) -> String {
        for _ in 0..std::mem::take(&mut self.owed) {
            let event = self.probe.message().await;
            assert_eq!(event["type"], "event", "{event}");
            event["cursor"]
                .as_str()
                .unwrap()
                .clone_into(&mut self.standing);
        }
        self.standing.clone()
    }

    /// Breaks a socket behind so many messages, and once more when its client has come back. Returns false if there were
    /// not so many.
    async fn cut_behind(&mut self, cut: usize) -> bool {
        let gone = self.first.subscribe(json!({"type": "a"})).await;
        // They begin behind its making.
        self.publish(&mut Vec::new()).await;
        let begun = self.here().await;
        let mut published = Vec::new();
        self.publish(&mut published).await;
        let here = self.here().await;
        let before = published.len();
        let mut model = Model::default();
        let mut socket = open(&self.first).await;
        for (from_past, after) in [(false, &here), (true, &begun)] {
            let stored = HANDLES
                .iter()
                .map(|(name, of, past)| (*name, &self.ids[*of], *past));
            let all = stored.chain(GONE.iter().map(|(name, past)| (*name, &gone, *past)));
            let items = all
                .filter(|(.., past)| *past == from_past)
                .map(|(name, id, _)| {
                    let name = name.replace(' ', "-");
                    model.asks(&name, id, after);
                    json!({"handle": name, "subscription": id})
                });
            let items: Vec<Value> = items.collect();
            tell(
                &mut socket,
                json!({"type": "subscribe", "after": after, "items": items}),
            )
            .await;
        }
        self.publish(&mut published).await;
        let mut name = self.rename().await;
        let path = format!("/subscriptions/{gone}");
        assert_eq!(self.first.send("DELETE", &path, None).await.0, 204);
        self.publish(&mut published).await;
        let mut read = 0;
        while read < cut && !has_all(&model, &published, before, &name) {
            model.take(&socket.message().await);
            read += 1;
        }
        let was_there = read == cut;
        self.between += usize::from(model.more);
        self.in_replays += usize::from(model.catches_up());
        drop(socket);
        self.publish(&mut published).await;
        let mut socket = open(&self.second).await;
        model.come_back(&mut socket).await;
        self.publish(&mut published).await;
        for _ in 0..cut % 13 {
            if has_all(&model, &published, before, &name) {
                break;
            }
            model.take(&socket.message().await);
        }
        self.in_replays += usize::from(model.catches_up());
        drop(socket);
        name = self.rename().await;
        let mut socket = open(&self.second).await;
        model.come_back(&mut socket).await;
        self.publish(&mut published).await;
        while !has_all(&model, &published, before, &name) {
            model.take(&socket.message().await);
        }
        for (name, of, past) in HANDLES {
            let numbers = &model.handles[&name.replace(' ', "-")].numbers;
            assert_eq!(
                *numbers,
                expected(of, past, &published, before),
                "{name}, cut behind {cut}"
            );
        }
        was_there
    }

    /// Cuts behind every message, until a cut lies behind everything that comes.
    async fn everywhere(mut self) {
        let mut cut = 0;
        while self.cut_behind(cut).await {
            cut += 1;
        }
        assert!(cut > 25, "{cut}");
        // A renaming tells two live handles, and a delete ends two.
        assert!(self.between >= 1, "{}", self.between);
        assert!(self.in_replays > 10, "{}", self.in_replays);
        self.first.stop().await;
        self.second.stop().await;
    }
}

fn expected(of: usize, past: bool, published: &Published, before: usize) -> Vec<i64> {
    let from = if past { 0 } else { before };
    let matching = published[from..].iter();
    let matching = matching.filter(|(kind, _)| SUBSCRIPTIONS[of].contains(kind));
    matching.map(|(_, n)| *n).collect()
}

/// Whether every handle has its last event, knows its subscription's name, and has ended if that is gone.
fn has_all(model: &Model, published: &Published, before: usize, name: &Value) -> bool {
    let of = |name: &str| &model.handles[&name.replace(' ', "-")];
    let mut gone = GONE.iter().map(|(name, _)| of(name));
    let mut stored = HANDLES.iter();
    gone.all(|handle| handle.over)
        && stored.all(|(handle, subscription, past)| {
            let handle = of(handle);
            let numbers = expected(*subscription, *past, published, before).len();
            let is_told = *subscription != CHANGED || handle.name == *name;
            handle.numbers.len() >= numbers && is_told
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_anywhere_comes_back_to_all_of_it_once() {
    let cuts = Cuts::start(async |first| {
        let mut config = first.config.clone();
        // Its replays come from the oplog.
        config.feed.window_bytes = 4_000;
        Service::on(config).await
    });
    cuts.await.everywhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_anywhere_may_come_back_to_a_node_that_lags() {
    Cuts::start(async |first| lagging(first).await)
        .await
        .everywhere()
        .await;
}
