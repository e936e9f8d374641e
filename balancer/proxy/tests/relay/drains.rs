//! Workers that are told to end: what of theirs is closed at once, what at a deadline, and
//! whose fault it is that something is left then.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;
use shared_protocol::{Generation, WorkerId};
use shared_testkit::eventually;

use crate::harness::{TIMEOUT, Upstream, read_until, status};
use crate::witness::Witness;

/// Withdraws the only worker and closes all that it still has, as at a drain timeout.
fn end(witness: &Witness) {
    let worker = witness.relay.pool.ready()[0].clone();
    witness.relay.pool.withdraw(worker.generation);
    worker.close_all();
    eventually("nobody holds it", || (worker.in_flight() == 0).then_some(()));
}

/// A worker that answers each request with `answer` once its head is there, and tells when
/// it has done so and when a connection has ended.
fn worker(answer: &'static str) -> (SocketAddr, mpsc::Receiver<()>, mpsc::Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((answers, answered), (ends, ended)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let (answers, ends) = (answers.clone(), ends.clone());
            thread::spawn(move || {
                read_until(&mut stream, "\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
                let _ = answers.send(());
                while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
                let _ = ends.send(Instant::now());
            });
        }
    });
    (address, answered, ended)
}

#[test]
fn idle_connections_to_a_withdrawn_worker_are_closed_at_once() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let workers: Vec<_> = (0..5).map(|_| worker(answer)).collect();
    let addresses: Vec<_> = workers.iter().map(|(address, ..)| *address).collect();
    let witness = Witness::start("idle", &addresses, ProxyLimits::default());
    for _ in 0..5 {
        assert_eq!(witness.status("GET"), 200);
    }
    let start = Instant::now();
    for (generation, (_, answered, ended)) in (1..).zip(&workers) {
        answered.recv_timeout(TIMEOUT).unwrap();
        witness.relay.pool.withdraw(Generation(generation));
        ended.recv_timeout(TIMEOUT).unwrap();
    }
    // Idle connections are looked at once a second besides, which closes one of them a second.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_connection_whose_request_ends_after_the_withdrawal_is_not_kept() {
    let start = Instant::now();
    for round in 0..5 {
        let ((answer, may_answer), (ends, ended)) = (mpsc::channel::<()>(), mpsc::channel());
        let may_answer = std::sync::Mutex::new(may_answer);
        let upstream = Upstream::with(move |stream, _| {
            may_answer.lock().unwrap().recv_timeout(TIMEOUT).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            ends.send(matches!(stream.read(&mut [0]), Ok(0))).unwrap();
        });
        let witness = Witness::start(&format!("late-{round}"), &[upstream.address], ProxyLimits::default());
        let mut client = witness.relay.send(witness.request("GET").as_bytes());
        eventually("it is with the worker", || (!upstream.take().is_empty()).then_some(()));
        witness.relay.pool.withdraw(Generation(1));
        answer.send(()).unwrap();
        assert_eq!(status(&read_until(&mut client, "ok")), 200);
        assert!(ended.recv_timeout(TIMEOUT).unwrap(), "it is closed");
    }
    // One that is kept is closed a second after its relay's start.
    assert!(start.elapsed() < Duration::from_millis(2_500), "{:?}", start.elapsed());
}

#[test]
fn a_client_that_is_slow_with_its_upload_is_no_fault_of_the_worker_that_has_to_end() {
    let (address, answered, ended) = worker("");
    let limits = ProxyLimits { buffer_requests: 0, ..ProxyLimits::default() };
    let witness = Witness::start("slow-upload", &[address], limits);
    let head = witness.request("POST").replace("Connection: close", "Content-Length: 100");
    let mut client = witness.relay.send(format!("{head}part").as_bytes());
    answered.recv_timeout(TIMEOUT).unwrap();
    end(&witness);
    let answer = read_until(&mut client, "}");
    assert!(status(&answer) == 408 && answer.contains("before its worker had to end"), "{answer}");
    ended.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(witness.logged(), (408, None));
    assert!(witness.counts().is_empty() && witness.warnings().is_empty(), "{:?}", witness.counts());
}

#[test]
fn a_client_that_holds_up_its_response_is_no_fault_of_the_worker_that_has_to_end() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";
    let (address, answered, _ended) = worker(part);
    let limits = ProxyLimits { buffer_requests: 0, ..ProxyLimits::default() };
    let witness = Witness::start("slow-duplex", &[address], limits);
    let head = witness.request("POST").replace("Connection: close", "Content-Length: 100");
    // The worker may answer the rest of the body with the rest of its response.
    let mut client = witness.relay.send(format!("{head}part").as_bytes());
    answered.recv_timeout(TIMEOUT).unwrap();
    read_until(&mut client, "part");
    end(&witness);
    assert_eq!(witness.logged(), (499, None));
    assert!(witness.counts().is_empty() && witness.warnings().is_empty(), "{:?}", witness.counts());
}

#[test]
fn a_worker_that_has_all_and_does_not_answer_before_it_has_to_end_is_at_fault() {
    for (name, answer, status) in
        [("silent", "", 504), ("half", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", 200)]
    {
        let (address, answered, _ended) = worker(answer);
        let witness = Witness::start(name, &[address], ProxyLimits::default());
        let mut client = witness.relay.send(witness.request("GET").as_bytes());
        answered.recv_timeout(TIMEOUT).unwrap();
        if !answer.is_empty() {
            read_until(&mut client, "part");
        }
        end(&witness);
        assert_eq!(witness.logged(), (status, Some("drain-timeout".to_owned())), "{name}");
        assert_eq!(witness.counts(), [("drain-timeout", 1)], "{name}");
    }
}

/// The sum of the times that count as response times, and how many requests they are of.
fn latency(witness: &Witness) -> (Duration, u64) {
    let traffic = witness.relay.counters.traffic(WorkerId(1));
    (traffic.total_time(), traffic.latency().iter().sum())
}

/// Goes on for so long that the whole life can be told from the time to the head.
fn use_for(client: &mut TcpStream, at_least: Duration, echoes: bool) {
    let start = Instant::now();
    while start.elapsed() < at_least {
        if echoes {
            client.write_all(b"x").unwrap();
        }
        assert!(client.read(&mut [0]).unwrap() > 0);
    }
}

#[test]
fn the_life_of_an_upgraded_connection_and_of_an_event_stream_is_no_response_time() {
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    for (name, answer, code) in [("upgraded", upgraded, 101), ("events", events, 200)] {
        let upstream = Upstream::with(move |stream, _| {
            stream.write_all(answer.as_bytes()).unwrap();
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let witness = Witness::start(name, &[upstream.address], ProxyLimits::default());
        let request = witness.request("GET").replace("close", "upgrade\r\nUpgrade: x");
        let start = Instant::now();
        let mut client = witness.relay.send(request.as_bytes());
        assert_eq!(status(&read_until(&mut client, "\r\n\r\n")), code);
        let to_head = start.elapsed();
        use_for(&mut client, Duration::from_millis(200), name == "upgraded");
        drop(client);
        let line = witness.access_lines(1).remove(0);
        let (total, count) = latency(&witness);
        assert!(count == 1 && total <= to_head, "{name}: {total:?} of {count}, {to_head:?} to the head");
        assert!(line["totalSeconds"].as_f64().unwrap() > 0.19, "the access log has the whole life: {line}");
    }
}
