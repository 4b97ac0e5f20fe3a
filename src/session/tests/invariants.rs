//! The invariants of every state, and of every end.

use super::world::{Channel, Client, State, World};
use crate::{
    protocol::Ending,
    router::{counters::ConnectionCounters, outbox::End, registry::Closes},
};

/// Checks that the counters balance, that whoever has ended is nowhere any more, and what each client has read.
pub(super) fn check_now(world: &World) {
    check_positions(world);
    let registry = &world.registry;
    let sessions = world.clients.iter().map(|client| client.decided);
    check_counters(registry.counters(), sessions.collect());
    let channels = world.clients.iter().flat_map(|client| &client.channels);
    check_counters(
        registry.channel_counters(),
        channels.map(|channel| channel.decided).collect(),
    );
    assert_eq!(registry.counters().open, registry.len() as u64);
    assert_eq!(
        registry.channel_counters().open,
        registry.channels().count() as u64
    );
    for client in &world.clients {
        let open = registry.session(client.key).is_some();
        assert_eq!(open, client.decided.is_none(), "registered until it ends");
        for channel in &client.channels {
            let of = registry.of(channel.subscription).iter();
            let found = of.filter(|registered| registered.key == channel.key);
            let expected = usize::from(channel.decided.is_none());
            assert_eq!(found.count(), expected, "registered until it ends");
        }
        check_client(client);
    }
}

fn check_counters(counters: ConnectionCounters, decided: Vec<Option<Ending>>) {
    assert_eq!(counters.opened, decided.len() as u64);
    assert_eq!(counters.opened, counters.open + counters.closed_in_all());
    let mut closed = [0; Ending::ALL.len()];
    for ending in decided.into_iter().flatten() {
        closed[ending as usize] += 1;
    }
    for ending in Ending::ALL {
        assert_eq!(
            counters.closed(ending),
            closed[ending as usize],
            "{ending:?}"
        );
    }
}

/// Checks that nobody moves the position of a subscription but its own channels, and none beyond an event that its client
/// has not acknowledged.
fn check_positions(world: &World) {
    let channels = || world.clients.iter().flat_map(|client| &client.channels);
    for subscription in 0..4 {
        let Some((known, made)) = world.position(subscription) else {
            continue;
        };
        let own = channels().filter(|channel| channel.is_of(subscription, made));
        let moved_to = own.map(|channel| channel.moved_to).max();
        assert_eq!(known, moved_to.unwrap_or(0).max(made), "{subscription}");
    }
    for channel in channels() {
        let events = channel.due.iter();
        let events = events.filter(|(_, text)| !text.starts_with("gap"));
        let passed = events
            .map(|(number, _)| *number)
            .filter(|number| *number <= channel.moved_to);
        let passed = passed.max().unwrap_or(0);
        assert!(passed <= channel.acked, "{passed} is not acknowledged");
    }
}

/// Checks that a client has read whole frames in order, each once, and nothing behind an end; and that a channel is closed
/// when its last words are taken.
fn check_client(client: &Client) {
    check_nothing_behind_the_end(&client.texts);
    for (number, channel) in client.channels.iter().enumerate() {
        let texts = client.texts_of(number);
        check_nothing_behind_the_end(texts);
        let read = texts.iter().filter(|text| !text.starts_with("ended"));
        let due = channel.due.iter().map(|(_, text)| text);
        assert!(due.zip(read.clone()).all(|(due, read)| due == read));
        assert!(read.count() <= channel.due.len());
        assert_eq!(channel.closed.is_closed(), client.said_to_end(number));
        for text in texts {
            let number = text.rsplit(' ').next().and_then(|last| last.parse().ok());
            let may = text.starts_with("ended") || number.is_none_or(|n| client.may_get(n));
            assert!(
                may,
                "{text} was committed when the credential did not stand"
            );
        }
    }
}

fn check_nothing_behind_the_end(texts: &[String]) {
    if let Some(at) = texts.iter().position(|text| text.starts_with("ended")) {
        assert_eq!(at, texts.len() - 1, "something behind the end: {texts:?}");
    }
}

/// Checks what must hold when all has come to its end.
pub(super) fn check_end(world: &World) {
    check_now(world);
    assert_eq!(world.registry.len(), 0);
    assert_eq!(world.registry.next_credential_end(), None);
    for client in &world.clients {
        let State::Ended(end) = client.state else {
            panic!("it is {:?}", client.state);
        };
        assert_eq!(client.decided, Some(end.ending));
        check_last_words(client, end);
    }
}

/// Checks that everything up to the cursor of `ended` was delivered, in order and once; and all of it, where the ending
/// lets the client have what waits.
fn check_last_words(client: &Client, end: End) {
    assert!(client.half.is_empty(), "half a frame");
    let ended = client.texts.last().expect("last words");
    let cursor = ended.strip_prefix("ended ").expect("the end comes last");
    let hears = [
        Ending::Deleted,
        Ending::Expired,
        Ending::Shutdown,
        Ending::Resync,
        Ending::CredentialExpired,
    ];
    // Who had found a reason of its own while the past was still coming takes nothing more.
    let hears = hears.contains(&end.ending) && !client.cut_short;
    assert!(end.drain || !hears, "{end:?}");
    for (number, channel) in client.channels.iter().enumerate() {
        let mut read = client.texts_of(number).to_vec();
        let own = read.pop_if(|text| text.starts_with("ended"));
        let own = own.as_deref().and_then(|text| text.strip_prefix("ended "));
        let up_to = own.unwrap_or(cursor).parse().unwrap();
        let due = due_up_to(channel, up_to);
        if own.is_some() || client.closes == Closes::WithItsChannel {
            assert_eq!(read.iter().collect::<Vec<_>>(), due, "up to {up_to}");
        } else {
            // The session stands where the last of its channels does.
            assert!(read.len() >= due.len(), "{read:?} up to {up_to}");
        }
        let in_the_past = channel.replaying || channel.ended_in_the_past;
        let has_own = channel.decided != client.decided || own.is_some();
        let gets_all = if has_own {
            own.is_some() && channel.decided.is_some_and(Ending::drains)
        } else {
            end.drain && !client.missed
        };
        if gets_all && !in_the_past {
            assert_eq!(read.len(), channel.due.len(), "last words are heard");
        }
    }
}

fn due_up_to(channel: &Channel, number: u32) -> Vec<&String> {
    let due = channel.due.iter().filter(|(due, _)| *due <= number);
    due.map(|(_, text)| text).collect()
}
