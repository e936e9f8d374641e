//! Every fault of a worker: the status that the client gets, the line in the log, the
//! count in the metrics, and the mark in the access log.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;
use balancer_state::faults::Rejection;
use shared_testkit::eventually;

use crate::harness::{TIMEOUT, read_all, read_until, status};
use crate::witness::Witness;

/// A worker that plays `script` on each connection, once the head of a request has come.
fn worker(script: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let script = script.clone();
            thread::spawn(move || {
                stream.set_read_timeout(Some(TIMEOUT)).unwrap();
                read_until(&mut stream, "\r\n\r\n");
                script(stream);
            });
        }
    });
    address
}

/// A worker that says `bytes` and closes its connection.
fn saying(bytes: impl Into<Vec<u8>>) -> SocketAddr {
    let bytes = bytes.into();
    worker(move |mut stream| {
        let _ = stream.write_all(&bytes);
    })
}

/// Closes with a reset.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// Nobody listens there.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for the other side to close.
fn hold(mut stream: TcpStream) {
    let _ = stream.read(&mut [0]);
}

const SHORT: Duration = Duration::from_millis(300);

/// Workers that do not go on in time are found out soon. Not for other faults: on a busy
/// machine everybody is late.
fn impatient() -> ProxyLimits {
    ProxyLimits { response_timeout: SHORT, ..ProxyLimits::default() }
}

/// A relay in front of `worker`, which is to show `fault`.
fn witness(name: &str, worker: SocketAddr, fault: &str) -> Witness {
    let limits = if fault.ends_with("timeout") { impatient() } else { ProxyLimits::default() };
    Witness::start(name, &[worker], limits)
}

/// One fault, met by a POST, which is not repeated.
fn assert_fault(name: &str, worker: SocketAddr, expected: (u16, &str), reason: &str) {
    let witness = witness(name, worker, expected.1);
    let answer = witness.ask("POST");
    assert_traces(&witness, &answer, name, expected, reason);
}

/// What the fault of a worker leaves behind, beside `answer`.
fn assert_traces(witness: &Witness, answer: &str, name: &str, (code, fault): (u16, &str), reason: &str) {
    // Behind interim responses.
    let answer = &answer[answer.rfind("HTTP/1.1 ").unwrap_or_default()..];
    assert_eq!(status(answer), code, "{name}: {answer}");
    let said = witness.warning();
    assert_eq!((&said["fault"], &said["method"]), (&fault.into(), &"POST".into()), "{name}: {said}");
    assert_eq!((&said["worker"], &said["pid"]), (&"1".into(), &1.into()), "{name}: {said}");
    let message = said["message"].as_str().unwrap();
    assert!(message.starts_with("a request failed: ") && message.contains(reason), "{name}: {message}");
    assert!(!said.to_string().contains("secret"), "{name}: {said}");
    assert_eq!(witness.counts(), [(fault, 1)], "{name}");
    assert_eq!(witness.logged(), (u64::from(code), Some(fault.to_owned())), "{name}");
    if code >= 500 {
        let detail = answer.split("\"detail\":").nth(1).unwrap();
        assert!(!detail.contains("--") && !detail.contains("127.0.0.1"), "{name}: {detail}");
        assert!(reason.len() < 12 || !detail.contains(reason), "{name}: {detail}");
        let id = answer.split("X-Request-Id: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert_eq!(said["request_id"], id, "{name}: what the client has leads to the line");
    }
}

#[test]
fn a_worker_that_gives_no_answer_is_said_to() {
    assert_fault("refused", nobody(), (502, "refused"), "refused the connection");
    assert_fault("closed", saying(""), (502, "closed"), "closed the connection before it had answered");
    assert_fault("half-a-head", saying("HTTP/1.1 200 OK\r\nContent-"), (502, "closed"), "closed");
    assert_fault("interim-only", saying("HTTP/1.1 103 Early Hints\r\n\r\n"), (502, "closed"), "closed");
    assert_fault("reset", worker(|stream| reset(&stream)), (502, "reset"), "broke the connection");
    assert_fault("slow", worker(hold), (504, "response-timeout"), "within 300ms (--response-timeout)");
    let slow_head = worker(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        hold(stream);
    });
    assert_fault("slow-head", slow_head, (504, "response-timeout"), "--response-timeout");
}

/// What a worker says, and words of the parser's reason.
const MALFORMED: &[(&str, &str)] = &[
    ("nonsense\r\n\r\n", "status line"),
    ("\r\nHTTP/1.1 200 OK\r\n\r\n", "status line"),
    ("ICY 200 OK\r\n\r\n", "status line"),
    ("HTTP/2.0 200 OK\r\n\r\n", "status line"),
    ("http/1.1 200 OK\r\n\r\n", "status line"),
    ("HTTP/1.1 20 OK\r\n\r\n", "status line"),
    ("HTTP/1.1 2000 OK\r\n\r\n", "status line"),
    ("HTTP/1.1 099 OK\r\n\r\n", "status line"),
    ("HTTP/1.1  200 OK\r\n\r\n", "status line"),
    ("HTTP/1.1 200OK\r\n\r\n", "status line"),
    ("HTTP/1.1 200 O\u{1}K\r\n\r\n", "status line"),
    ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "LF without CR"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", "LF without CR"),
    ("HTTP/1.1 200 OK\r\nName : x\r\n\r\n", "field's name"),
    ("HTTP/1.1 200 OK\r\n: x\r\n\r\n", "field's name"),
    ("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", "folded"),
    ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "folded"),
    ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no colon"),
    ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", "control character"),
    ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "control character"),
    ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "whole number"),
    ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", "whole number"),
    ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "whole number"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "whole number"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "whole number"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "more than one"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\nx", "more than one"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "contradict"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "only Transfer-Encoding"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "only Transfer-Encoding"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "only Transfer-Enc",
    ),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0"),
    ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "did not ask for"),
    // The body has come with the head, so the client has seen nothing yet.
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "hexadecimal"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;\r\na\r\n0\r\n\r\n", "extensions"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a b\r\na\r\n0\r\n\r\n", "extensions"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "chunked body"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer\r\n\r\n", "chunked body"),
];

#[test]
fn a_malformed_answer_is_said_with_the_reason_and_the_client_is_told_nothing_of_it() {
    for (index, (bytes, reason)) in MALFORMED.iter().enumerate() {
        assert_fault(&format!("malformed-{index}"), saying(*bytes), (502, "invalid-response"), reason);
    }
    let many = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"A: b\r\n".repeat(1_001), b"\r\n"].concat();
    assert_fault("many-fields", saying(many), (502, "invalid-response"), "1000 fields");
    let large = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'b'; 270_000], b"\r\n\r\n"].concat();
    assert_fault("large-head", saying(large), (502, "invalid-response"), "262144 bytes");
    let flood = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(20_000);
    let witness = Witness::start("flood", &[saying(flood)], ProxyLimits::default());
    assert!(witness.ask("POST").contains("HTTP/1.1 502 "), "behind the interim responses");
    assert_eq!(witness.counts(), [("invalid-response", 1)]);
    assert!(witness.warning()["message"].as_str().unwrap().contains("interim"));
}

/// One fault within an answer. The worker sends a head, sends `part` once the client has
/// the head, and does what `end` says once the client has read `shown`.
fn assert_cut(
    name: &str,
    (head, part, shown): (&'static str, &'static str, &str),
    end: impl Fn(TcpStream) + Send + Sync + Clone + 'static,
    fault: &str,
    reason: &str,
) {
    let (client_has, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let worker = worker(move |mut stream| {
        let gate = gate.lock().unwrap();
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes()).unwrap();
        gate.recv_timeout(TIMEOUT).unwrap();
        stream.write_all(part.as_bytes()).unwrap();
        gate.recv_timeout(TIMEOUT).unwrap();
        end(stream);
    });
    let witness = witness(name, worker, fault);
    let mut client = witness.relay.send(witness.request("POST").as_bytes());
    let mut answer = read_until(&mut client, "\r\n\r\n");
    client_has.send(()).unwrap();
    answer.push_str(&read_until(&mut client, shown));
    client_has.send(()).unwrap();
    answer.push_str(&read_all(client));
    assert_traces(&witness, &answer, name, (200, fault), reason);
}

#[test]
fn a_cut_answer_is_no_plain_200() {
    const LENGTH: &str = "Content-Length: 10";
    const CHUNKED: &str = "Transfer-Encoding: chunked";
    let (body, close) = ("body", drop::<TcpStream>);
    let resets = |stream: TcpStream| reset(&stream);
    let goes_wrong = |mut stream: TcpStream| {
        stream.write_all(b"x").unwrap();
        hold(stream);
    };
    let closed = "closed the connection within";
    assert_cut("cut-length", (LENGTH, body, body), close, "truncated", closed);
    assert_cut("cut-chunk", (CHUNKED, "6\r\nbody", body), close, "truncated", closed);
    assert_cut("cut-between", (CHUNKED, "4\r\nbody\r\n", body), close, "truncated", closed);
    assert_cut("cut-trailer", (CHUNKED, "4\r\nbody\r\n0\r\nA: b\r\n", body), close, "truncated", closed);
    assert_cut("cut-reset", (LENGTH, body, body), resets, "truncated", "broke the connection");
    assert_cut("cut-open", ("Server: x", body, body), resets, "truncated", "broke the connection");
    let pause = "did not go on with its response within 300ms (--response-timeout)";
    assert_cut("pause", (LENGTH, body, body), hold, "truncated-timeout", pause);
    let chunk = "4\r\nbody\r\n";
    assert_cut("bad-chunk", (CHUNKED, chunk, body), goes_wrong, "invalid-response", "hexadecimal");
}

#[test]
fn a_fault_that_a_retry_makes_good_is_said_and_counted_and_marks_nothing() {
    let good = saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let witness = Witness::start("made-good", &[nobody(), good], ProxyLimits::default());
    assert_eq!(witness.status("POST"), 200);
    assert_eq!(witness.counts(), [("refused", 1)]);
    assert_eq!(witness.warning()["fault"], "refused");
    let line = witness.access_lines(1).remove(0);
    assert_eq!((&line["status"], &line["attempts"]), (&200.into(), &2.into()));
    assert!(line.get("fault").is_none(), "{line}");
}

#[test]
fn the_last_real_fault_is_what_a_request_ends_with() {
    let witness = Witness::start("nobody-left", &[saying(""), saying("")], ProxyLimits::default());
    let start = Instant::now();
    let answer = witness.ask("GET");
    assert!(start.elapsed() < Duration::from_millis(700), "both live, so there is nobody to wait for");
    assert!(status(&answer) == 502 && answer.contains("ended before it had answered"), "{answer}");
    assert_eq!(witness.counts(), [("closed", 2)]);
    assert_eq!(witness.logged(), (502, Some("closed".to_owned())));
    assert_eq!(witness.relay.counters.rejections.count(Rejection::NoWorkerReady), 0);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closes_all = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let witness = Witness::start("closes-all", &[closes_all], ProxyLimits::default());
    let start = Instant::now();
    let answer = witness.ask("GET");
    assert!(start.elapsed() < Duration::from_millis(700), "it lives as well");
    assert!(status(&answer) == 502 && answer.contains("ended before it had answered"), "{answer}");
}

#[test]
fn a_flood_of_faults_is_one_line_and_all_are_counted() {
    let witness = Witness::start("often", &[saying("")], ProxyLimits::default());
    (0..30).for_each(|_| assert_eq!(witness.status("POST"), 502));
    assert_eq!(witness.counts(), [("closed", 30)]);
    assert_eq!(witness.warning()["suppressed"], 0);
}

#[test]
fn a_client_that_leaves_is_no_fault_of_the_worker() {
    let endless = worker(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 1024]).is_ok() {}
    });
    let witness = Witness::start("left", &[endless], ProxyLimits::default());
    let mut client = witness.relay.send(witness.request("GET").as_bytes());
    read_until(&mut client, "xxxx");
    reset(&client);
    drop(client);
    assert_eq!(witness.logged(), (499, None));
    let bytes = witness.access_lines(1)[0]["bytes"].as_u64().unwrap();
    assert!((4..1_000_000_000).contains(&bytes), "{bytes}");
    assert!(witness.counts().is_empty() && witness.warnings().is_empty());
}

#[test]
fn a_client_that_does_not_read_is_no_fault_of_the_worker() {
    let endless = worker(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 1024]).is_ok() {}
    });
    let limits = ProxyLimits { client_timeout: SHORT, ..ProxyLimits::default() };
    let witness = Witness::start("asleep", &[endless], limits);
    let _client = witness.relay.send(witness.request("GET").as_bytes());
    assert_eq!(witness.logged(), (499, None));
    assert!(witness.counts().is_empty() && witness.warnings().is_empty());
}

#[test]
fn a_request_that_nobody_can_take_is_said_and_counted() {
    let witness = Witness::start("nobody", &[], ProxyLimits::default());
    let answer = witness.ask("GET");
    assert!(status(&answer) == 503 && answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    let said = witness.warning();
    assert_eq!((&said["fault"], &said["method"]), (&"no-worker-ready".into(), &"GET".into()), "{said}");
    assert_eq!(said["message"], "a request was rejected: no worker is ready");
    assert_eq!(witness.relay.counters.rejections.count(Rejection::NoWorkerReady), 1);
    assert_eq!(witness.logged(), (503, Some("no-worker-ready".to_owned())));
    assert!(witness.counts().is_empty());
}

#[test]
fn an_event_stream_may_be_silent_and_its_client_may_leave() {
    for head in [
        "Content-Type: text/event-stream",
        "content-type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked",
    ] {
        let chunked = head.contains("chunked");
        let (first, second) = if chunked { ("3\r\na\n\n\r\n", "3\r\nb\n\n\r\n") } else { ("a\n\n", "b\n\n") };
        let events = worker(move |mut stream| {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}").as_bytes()).unwrap();
            thread::sleep(2 * SHORT);
            stream.write_all(second.as_bytes()).unwrap();
            hold(stream);
        });
        let witness = Witness::start(&format!("events-{chunked}"), &[events], impatient());
        let mut client = witness.relay.send(witness.request("GET").as_bytes());
        read_until(&mut client, "a\n\n");
        let worker = witness.relay.pool.ready()[0].clone();
        let requests = || (worker.in_flight() == 1 && worker.workload().requests == 0).then_some(());
        eventually("it is no request to the verdict on health", requests);
        read_until(&mut client, "b\n\n");
        reset(&client);
        drop(client);
        assert_eq!(witness.logged(), (499, None));
        eventually("the worker is free", || (worker.in_flight() == 0).then_some(()));
        assert!(witness.counts().is_empty() && witness.warnings().is_empty());
    }
    // Its head has to come in time all the same.
    assert_fault("events-head", worker(hold), (504, "response-timeout"), "--response-timeout");
}
