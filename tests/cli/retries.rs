//! `publish` against a service in trouble. The service is a script, because a real one cannot be told which answer to
//! give when.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::JoinHandle,
};

use super::process::{finish, tidegate};

/// A request as it arrived.
struct Request {
    idempotency_key: String,
    body: String,
}

/// A scripted answer: a whole response, or only a closed connection.
type Answer = Option<&'static str>;

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";
const STILL_RUNNING: &str =
    "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n\
    Content-Length: 41\r\nConnection: close\r\n\r\n{\"accepted\":2,\"duplicates\":0,\"errors\":[]}";

/// Serves the answers one after the other. Returns the requests.
fn serve(answers: Vec<Answer>) -> (String, JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let answered = |answer: Answer| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read(&stream);
            stream
                .write_all(answer.unwrap_or_default().as_bytes())
                .unwrap();
            request
        };
        answers.into_iter().map(answered).collect()
    });
    (url, served)
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let (mut length, mut idempotency_key) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim().split_once(": ") {
            None if line.trim().is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some((name, value)) if name.eq_ignore_ascii_case("idempotency-key") => {
                value.clone_into(&mut idempotency_key);
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Request {
        idempotency_key,
        body: String::from_utf8(body).unwrap(),
    }
}

#[test]
fn tries_of_one_batch_carry_one_key_and_one_body() {
    let (url, served) = serve(vec![
        Some(UNAVAILABLE),
        None,
        Some(STILL_RUNNING),
        Some(ACCEPTED),
    ]);
    let input = "{\"type\":\"t\",\"data\":1.50}\n\n{\"type\":\"t\"}\n";
    let outcome = finish(&mut tidegate(&["publish", "-", "--server", &url]), input);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("2 accepted"), "{}", outcome.stdout);
    let requests = served.join().unwrap();
    for request in &requests {
        assert_eq!(
            request.body,
            "[{\"type\":\"t\",\"data\":1.50},{\"type\":\"t\"}]"
        );
        assert_eq!(request.idempotency_key, requests[0].idempotency_key);
        assert_ne!(request.idempotency_key, "");
    }
}

#[test]
fn batches_have_keys_of_their_own() {
    let (url, served) = serve(vec![Some(ACCEPTED), Some(ACCEPTED)]);
    let arguments = ["publish", "-", "--batch", "1", "--json", "--server", &url];
    let outcome = finish(
        &mut tidegate(&arguments),
        "{\"type\":\"a\"}\n{\"type\":\"b\"}",
    );
    assert_eq!(
        outcome.stdout,
        "{\"accepted\":4,\"duplicates\":0,\"errors\":0}\n"
    );
    let requests = served.join().unwrap();
    assert_ne!(requests[0].idempotency_key, requests[1].idempotency_key);
}

#[test]
fn tries_are_bounded_and_the_lines_are_named() {
    let (url, served) = serve(vec![Some(UNAVAILABLE); 3]);
    let arguments = ["publish", "-", "--retries", "2", "--server", &url];
    let outcome = finish(&mut tidegate(&arguments), "\n{}\n{}\n");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("lines 2 to 3"),
        "{}",
        outcome.stderr
    );
    assert_eq!(served.join().unwrap().len(), 3);
}

#[test]
fn lines_that_are_not_json_are_named_and_the_others_sent() {
    let (url, served) = serve(vec![Some(ACCEPTED)]);
    let input = "{}\nnot json\n{\"a\":1,\"a\":2}\n{}";
    let outcome = finish(&mut tidegate(&["publish", "-", "--server", &url]), input);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("line 2: not JSON"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("line 3: not JSON"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome
            .stdout
            .contains("2 accepted, 0 duplicates, 2 errors"),
        "{}",
        outcome.stdout
    );
    assert_eq!(served.join().unwrap()[0].body, "[{},{}]");
}
