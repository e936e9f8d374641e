//! Command lines, and targets that are no cluster.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::fault::Fault;
use crate::harness::verify;
use crate::misbehaving::Server;

#[test]
fn bad_usage_is_2_and_says_what() {
    for (arguments, part) in [
        (&["--nope"][..], "--nope"),
        (
            &["--only", "ballance"],
            "there is no check \"ballance\" (did you mean balance?); the checks are availability, coverage",
        ),
        (&["--skip", "rond-robin"], "(did you mean round-robin?)"),
        (&["--skp", "leaks"], "'--skip'"),
        (&["--only", "crash"], "crash is disruptive and runs on private clusters only: add --spawn"),
        (&["--only", "balance", "--skip", "balance"], "no check is left to run"),
        (&["--url", "ftp://127.0.0.1:1"], "invalid value \"ftp://127.0.0.1:1\" from --url: only http://"),
        (&["--url", "unix:"], "a right one is unix:/run/app.sock"),
        (
            &["--url", "https://127.0.0.1:1", "--cacert", "/no/ca.pem"],
            "could not read the certificates in /no/ca.pem",
        ),
        (&["--only", "tls"], "needs an https:// URL"),
        (&["--plain-url", "x:y"], "from --plain-url"),
        (&["--redis-url", "mysql://x"], "--redis-url"),
        (&["--wait", "soon"], "a right one is 500ms or 30s"),
        (&["--workers", "0"], "--workers"),
        (&["--spawn", "--url", "http://127.0.0.1:1"], "cannot be used with"),
        (&["--spawn", "--balancer", "/no/such/balancer"], "could not find the balancer at /no/such/balancer"),
        (&["--format", "yaml"], "[possible values: pretty, tap, junit, json]"),
    ] {
        let outcome = verify(arguments);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.stderr.contains(part) && outcome.stdout.is_empty(), "{part}: {outcome:?}");
    }
}

#[test]
fn help_version_and_list_are_0() {
    for (argument, part) in
        [("--help", "Exit codes: 0 all passed"), ("--version", "verify 0."), ("--list", "crash ")]
    {
        let outcome = verify(&[argument]);
        assert_eq!(outcome.code, 0);
        assert!(outcome.stdout.contains(part), "{outcome:?}");
    }
    let lines = verify(&["--list"]).stdout;
    assert_eq!(lines.lines().count(), verify::checks::ALL.len());
}

#[test]
fn nothing_listening_is_3_with_a_hint() {
    // Bound, and closed again.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = verify(&["--url", &format!("http://{address}"), "--wait", "0s"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.starts_with(&format!("verify: nothing can be reached at http://{address} (")));
    assert!(outcome.stderr.contains("`cargo run -p balancer -- --workers 4`"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1);
}

/// Answers every request with the same text.
fn stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn a_server_that_is_no_cluster_is_3_and_named() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
    ] {
        let outcome = verify(&["--url", &stranger(answer), "--wait", "0s"]);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.stderr.contains("is not a cluster of this kind"), "{outcome:?}");
    }
    let outcome =
        verify(&["--url", &stranger("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"), "--wait", "0s"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("does not serve"), "{outcome:?}");
}

#[test]
fn every_format_tells_the_same() {
    let server = Server::start(Fault::None);
    let run = |format| {
        let url = server.url();
        verify(&["--url", &url, "--only", "availability,coverage", "--format", format])
    };
    let pretty = run("pretty");
    assert!(pretty.stdout.ends_with("\n2 passed, 0 failed, 0 inconclusive\n"), "{pretty:?}");
    assert!(!pretty.stdout.contains('\x1b'), "no colour in a pipe: {pretty:?}");
    let tap = run("tap");
    assert!(tap.stdout.starts_with("TAP version 14\n1..2\n"), "{tap:?}");
    assert!(tap.stdout.ends_with("\n# 2 passed, 0 failed, 0 inconclusive\n"), "{tap:?}");
    let junit = run("junit");
    assert!(junit.stdout.contains("tests=\"2\" failures=\"0\""), "{junit:?}");
    let json = run("json").json();
    assert_eq!((&json["summary"]["passed"], &json["checks"][1]["samples"]), (&2.into(), &61.into()));
}
