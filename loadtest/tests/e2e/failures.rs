//! Servers that misbehave: each fault lands in its class, nothing hangs.

use std::sync::Arc;
use std::time::Duration;

use crate::program::{connections, run};
use shared_testkit::server::{Connection, Server, answer, ok};

/// Runs four requests against a server that treats each request so; returns
/// (class, count, example) of the one class that they all land in.
fn class_of(options: &str, fault: impl Fn(Connection) + Send + Sync + 'static) -> (String, u64, String) {
    let server = Server::start(move |mut connection| {
        if connection.read().is_some() {
            fault(connection);
        }
    });
    let output = run(&format!("-n 4 -c 2 {options} --json {}", server.url()));
    let report = output.json();
    let errors = report["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(output.code, 1, "nothing succeeded");
    assert_eq!(report["outcome"]["requests"], 4);
    let text = |key: &str| errors[0][key].as_str().unwrap().to_owned();
    (text("class"), errors[0]["count"].as_u64().unwrap(), text("example"))
}

fn check(class: &str, example: &str, options: &str, fault: impl Fn(Connection) + Send + Sync + 'static) {
    let (got, count, text) = class_of(options, fault);
    assert_eq!((got.as_str(), count), (class, 4), "{text}");
    assert!(text.contains(example), "{text}");
}

#[test]
fn a_body_shorter_than_its_length_is_an_early_close() {
    check("early-close", "inside the response body", "", |mut connection| {
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this");
    });
}

#[test]
fn a_body_longer_than_its_length_is_a_wrong_body() {
    check("wrong-body", "5 bytes more than the declared length", "", |mut connection| {
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n1234567890");
        connection.read();
    });
}

#[test]
fn half_a_head_is_an_early_close() {
    check("early-close", "inside the response head", "", |mut connection| {
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-le");
    });
}

#[test]
fn no_answer_at_all_is_an_early_close() {
    check("early-close", "before a response began", "", drop);
}

#[test]
fn garbage_is_malformed() {
    check("malformed", "does not parse", "", |mut connection| {
        connection.write(b"\0\x01\x02 this is not HTTP\r\n\r\n");
    });
    check("malformed", "invalid chunk", "", |mut connection| {
        connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    });
    check("malformed", "both Content-Length and Transfer-Encoding", "", |mut connection| {
        connection
            .write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    });
    check("malformed", "longer than", "", |mut connection| {
        connection.write(b"HTTP/1.1 200 OK\r\n");
        while connection.write(&[b'x'; 1024]) {}
    });
}

#[test]
fn a_reset_in_the_middle_of_a_body_is_a_reset() {
    check("reset", "reset", "", |mut connection| {
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nsome");
        connection.reset();
    });
}

#[test]
fn silence_is_a_timeout_and_its_time_counts() {
    check("timeout", "before a response began", "--timeout 150ms", |mut connection| {
        connection.read();
    });
    check("timeout", "inside the response head", "--timeout 150ms", |mut connection| {
        connection.write(b"HTTP/1.1 200 OK\r\n");
        connection.read();
    });
    let server = Server::start(|mut connection| while connection.read().is_some() {});
    let report = run(&format!("-n 4 -c 2 --timeout 150ms --json {}", server.url())).json();
    assert_eq!(report["serviceTime"]["count"], 4);
    assert!(report["serviceTime"]["min"].as_f64().unwrap() >= 150.0, "{}", report["serviceTime"]);
}

#[test]
fn statuses_are_failures_that_keep_their_connection() {
    for (status, class) in [("404 Not Found", "status4xx"), ("500 Internal Server Error", "status5xx")] {
        let server = Server::answering(move |_| answer(status, "x-worker-id: 1\r\n", "no"));
        let report = run(&format!("-n 10 -c 2 --json {}", server.url())).json();
        assert_eq!(report["errors"][0]["class"], class);
        assert_eq!(report["workers"][0]["errors"], 10);
        assert_eq!(connections(&server), 2);
    }
}

#[test]
fn an_answer_to_an_upload_that_the_server_does_not_read_is_still_read() {
    let server = Server::start(|mut connection| {
        if connection.read_head().is_some() {
            connection.write(&answer("413 Content Too Large", "connection: close\r\n", "no"));
            // Holds the connection open without reading, so that the upload stands still.
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body");
    std::fs::write(&body, vec![b'x'; 20_000_000]).unwrap();
    let output =
        run(&format!("-n 2 -c 2 --timeout 20s --body-file {} --json {}", body.display(), server.url()));
    assert_eq!(output.json()["errors"][0]["class"], "status4xx", "{}", output.stdout);
}

#[test]
fn an_unexpected_body_is_a_wrong_body() {
    let server = Server::answering(|_| ok("hello"));
    let report = run(&format!("-n 3 --expect-body goodbye --json {}", server.url())).json();
    assert_eq!(report["errors"][0]["class"], "wrong-body");
}

#[test]
fn a_body_of_100_megabytes_is_read_to_its_end() {
    const LENGTH: usize = 100_000_000;
    let block = Arc::new(vec![b'x'; 1 << 20]);
    let server = Server::start(move |mut connection| {
        while connection.read().is_some() {
            connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes());
            let mut left = LENGTH;
            while left > 0 {
                let step = left.min(block.len());
                if !connection.write(&block[..step]) {
                    return;
                }
                left -= step;
            }
        }
    });
    let report = run(&format!("-n 3 -c 1 --json {}", server.url())).json();
    assert_eq!(report["outcome"]["succeeded"], 3);
    assert!(report["outcome"]["bytes"].as_u64().unwrap() > 3 * LENGTH as u64);
}

#[test]
fn chunks_and_closes_end_bodies_as_well() {
    let chunked = Server::start(|mut connection| {
        while connection.read().is_some() {
            connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel");
            std::thread::sleep(Duration::from_millis(1));
            connection.write(b"lo\r\n0\r\n\r\n");
        }
    });
    let report = run(&format!("-n 20 -c 2 --expect-body hello --json {}", chunked.url())).json();
    assert_eq!((report["outcome"]["succeeded"].as_u64(), connections(&chunked)), (Some(20), 2));
    let closing = Server::start(|mut connection| {
        if connection.read().is_some() {
            connection.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
        }
    });
    let report = run(&format!("-n 20 -c 2 --expect-body end --json {}", closing.url())).json();
    assert_eq!((report["outcome"]["succeeded"].as_u64(), connections(&closing)), (Some(20), 20));
}

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced_without_an_error() {
    let server = Server::start(|mut connection| {
        // Two answers, then a close that nobody announced.
        for _ in 0..2 {
            if connection.read().is_none() || !connection.write(&ok("x")) {
                return;
            }
        }
    });
    let report = run(&format!("-n 10 -c 1 -R 40 --json {}", server.url())).json();
    assert_eq!(
        (report["outcome"]["succeeded"].as_u64(), connections(&server)),
        (Some(10), 5),
        "{}",
        report["errors"]
    );
}

#[test]
fn a_server_that_goes_away_is_refused_and_does_not_make_the_client_spin() {
    let server = Server::start(|mut connection| {
        if connection.number == 1 {
            connection.read();
            connection.write(&answer("200 OK", "connection: close\r\n", "last"));
        }
    });
    // Accepts no more, so that connecting fails from some point on.
    let url = server.url();
    let program = crate::program::Program::start(&["-d", "1s", "-c", "2", "--json", &url]);
    drop(server);
    let report = program.wait();
    if report.code == 1 && report.stdout.is_empty() {
        // It was gone before the program began.
        let gone = ["refused", "reset"].iter().any(|word| report.stderr.contains(word));
        assert!(gone, "{}", report.stderr);
        return;
    }
    let failed = report.json()["outcome"]["failed"].as_u64().unwrap();
    assert!(failed < 2_000, "{failed} attempts in a second");
}
