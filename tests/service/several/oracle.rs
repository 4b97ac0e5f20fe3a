//! The oracle: whatever a client does with its handles, and whatever becomes of it, each gets what a socket of its own
//! gets.

mod pairs;
mod world;

use bson::doc;
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

use self::{
    pairs::{Pair, Side},
    world::World,
};
use crate::kit::random;

const STEPS: usize = 150;
/// The most handles that are asked for.
const ASKED: usize = 40;
const KINDS: [&str; 4] = ["a", "b", "c", "d"];
/// A type that everything matches.
const LAST: &str = "last";

fn filter(kinds: &[&str]) -> Value {
    let mut kinds = kinds.to_vec();
    kinds.push(LAST);
    json!({"type": {"$in": kinds}})
}

fn some_kinds(random: &mut StdRng) -> Vec<&'static str> {
    let chosen = KINDS.into_iter().filter(|_| random.random_bool(0.5));
    chosen.collect()
}

/// A subscription that can be had.
struct Offer {
    id: String,
    /// The filter that stands for it where it is brought by the client; such a subscription never changes.
    own: Option<Value>,
}

/// Everything that happens.
struct Course {
    world: World,
    random: StdRng,
    side: Side,
    pairs: Vec<Pair>,
    offers: Vec<Offer>,
    cursors: Vec<String>,
    next: i32,
    /// True if a subscription has changed since every handle and every socket had everything. Where they resume from
    /// different points then, they may rightly be told different things: a replay goes by the subscription that it meets.
    changed: bool,
}

impl Course {
    async fn begin() -> Self {
        let mut random = random();
        let mut world = World::start().await;
        let mut offers = Vec::new();
        for number in 0..8 {
            offers.push(offer(&world, &mut random, number % 2 == 0).await);
        }
        let many = world.open_many().await;
        Self {
            world,
            random,
            side: Side::new(many),
            pairs: Vec::new(),
            offers,
            cursors: Vec::new(),
            next: 0,
            changed: false,
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..40) {
            0..16 => self.publish().await,
            16..28 if !self.cursors.is_empty() && self.pairs.len() < ASKED => {
                self.subscribe().await;
            }
            28..31 => self.change().await,
            31..34 => self.unsubscribe().await,
            34 => self.delete().await,
            35 => self.come_back(true).await,
            36..38 => self.come_back(false).await,
            _ => {}
        }
    }

    async fn publish(&mut self) {
        let count = self.random.random_range(1..6);
        let events = (self.next..self.next + count).map(|n| {
            let kind = KINDS[self.random.random_range(0..KINDS.len())];
            doc! {"type": kind, "data": {"n": n}}
        });
        let events: Vec<_> = events.collect();
        self.world.insert(events).await;
        self.next += count;
        // A point that both of a pair can name.
        self.cursors.extend(self.world.cursor().await);
    }

    async fn subscribe(&mut self) {
        let handle = format!("h{}", self.random.random_range(0..8));
        if self
            .pairs
            .iter()
            .any(|pair| pair.handle == handle && pair.is_wanted())
        {
            return;
        }
        let offer = &self.offers[self.random.random_range(0..self.offers.len())];
        let after = &self.cursors[self.random.random_range(0..self.cursors.len())];
        let pair = Pair::open(&self.world, handle, &offer.id, offer.own.clone(), after).await;
        self.side.ask(vec![self.pairs.len()], &[&pair], after).await;
        self.pairs.push(pair);
        // It is asked for before anything else happens, as its other half is.
        self.side.until_connected(&mut self.pairs).await;
    }

    /// Changes a subscription, perhaps only its name.
    async fn change(&mut self) {
        let stored: Vec<&Offer> = self
            .offers
            .iter()
            .filter(|offer| offer.own.is_none())
            .collect();
        let id = &stored[self.random.random_range(0..stored.len())].id;
        self.changed = true;
        let change = if self.random.random_bool(0.5) {
            json!({"filter": filter(&some_kinds(&mut self.random))})
        } else {
            json!({"name": self.next.to_string()})
        };
        self.world
            .send("PATCH", &format!("/subscriptions/{id}"), Some(change))
            .await;
    }

    async fn unsubscribe(&mut self) {
        let wanted = self.pairs.iter_mut().filter(|pair| pair.is_wanted());
        let mut wanted: Vec<&mut Pair> = wanted.collect();
        if wanted.is_empty() {
            return;
        }
        let at = self.random.random_range(0..wanted.len());
        wanted[at].unsubscribed = true;
        let message = json!({"type": "unsubscribe", "handle": wanted[at].handle});
        self.side.tell(message).await;
    }

    /// Deletes a subscription, and makes another one in its place.
    async fn delete(&mut self) {
        let at = self.random.random_range(0..self.offers.len());
        if self.offers[at].own.is_some() {
            return;
        }
        let new = offer(&self.world, &mut self.random, false).await;
        let gone = std::mem::replace(&mut self.offers[at], new).id;
        self.world
            .send("DELETE", &format!("/subscriptions/{gone}"), None)
            .await;
        // Who is away meanwhile hears of no end: the subscription is just not there.
        self.side.until_ended(&mut self.pairs, &gone).await;
        for pair in self.pairs.iter_mut().filter(|pair| pair.id == gone) {
            pair.read_to_the_end(4500, "deleted").await;
        }
    }

    /// Cuts everything off, or takes the credential away, and comes back on the other node.
    async fn come_back(&mut self, revoked: bool) {
        if self.changed {
            self.read_all().await;
        }
        for _ in 0..self.random.random_range(0..40) {
            if !self.side.read_some(&mut self.pairs).await {
                break;
            }
        }
        for pair in &mut self.pairs {
            for _ in 0..self.random.random_range(0..10) {
                if !pair.read_some().await {
                    break;
                }
            }
        }
        if revoked {
            self.world.revoke().await;
            self.side.until_revoked(&mut self.pairs).await;
            for pair in &mut self.pairs {
                pair.read_to_the_end(4511, "forbidden").await;
            }
        }
        self.world.go_elsewhere().await;
        let socket = self.world.open_many().await;
        self.side.come_back(socket, &mut self.pairs).await;
        for pair in &mut self.pairs {
            pair.come_back(&self.world).await;
        }
        self.side.until_connected(&mut self.pairs).await;
    }

    /// Publishes an event that everything matches, and reads everything up to it.
    async fn read_all(&mut self) {
        let n = -1 - self.next;
        self.next += 1;
        self.world
            .insert(vec![doc! {"type": LAST, "data": {"n": n}}])
            .await;
        self.side.until_event(&mut self.pairs, n).await;
        for pair in &mut self.pairs {
            pair.read_to_event(n).await;
        }
        self.changed = false;
    }
}

async fn offer(world: &World, random: &mut StdRng, is_own: bool) -> Offer {
    let filter = filter(&some_kinds(random));
    Offer {
        id: world.subscribe(&filter).await,
        own: is_own.then_some(filter),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handle_gets_what_a_socket_of_its_own_gets() {
    let mut course = Course::begin().await;
    for _ in 0..STEPS {
        course.step().await;
    }
    // Whatever the choices were, each of these has happened.
    course.come_back(true).await;
    course.come_back(false).await;
    course.delete().await;
    course.read_all().await;
    for pair in &course.pairs {
        pair.check();
    }
    course.world.stop().await;
}
