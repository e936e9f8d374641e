//! Servers that are odd on purpose: `verify` is honest about them, and bounded.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::harness::{command, finish, verify};
use crate::misbehaving::Server;

const INFO: &str = "{\"worker\": {\"id\": 1, \"pid\": 2000000001}}";

/// Serves each connection with `serve`, which gets its number.
fn server(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let serve = serve.clone();
            thread::spawn(move || {
                // Read first: an answer before the request is none.
                let _ = (&stream).read(&mut [0; 4096]);
                serve(number, stream);
            });
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: &TcpStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// Chunks until the client has enough.
fn endless(mut stream: &TcpStream) {
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    while stream.write_all(chunk.as_bytes()).is_ok() {}
}

#[test]
fn a_body_without_end_is_not_read_to_its_end() {
    let url = server(|_, stream| endless(&stream));
    let outcome = verify(&["--url", &url, "--wait", "0s"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("a body of more than 4194304 bytes"), "{outcome:?}");
}

#[test]
fn a_redirect_is_named_and_not_followed() {
    let url = server(|_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
    });
    let outcome = verify(&["--url", &url, "--wait", "0s"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("302, a redirect to /elsewhere"), "{outcome:?}");
}

#[test]
fn what_a_stranger_sends_stays_out_of_the_terminal() {
    let url = server(|_, mut stream| {
        let body = b"\x1f\x8b\x08\x00\x1b[2J\x07\n\nsecond line";
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    });
    let outcome = verify(&["--url", &url, "--wait", "0s"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(!outcome.stderr.trim_end().contains(char::is_control), "{outcome:?}");
}

#[test]
fn a_server_that_goes_silent_is_noticed_once_per_check() {
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);
    // Enough for first contact; then nothing, with the connection open.
    let url = server(|number, stream| {
        if number < 80 {
            ANSWERED.fetch_add(1, Ordering::SeqCst);
            return answer(&stream, INFO);
        }
        let _ = (&stream).read(&mut [0; 1]);
    });
    let began = Instant::now();
    let outcome = verify(&["--url", &url, "--workers", "4", "--only", "availability", "--format", "json"]);
    assert_eq!((outcome.code, outcome.of("availability").as_str()), (1, "failed"), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(50), "one time limit, not one for each of 100 requests");
    assert!(outcome.stdout.contains("no answer within 30s"), "{outcome:?}");
}

#[test]
fn a_server_that_turns_bad_fails_and_is_quoted() {
    // Fine at first contact, and then each connection ends in another way.
    let url = server(|number, mut stream| match number {
        0..8 => answer(&stream, INFO),
        _ if number % 4 == 0 => endless(&stream),
        _ if number % 4 == 1 => drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort")),
        _ if number % 4 == 2 => drop(stream.write_all(b"\x00\x1b[31mgarbage\r\n\r\n")),
        _ => {}
    });
    let only = "availability,coverage,shared-counter,local-state,errors,headers";
    let outcome = verify(&["--url", &url, "--workers", "2", "--only", only, "--format", "json"]);
    assert_eq!((outcome.code, outcome.of("availability").as_str()), (1, "failed"), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    assert_eq!(
        outcome.checks().iter().filter(|check| check["outcome"] == "passed").count(),
        0,
        "{outcome:?}"
    );
}

/// Nobody else of this machine is on an address like this.
fn own_address() -> SocketAddr {
    let host = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(1..255));
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn a_cluster_that_is_still_to_come_is_waited_for() {
    let address = own_address();
    let url = format!("http://{address}");
    let arguments = ["--url", &url, "--wait", "60s", "--only", "availability", "--format", "json"];
    let child = command(&arguments).spawn().unwrap();
    // It has tried, in vain, before there is anything.
    let listener = TcpListener::bind(address).unwrap();
    drop(listener.accept().unwrap());
    drop(listener);
    let _server = Server::at(address, Fault::None);
    let outcome = finish(child);
    assert_eq!((outcome.code, outcome.of("availability").as_str()), (0, "passed"), "{outcome:?}");
}

#[test]
fn a_cluster_that_never_comes_is_waited_for_that_long() {
    let began = Instant::now();
    let outcome = verify(&["--url", &format!("http://{}", own_address()), "--wait", "1s"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "{outcome:?}");
}
