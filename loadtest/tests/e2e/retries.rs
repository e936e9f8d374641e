//! Connections that a server closes between requests, and streams that it refuses, are
//! made anew and counted apart; what it has read and lost stays a failure.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::Reason;
use tokio::net::TcpListener;

use crate::program::run;
use shared_testkit::server::{Server, ok};

/// Answers `requests` requests on each connection, and then closes it without a word.
fn closes_after(requests: usize) -> Server {
    Server::start(move |mut connection| {
        for _ in 0..requests {
            if connection.read().is_none() || !connection.write(&ok("x")) {
                return;
            }
        }
    })
}

#[test]
fn a_server_that_closes_between_requests_fails_no_request_of_a_closed_loop() {
    let server = closes_after(3);
    for options in ["", "-m POST -b body"] {
        let report = run(&format!("-n 3000 -c 8 {options} --json {}", server.url())).json();
        assert_eq!(report["outcome"]["succeeded"], 3000, "{}", report["errors"]);
        assert!(report["outcome"]["retried"].as_u64().unwrap() > 0, "some were sent before the end was seen");
    }
    let text = run(&format!("-n 3000 -c 8 {}", server.url())).stdout;
    assert!(text.contains("sent again: the server had closed their connection"), "{text}");
}

#[test]
fn the_same_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                let (mut line, mut answered) = (String::new(), 0);
                while answered < 2 && reader.read_line(&mut line).unwrap_or(0) > 0 {
                    if line == "\r\n" {
                        let _ = reader.get_mut().write_all(&ok("x"));
                        answered += 1;
                    }
                    line.clear();
                }
            });
        }
    });
    let report = run(&format!("-n 1000 -c 4 --json unix:{}:/", path.display())).json();
    assert_eq!(report["outcome"]["succeeded"], 1000, "{}", report["errors"]);
}

#[test]
fn a_request_that_was_read_and_not_answered_is_a_failure_on_a_kept_connection_too() {
    let server = Server::start(|mut connection| {
        if connection.read().is_some() && connection.write(&ok("x")) {
            // Read whole, and then lost.
            connection.read();
        }
    });
    let report = run(&format!("-n 100 -c 1 --json {}", server.url())).json();
    assert_eq!(report["errors"][0]["class"], "early-close", "{}", report["errors"]);
    assert_eq!((&report["outcome"]["failed"], &report["outcome"]["retried"]), (&50.into(), &0.into()));
}

#[test]
fn a_connection_that_never_answers_is_not_tried_again() {
    let server = Server::start(|mut connection| {
        if connection.read_head().is_some() {
            connection.reset();
        }
    });
    let report = run(&format!("-n 20 -c 1 --json {}", server.url())).json();
    assert_eq!((&report["outcome"]["failed"], &report["outcome"]["retried"]), (&20.into(), &0.into()));
}

/// How an HTTP/2 server treats its requests, by their number on the connection.
type Treat = fn(&mut h2::server::Connection<tokio::net::TcpStream, Bytes>, u64) -> Option<Reason>;

fn http2(treat: Treat) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&requests);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    let mut number = 0;
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        counter.fetch_add(1, Ordering::Relaxed);
                        number += 1;
                        match treat(&mut connection, number) {
                            Some(reason) => respond.send_reset(reason),
                            None => {
                                let _ = respond.send_response(http::Response::new(()), true);
                            }
                        }
                    }
                });
            }
        });
    });
    (address, requests)
}

#[test]
fn a_graceful_goaway_costs_no_request() {
    let (address, _) = http2(|connection, number| {
        if number == 5 {
            connection.graceful_shutdown();
        }
        None
    });
    let report = run(&format!("--http2 --streams 3 -c 2 -n 600 --json http://{address}/")).json();
    assert_eq!(report["outcome"]["succeeded"], 600, "{}", report["errors"]);
    assert!(report["connectTime"]["count"].as_u64().unwrap() > 20, "{}", report["connectTime"]);
}

#[test]
fn refused_streams_are_sent_once_more_and_other_resets_are_failures_by_name() {
    let (address, requests) = http2(|_, number| (number % 10 == 0).then_some(Reason::REFUSED_STREAM));
    let report = run(&format!("--http2 -c 1 -n 95 --json http://{address}/")).json();
    assert_eq!(report["outcome"]["succeeded"], 95, "{}", report["errors"]);
    assert_eq!(report["outcome"]["retried"].as_u64().unwrap(), requests.load(Ordering::Relaxed) - 95);
    assert_eq!(report["connectTime"]["count"], 1, "a stream is not its connection");

    for (treat, class, named) in [
        (
            (|_, _| Some(Reason::ENHANCE_YOUR_CALM)) as Treat,
            "stream-reset",
            "RST_STREAM with ENHANCE_YOUR_CALM (0xb)",
        ),
        ((|_, _| Some(Reason::REFUSED_STREAM)) as Treat, "stream-reset", "REFUSED_STREAM (0x7)"),
        (
            (|connection, _| {
                connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
                None
            }) as Treat,
            "go-away",
            "GOAWAY with INTERNAL_ERROR (0x2)",
        ),
    ] {
        let (address, _) = http2(treat);
        let report = run(&format!("--http2 -c 1 -n 6 --timeout 10s --json http://{address}/")).json();
        let rows = report["errors"].as_array().unwrap();
        let row = rows.iter().find(|row| row["class"] == class).unwrap_or_else(|| panic!("{rows:?}"));
        assert!(row["example"].as_str().unwrap().contains(named), "{row}");
    }
}
