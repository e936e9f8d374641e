//! Unix sockets and HTTP/2, and connections that are not kept.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;

use crate::program::{connections, run};
use crate::served::serve;
use shared_testkit::server::{Server, ok};

#[test]
fn connections_that_are_not_kept_are_new_for_each_request() {
    let server = Server::answering(|request| {
        assert!(request.head.contains("connection: close"));
        ok("x")
    });
    let report = run(&format!("-n 50 -c 5 --no-keepalive --json {}", server.url())).json();
    assert_eq!((report["outcome"]["succeeded"].as_u64(), connections(&server)), (Some(50), 50));
    assert_eq!(report["connectTime"]["count"], 50);
    let (connect, service) = (&report["connectTime"]["min"], &report["serviceTime"]["min"]);
    assert!(service.as_f64().unwrap() > connect.as_f64().unwrap(), "connecting is part of it");
}

#[test]
fn a_unix_socket_serves_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap_or(0) > 0 {
                    if line == "\r\n" && reader.get_mut().write_all(&ok("x")).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    let report = run(&format!("-n 40 -c 4 --unix-socket {} --json http://localhost/", path.display())).json();
    assert_eq!(report["outcome"]["succeeded"], 40);
    assert_eq!(report["setup"]["protocol"], "HTTP/1.1 over a Unix socket");
    // The same as a URL, with a path behind the socket.
    let report = run(&format!("-n 40 -c 4 --json unix:{}:/some/path", path.display())).json();
    assert_eq!(
        (&report["outcome"]["succeeded"], &report["setup"]["requests"][0]),
        (&40.into(), &"GET /some/path".into())
    );
    assert_eq!(report["setup"]["target"], format!("unix:{}", path.display()));
    let twice = run(&format!("--unix-socket /a unix:{}", path.display()));
    assert!(twice.code == 2 && twice.stderr.contains("named twice"), "{}", twice.stderr);
    let nobody = run(&format!("--unix-socket {}/none http://localhost/", directory.path().display()));
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("none"), "{}", nobody.stderr);
}

#[test]
fn http2_with_prior_knowledge_shares_its_connections() {
    let served = serve(None, true);
    let url = format!("http://{}/", served.address);
    let report = run(&format!("--http2 -c 3 --streams 5 -n 300 --expect-body hello --json {url}")).json();
    assert_eq!(report["outcome"]["succeeded"], 300, "{}", report["errors"]);
    // One more is made to find out that somebody is there.
    assert_eq!(served.connections.load(Ordering::Relaxed), 4);
    assert_eq!(report["connectTime"]["count"], 3);
    assert_eq!(report["setup"]["protocol"], "HTTP/2");
    assert_eq!(report["workers"].as_array().unwrap().len(), 2);
    let missing = run(&format!("--http2 -c 1 -n 5 --json {url}missing")).json();
    assert_eq!(missing["errors"][0]["class"], "status4xx");
}

#[test]
fn http2_to_a_server_without_it_is_malformed_and_ends() {
    let server = Server::answering(|_| ok("x"));
    let output = run(&format!("--http2 -c 1 -n 2 --timeout 5s --json {}", server.url()));
    assert_eq!(output.code, 1);
    assert_ne!(output.json()["errors"][0]["class"], "timeout");
}
