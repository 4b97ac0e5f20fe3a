//! The proxy itself does what it is told.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    rig::proxy::{Cut, Flow, Proxy, Weather},
    support::DEADLINE,
};

/// The two ends of a connection through a proxy.
struct Ends {
    proxy: Proxy,
    listener: TcpListener,
    caller: TcpStream,
    target: TcpStream,
}

impl Ends {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        let (caller, target) = connect(&proxy, &listener).await;
        Self {
            proxy,
            listener,
            caller,
            target,
        }
    }
}

async fn connect(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let (caller, target) = tokio::join!(TcpStream::connect(proxy.address()), listener.accept());
    let mut ends = (caller.unwrap(), target.unwrap().0);
    pass(&mut ends.0, &mut ends.1, "hello").await;
    ends
}

/// Sends a text from one end, and reads it at the other.
async fn pass(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(read(to, text.len()).await, text);
}

async fn read(from: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    timeout(DEADLINE, from.read_exact(&mut bytes))
        .await
        .expect("in time")
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn assert_reset(end: &mut TcpStream) {
    let read = timeout(DEADLINE, end.read_u8()).await.expect("in time");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn assert_silent(end: &TcpStream) {
    let read = end.try_read(&mut [0; 1]);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn held_bytes_come_when_they_are_let_go_and_the_other_direction_is_free() {
    let mut ends = Ends::start().await;
    ends.proxy.set(Weather {
        up: Flow::Free,
        down: Flow::Held,
    });
    ends.target.write_all(b"held").await.unwrap();
    pass(&mut ends.caller, &mut ends.target, "up").await;
    assert_silent(&ends.caller);
    ends.proxy.set(Weather::default());
    assert_eq!(read(&mut ends.caller, 4).await, "held");
}

#[tokio::test]
async fn slow_bytes_all_come() {
    let mut ends = Ends::start().await;
    for flow in [
        Flow::Delayed(Duration::from_millis(30)),
        Flow::Throttled(2_000),
    ] {
        ends.proxy.set(Weather::both(flow));
        pass(&mut ends.caller, &mut ends.target, &"x".repeat(300)).await;
        pass(&mut ends.target, &mut ends.caller, &"y".repeat(300)).await;
    }
}

#[tokio::test]
async fn a_cut_resets_both_ends_and_new_connections_pass() {
    let mut ends = Ends::start().await;
    ends.proxy.cut(Cut::Both);
    assert_reset(&mut ends.caller).await;
    assert_reset(&mut ends.target).await;
    connect(&ends.proxy, &ends.listener).await;
}

#[tokio::test]
async fn half_open_connections_are_silent_until_the_lost_end_is_back() {
    for cut in [Cut::TargetOnly, Cut::CallerOnly] {
        let ends = Ends::start().await;
        let (mut lost, mut left) = match cut {
            Cut::TargetOnly => (ends.target, ends.caller),
            _ => (ends.caller, ends.target),
        };
        ends.proxy.cut(cut);
        assert_reset(&mut lost).await;
        left.write_all(b"are you there").await.unwrap();
        assert_silent(&left);
        let whole = connect(&ends.proxy, &ends.listener).await;
        ends.proxy.cut(Cut::HalfOpen);
        assert_reset(&mut left).await;
        assert_silent(&whole.0);
    }
}
