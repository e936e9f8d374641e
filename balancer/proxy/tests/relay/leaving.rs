//! Clients that leave once they have sent their request, in each phase of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;
use shared_testkit::eventually;

use crate::harness::{TIMEOUT, read_until, status};
use crate::witness::Witness;

/// How soon a worker learns of it on an idle machine.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A worker that answers with `part`, and tells the requests that it has got and when each
/// of its connections ended.
fn worker(part: &'static str) -> (SocketAddr, mpsc::Receiver<String>, mpsc::Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((requests, requests_seen), (ends, ends_seen)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let (requests, ends) = (requests.clone(), ends.clone());
            thread::spawn(move || {
                let head = read_until(&mut stream, "\r\n\r\n");
                stream.write_all(part.as_bytes()).unwrap();
                let _ = requests.send(head);
                let _ = stream.read(&mut [0]);
                let _ = ends.send(Instant::now());
            });
        }
    });
    (address, requests_seen, ends_seen)
}

#[derive(Debug, Clone, Copy)]
enum Leaving {
    Close,
    HalfClose,
    Reset,
}

/// The client leaves; what is returned holds its reading side open.
fn leave(client: TcpStream, how: Leaving) -> Option<TcpStream> {
    match how {
        Leaving::Close => {}
        Leaving::Reset => {
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        }
        Leaving::HalfClose => {
            client.shutdown(Shutdown::Write).unwrap();
            return Some(client);
        }
    }
    None
}

#[test]
fn the_worker_learns_of_it_at_once_and_nothing_stays_in_flight() {
    let parts = [
        ("waiting", ""),
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
        ("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
        ("events", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\npart"),
    ];
    for (name, part) in parts {
        for how in [Leaving::Close, Leaving::HalfClose, Leaving::Reset] {
            let (address, requests, ends) = worker(part);
            let witness = Witness::start(&format!("{name}-{how:?}"), &[address; 2], ProxyLimits::default());
            let try_once = |_| {
                let mut client = witness.relay.send(witness.request("GET").as_bytes());
                requests.recv_timeout(TIMEOUT).unwrap();
                if !part.is_empty() {
                    read_until(&mut client, "part");
                }
                let left = Instant::now();
                let _reads_on = leave(client, how);
                let took = ends.recv_timeout(TIMEOUT).unwrap() - left;
                eventually("nothing is in flight", || {
                    witness.relay.pool.ready().iter().all(|worker| worker.in_flight() == 0).then_some(())
                });
                took
            };
            // The machine may be busy with other tests.
            let fastest = (0..5).map(try_once).min().unwrap();
            assert!(fastest < AT_ONCE, "{name} {how:?}: {fastest:?}");
            let lines = witness.access_lines(5);
            assert!(lines.iter().all(|line| line["status"] == 499 && line["attempts"] == 1), "{lines:?}");
            assert!(requests.try_recv().is_err(), "nothing was tried again");
            assert!(witness.counts().is_empty() && witness.warnings().is_empty());
        }
    }
}

#[test]
fn requests_in_front_of_the_end_are_given_up_as_well() {
    let (address, requests, ends) = worker("");
    let witness = Witness::start("pipelined", &[address], ProxyLimits::default());
    let request = witness.request("GET").replace("close", "keep-alive");
    let client = witness.relay.send(format!("{request}{request}").as_bytes());
    requests.recv_timeout(TIMEOUT).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    ends.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(witness.logged(), (499, None));
    assert!(requests.recv_timeout(AT_ONCE).is_err(), "the second one reaches no worker");
}

#[test]
fn with_half_close_a_client_gets_what_it_has_asked_for() {
    let (address, requests, _ends) = worker("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let limits = ProxyLimits { half_close: true, ..ProxyLimits::default() };
    let witness = Witness::start("half-close", &[address], limits);
    let request = witness.request("GET").replace("close", "keep-alive");
    let answer = witness.relay.ask_and_end(format!("{request}{request}").as_bytes());
    assert_eq!((status(&answer), answer.matches("\r\n\r\nok").count()), (200, 2), "{answer}");
    assert!((0..2).all(|_| requests.recv_timeout(TIMEOUT).is_ok()));
}

#[test]
fn a_response_of_the_balancer_is_sent_all_the_same() {
    let witness = Witness::start("own", &[], ProxyLimits::default());
    let answer = witness.relay.ask_and_end(b"GET /own HTTP/1.1\r\n\r\n");
    assert_eq!(status(&answer), 400, "{answer}");
}
