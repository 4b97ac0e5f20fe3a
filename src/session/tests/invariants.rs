//! What must hold in every state, and at every end.

use super::world::{Client, State, World};
use crate::{protocol::Ending, router::outbox::End};

/// The counters add up, and who has ended is nowhere any more.
pub(super) fn check_now(world: &World) {
    check_positions(world);
    let (registry, counters) = (&world.registry, world.registry.counters());
    let ended = world
        .clients
        .iter()
        .filter(|client| client.decided.is_some());
    let ended: Vec<&Client> = ended.collect();
    assert_eq!(counters.opened, world.clients.len() as u64);
    assert_eq!(counters.opened, counters.open + counters.closed_in_all());
    assert_eq!(counters.open, registry.len() as u64);
    assert_eq!(registry.all().count(), registry.len());
    let mut decided = [0; Ending::ALL.len()];
    for ending in ended.iter().filter_map(|client| client.decided) {
        decided[ending as usize] += 1;
    }
    for ending in Ending::ALL {
        assert_eq!(
            counters.closed(ending),
            decided[ending as usize],
            "{ending:?}"
        );
    }
    for client in &world.clients {
        let of = registry.of(client.subscription);
        let found = of.iter().filter(|connection| connection.key == client.key);
        let expected = usize::from(client.decided.is_none());
        assert_eq!(found.count(), expected, "registered until it ends");
        check_client(client);
    }
}

/// Nobody moves the position of a subscription but its own connections.
fn check_positions(world: &World) {
    for subscription in 0..4 {
        let Some((known, made)) = world.position(subscription) else {
            continue;
        };
        let own = world.clients.iter();
        let own = own.filter(|client| client.is_of(subscription, made));
        let moved_to = own.map(|client| client.moved_to).max();
        assert_eq!(known, moved_to.unwrap_or(0).max(made), "{subscription}");
    }
}

/// What a client has read is whole frames in order, each once, and nothing behind the end.
fn check_client(client: &Client) {
    let (texts, _) = client.texts();
    if let Some(at) = texts.iter().position(|text| text.starts_with("ended")) {
        assert_eq!(at, texts.len() - 1, "something behind the end: {texts:?}");
    }
    let events: Vec<&String> = texts.iter().filter(|t| !t.starts_with("ended")).collect();
    let due: Vec<&String> = client.due.iter().map(|(_, text)| text).collect();
    assert!(due.starts_with(&events), "{events:?} of {due:?}");
}

/// To be asked when all has come to its end.
pub(super) fn check_end(world: &World) {
    check_now(world);
    assert_eq!(world.registry.len(), 0);
    for client in &world.clients {
        let State::Ended(end) = client.state else {
            panic!("it is {:?}", client.state);
        };
        assert_eq!(client.decided, Some(end.ending));
        check_last_words(client, end);
    }
}

/// Everything up to the cursor of `ended` was delivered, in order and once; and all of it, where the
/// ending lets the client have what waits.
fn check_last_words(client: &Client, end: End) {
    let (mut texts, half) = client.texts();
    assert!(!half, "half a frame: {texts:?}");
    let ended = texts.pop().expect("last words");
    let cursor = ended.strip_prefix("ended ").expect("the end comes last");
    let cursor: u32 = cursor.parse().unwrap();
    let up_to_it = client.due.iter().filter(|(number, _)| *number <= cursor);
    let up_to_it: Vec<&String> = up_to_it.map(|(_, text)| text).collect();
    assert_eq!(texts.iter().collect::<Vec<_>>(), up_to_it, "up to {cursor}");
    let hears = [
        Ending::Deleted,
        Ending::Expired,
        Ending::Shutdown,
        Ending::Resync,
    ];
    // Who had found a reason of its own while the past was still coming takes nothing more.
    let hears = hears.contains(&end.ending) && !client.cut_short;
    assert!(end.drain || !hears, "{end:?}");
    if end.drain && !client.missed && !client.replaying {
        assert_eq!(texts.len(), client.due.len(), "last words are heard");
    }
}
