//! A client with one socket for many subscriptions. It subscribes and unsubscribes at random, to what is stored and to
//! filters of its own, and comes back with one `subscribe` and one cursor. What it is told on a handle is recorded like
//! a connection of its own, and judged like one.

mod handles;

use std::{net::SocketAddr, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Value, json};
use tidegate::client::{Client, ClientError, NO_STATUS, Received, Socket};
use tokio::time::{sleep, timeout};

use self::handles::{Handles, Wish};
use super::{
    clients::{Setting, TICKS},
    keyring::Key,
    node::install_tls,
    record::{Kinds, LAST, Over, TICK, own_filter},
};
use crate::support::described::{self, From, Talk};

/// The pause between two attempts to connect, and before what was refused for a while is asked for again.
const PAUSE: Duration = Duration::from_millis(200);
/// The most handles besides that of the ticks.
const MOST: usize = 6;
/// The handle of the ticks, which is always there.
const OF_TICKS: &str = "ticks";

/// The client.
pub(crate) struct ManyClient {
    setting: Setting,
    name: String,
    random: StdRng,
    handles: Handles,
    /// The number of the last handle, so that each has a name of its own.
    last_handle: usize,
    /// Its key, if it needs one. Nobody revokes it alone: its pauses are measured.
    key: Option<Key>,
}

impl ManyClient {
    pub(crate) fn new(setting: Setting, number: usize, seed: u64) -> Self {
        let name = format!("client {number}, many");
        Self {
            handles: Handles::new(name.clone(), setting.notebook.clone()),
            setting,
            name,
            random: StdRng::seed_from_u64(seed),
            last_handle: 0,
            key: None,
        }
    }

    /// Returns the name under which it records.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Listens until the very last event has come on every handle, or it is stopped.
    pub(crate) async fn run(mut self) {
        while !self.setting.stop.is_cancelled() {
            let node = self.random.random_range(0..self.setting.fronts.len());
            if !self.has_key().await {
                sleep(PAUSE).await;
                continue;
            }
            let key = self.key.as_ref();
            let opening = open(self.setting.fronts[node], key.map(|key| key.text.as_str()));
            let mut socket = match timeout(self.setting.silence, opening).await {
                Ok(Ok(socket)) => socket,
                Ok(Err(ClientError::Refused(problem))) if problem.status == 401 => {
                    self.lose_key();
                    continue;
                }
                _ => {
                    sleep(PAUSE).await;
                    continue;
                }
            };
            self.handles
                .begin(node, self.key.as_ref().map(|key| key.id.clone()));
            let over = self.attend(&mut socket).await;
            let is_left = matches!(over, Over::Open | Over::Left);
            let is_done = over == Over::Open;
            self.handles.finish(&over);
            if over == Over::Closed(Some(4511)) {
                self.key = None;
            }
            if is_left {
                // Without an answer in time it leaves all the same.
                let _answered = socket.close(None).await;
            }
            if is_done {
                return;
            }
        }
    }

    /// Whether it has a key, if it needs one.
    async fn has_key(&mut self) -> bool {
        if self.key.is_none() {
            self.key = self.setting.keyring.issue(&self.name, false).await;
        }
        self.key.is_some() || !self.setting.keyring.is_needed()
    }

    /// Notes that its key does not stand. Another one is asked for.
    fn lose_key(&mut self) {
        let id = self.key.take().map_or_else(String::new, |key| key.id);
        self.setting.notebook.note_invalid_key(id);
    }

    /// Reads to the end of the socket, whoever ends it.
    async fn attend(&mut self, socket: &mut Socket) -> Over {
        let setting = self.setting.clone();
        let mut last = setting.last.clone();
        for message in self.handles.come_back() {
            if let Err(reason) = self.tell(socket, &message).await {
                return Over::Lost(reason);
            }
        }
        loop {
            let ends = *last.borrow_and_update();
            if let Some(last) = ends
                && self.handles.have(last)
            {
                return Over::Open;
            }
            let pause = Duration::from_millis(self.random.random_range(100..1_000));
            let received = tokio::select! {
                received = timeout(setting.silence, socket.next()) => received,
                () = sleep(pause), if !self.handles.are_over() => {
                    // From the last event on nothing is begun, and nobody leaves.
                    match self.act(socket, ends.is_some()).await {
                        Ok(true) => continue,
                        Ok(false) => return Over::Left,
                        Err(reason) => return Over::Lost(reason),
                    }
                }
                () = setting.stop.cancelled() => return Over::Open,
                Ok(()) = last.changed() => continue,
            };
            match received {
                Ok(Received::Text(text)) => self.hear(&text),
                Ok(Received::Alive) => {}
                Ok(Received::Closed(code, _)) => {
                    return Over::Closed((code != NO_STATUS).then_some(code));
                }
                Ok(Received::Lost(reason)) => return Over::Lost(reason),
                Err(_) => return Over::Silence,
            }
        }
    }

    fn hear(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        if let Some(fault) = described::fault(Talk::Many, From::Service, &message) {
            self.handles.odd(fault);
        }
        if let Some(gone) = self.handles.hear(&message) {
            self.setting.pool.withdraw(&gone);
        }
        let tick = &message["event"]["data"]["n"];
        let to = message["to"].as_array().into_iter().flatten();
        if let Some(tick) = tick.as_u64()
            && to.into_iter().any(|handle| handle == OF_TICKS)
        {
            self.setting.notebook.note(|notes| {
                if let Some(last) = notes.ticks.get_mut(&self.name) {
                    *last = tick;
                }
            });
        }
    }

    /// Does something. Returns false if it leaves.
    async fn act(&mut self, socket: &mut Socket, is_ending: bool) -> Result<bool, String> {
        for message in self.handles.refused_for_a_while() {
            self.tell(socket, &message).await?;
        }
        if is_ending {
            return Ok(true);
        }
        if !self.handles.has(OF_TICKS) {
            if let Some(id) = self.setting.pool.standing(TICKS) {
                let wishes = [(OF_TICKS.to_owned(), Wish::Stored(id))];
                self.subscribe(socket, wishes.into(), None).await?;
            }
            return Ok(true);
        }
        let (choice, used) = (
            self.random.random_range(0..20),
            self.handles.open_names(OF_TICKS),
        );
        match choice {
            0 => return Ok(false),
            1..5 if !used.is_empty() => {
                let handle = &used[self.random.random_range(0..used.len())];
                self.unsubscribe(socket, handle).await?;
                // It may be used again right behind it.
                if self.random.random_bool(0.5) {
                    let wishes = self.wish().map(|wish| (handle.clone(), wish));
                    self.subscribe(socket, wishes.into_iter().collect(), None)
                        .await?;
                }
            }
            5..15 if self.handles.count() < MOST => {
                let count = self.random.random_range(1..=3);
                let mut wishes = Vec::new();
                for _ in 0..count {
                    let handle = format!("h{}", self.last_handle);
                    self.last_handle += 1;
                    wishes.extend(self.wish().map(|wish| (handle, wish)));
                }
                // A filter of its own may begin where the socket was before; what is stored, at its own insert at most.
                let all_own = wishes.iter().all(|(_, wish)| matches!(wish, Wish::Own(_)));
                let past = self
                    .handles
                    .past()
                    .filter(|_| all_own && self.random.random_bool(0.7));
                self.subscribe(socket, wishes, past).await?;
            }
            15 => self.tell(socket, &json!({"type": "ping"})).await?,
            _ => {}
        }
        Ok(true)
    }

    fn wish(&mut self) -> Option<Wish> {
        if self.random.random_bool(0.5) {
            let kinds = self.random.random_range(0u8..1 << LAST) & !(1 << TICK) | 1 << LAST;
            return Some(Wish::Own(Kinds(kinds)));
        }
        let chosen = self.setting.pool.choose(&mut self.random, false);
        chosen.map(Wish::Stored)
    }

    async fn subscribe(
        &mut self,
        socket: &mut Socket,
        wishes: Vec<(String, Wish)>,
        after: Option<String>,
    ) -> Result<(), String> {
        if wishes.is_empty() {
            return Ok(());
        }
        let message = self.handles.ask(wishes, after.as_deref());
        self.tell(socket, &message).await
    }

    async fn unsubscribe(&mut self, socket: &mut Socket, handle: &str) -> Result<(), String> {
        self.handles.leave(handle);
        let message = json!({"type": "unsubscribe", "handle": handle});
        self.tell(socket, &message).await
    }

    /// Sends a message. The error says why the connection is lost.
    async fn tell(&mut self, socket: &mut Socket, message: &Value) -> Result<(), String> {
        if let Some(fault) = described::fault(Talk::Many, From::Client, message) {
            self.handles.odd(fault);
        }
        socket.send(message.to_string()).await
    }
}

async fn open(front: SocketAddr, key: Option<&str>) -> Result<Socket, ClientError> {
    install_tls();
    let address = Url::parse(&format!("http://{front}")).expect("an address");
    let client = Client::new(address)?.with_token(key.map(SecretString::from));
    Socket::open_for_many(&client).await
}

impl Wish {
    /// Returns the name under which the checker knows it.
    fn subscription(&self) -> String {
        match self {
            Self::Stored(id) => id.clone(),
            Self::Own(kinds) => own_filter(*kinds),
        }
    }

    /// Returns the item of a `subscribe`.
    fn item(&self, handle: &str) -> Value {
        match self {
            Self::Stored(id) => json!({"handle": handle, "subscription": id}),
            Self::Own(kinds) => {
                json!({"handle": handle, "filter": {"type": {"$in": kinds.names()}}})
            }
        }
    }
}
