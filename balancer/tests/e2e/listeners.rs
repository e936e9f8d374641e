//! `--listen`: several addresses and Unix sockets at once, load balancers in front, and
//! redirects to HTTPS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Balancer, Cluster, DEADLINE, eventually};

const REQUEST: &[u8] = b"GET /cluster/info HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// One worker, and these listeners.
fn listening(listen: &str) -> Balancer {
    Balancer::new(&["--workers", "1", "--admin", "127.0.0.1:0", "--listen", listen])
}

/// Sends `request` and reads all that comes.
fn ask(mut stream: impl Read + Write, request: &[u8]) -> std::io::Result<String> {
    stream.write_all(request)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn ask_unix(path: &Path, request: &[u8]) -> std::io::Result<String> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    ask(stream, request)
}

fn ask_tcp(address: SocketAddr, request: &[u8]) -> std::io::Result<String> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    ask(stream, request)
}

/// What the cluster says of where it listens.
fn places(cluster: &Cluster) -> Vec<String> {
    let (code, stdout, stderr) = cluster.operate(&["status", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let status: Value = serde_json::from_str(&stdout).unwrap();
    let all = status["listeners"].as_array().unwrap().iter();
    all.map(|place| place.as_str().unwrap().to_owned()).collect()
}

fn at(place: &str) -> SocketAddr {
    place.strip_prefix("http://").unwrap().parse().unwrap()
}

#[test]
fn every_listener_serves_without_a_gap_over_a_reload() {
    let name = format!("balancer-e2e-{}", std::process::id());
    let mut cluster = listening(&format!("127.0.0.1:0,[::1]:0,unix:app.sock,unix:@{name}")).start_ready();
    let found = places(&cluster);
    let path = cluster.directory().canonicalize().unwrap().join("app.sock");
    assert_eq!(found[2..], [format!("unix:{}", path.display()), format!("unix:@{name}")]);
    let (ipv4, ipv6) = (at(&found[0]), at(&found[1]));
    assert_eq!(ipv4, cluster.address);
    let line = cluster.events().into_iter().find(|event| event["control"].is_string()).unwrap();
    assert_eq!(line["message"], format!("listening on {}", found.join(", ")));
    let abstract_name = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap()
    };
    let asks: [Box<dyn Fn() -> std::io::Result<String> + Send>; 4] = [
        Box::new(move || ask_tcp(ipv4, REQUEST)),
        Box::new(move || ask_tcp(ipv6, REQUEST)),
        Box::new({
            let path = path.clone();
            move || ask_unix(&path, REQUEST)
        }),
        Box::new(move || ask(UnixStream::connect_addr(&abstract_name)?, REQUEST)),
    ];
    let ended = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = asks
        .into_iter()
        .map(|ask| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                let mut count = 0;
                while !ended.load(Ordering::Relaxed) {
                    let answer = ask().unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let (code, _, stderr) = cluster.operate(&["reload"]);
    ended.store(true, Ordering::Relaxed);
    assert_eq!(code, 0, "{stderr}");
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    assert!(!path.exists(), "the file goes with the cluster");
}

#[test]
fn a_sockets_file_lets_in_whom_it_is_to() {
    let cluster = listening("unix:a.sock,unix:b.sock?mode=606,unix:c.sock?mode=600").start();
    let metadata = |name: &str| std::fs::metadata(cluster.directory().join(name)).unwrap();
    let mode = |name| metadata(name).permissions().mode() & 0o7777;
    assert_eq!(["a.sock", "b.sock", "c.sock"].map(mode), [0o660, 0o606, 0o600]);
    if rustix::process::geteuid().is_root() {
        let owned = listening("unix:a.sock?owner=nobody:4711").start();
        let found = std::fs::metadata(owned.directory().join("a.sock")).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (65534, 4711, 0o660));
    }
}

#[test]
fn what_a_killed_cluster_left_is_replaced_and_what_is_somebody_elses_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listen = format!("127.0.0.1:0,unix:{}", path.display());
    let mut first = listening(&listen).start();
    // In use: nothing of the second one is left.
    let (code, text) = listening(&listen).output();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("app.sock (--listen): address in use by process"), "{text}");
    first.signal(Signal::KILL);
    first.wait();
    assert!(path.exists());
    let mut second = listening(&listen).start_ready();
    assert!(ask_unix(&path, REQUEST).unwrap().starts_with("HTTP/1.1 200"));
    // Somebody has put another one there, which stays.
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    second.signal(Signal::TERM);
    second.wait();
    assert!(UnixStream::connect(&path).is_ok());
    drop(other);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let (code, text) = listening(&listen).output();
    assert!(code == 1 && text.contains("there is another file, which is not a socket"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn all_are_bound_or_none() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let (code, text) = listening(&format!("unix:{},{address}", path.display())).output();
    assert!(
        code == 1 && text.contains(&format!("could not bind {address}: address in use (--listen)")),
        "{text}"
    );
    assert!(!path.exists());
    let (code, text) = listening("unix:/no/such/directory/app.sock").output();
    assert!(code == 1 && text.contains("there is no such directory"), "{text}");
}

#[test]
fn what_is_no_listener_is_refused_with_the_reason() {
    let long = format!("unix:/{}", "x".repeat(107));
    for (arguments, parts) in [
        (&["--listen", ":3100"][..], &["--listen", "0.0.0.0:3100"][..]),
        (&["--listen", &long], &["107 bytes"]),
        (&["--listen", "unix:a?owner=no-such-user"], &["no user \"no-such-user\"", "--listen"]),
        (&["--listen", "80", "--port", "81"], &["--port and --listen both say"]),
        (&["--listen", "unix:a", "--cluster", "off"], &["--workers 1"]),
        (&["--http-redirect", "80"], &["--http-redirect", "https-port=443"]),
        (&["--http-redirect", "https://0.0.0.0:80"], &["leave out https://"]),
        (&["--hsts", "0s"], &["--hsts 30days"]),
    ] {
        let (code, text) = Balancer::new(arguments).output();
        assert_eq!(code, 2, "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    }
}

#[test]
fn a_cluster_without_a_port_is_found_by_its_socket() {
    let cluster = listening("unix:app.sock").start_ready();
    let path = cluster.directory().canonicalize().unwrap().join("app.sock");
    assert!(cluster.control.file_name().unwrap().to_string_lossy().starts_with("balancer-unix-"));
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_balancer"))
            .args(arguments)
            .env_clear()
            .env("TMPDIR", cluster.directory())
            .current_dir(cluster.directory())
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap_or(-1), text)
    };
    let named = format!("unix:{}", path.display());
    let (code, text) = run(&["status", "--listen", &named]);
    assert!(code == 0 && text.contains(&format!("on {named} ")), "{text}");
    let (code, text) = run(&["healthcheck", "--listen", "unix:app.sock"]);
    assert!(code == 0 && text.contains("\"online\":1"), "{text}");
    let (code, text) = run(&["status", "--listen", "unix:other.sock"]);
    assert!(code == 1 && text.contains("no cluster listens on unix:"), "{text}");
    let (code, text) = run(&["check", "--workers", "1", "--admin", "off", "--listen", "unix:app.sock"]);
    assert!(code == 0 && text.contains("app.sock is taken by the cluster that runs here"), "{text}");
}

/// The last line of the access log.
fn last_line(file: &Path) -> String {
    eventually("it is logged", || std::fs::read_to_string(file).ok()?.lines().last().map(str::to_owned))
}

#[test]
fn a_proxy_on_a_private_socket_is_believed_and_one_on_an_open_socket_is_not() {
    let request =
        b"GET /cluster/info HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n";
    for (mode, client) in [("660", "192.0.2.7 "), ("666", "unix: ")] {
        let cluster = listening(&format!("unix:a.sock?mode={mode}"))
            .with(&["--access-log", "access.log", "--max-connections-per-ip", "1"])
            .start_ready();
        let path = cluster.directory().join("a.sock");
        // A limit per address is none for who has no address.
        let _waiting = UnixStream::connect(&path).unwrap();
        assert!(ask_unix(&path, request).unwrap().starts_with("HTTP/1.1 200"));
        let line = last_line(&cluster.directory().join("access.log"));
        assert!(line.starts_with(client), "{line}");
    }
}

#[test]
fn a_load_balancer_says_for_whom_it_connects() {
    let cluster = listening("127.0.0.1:0?proxy-protocol=127.0.0.0/8,unix:a.sock?proxy-protocol")
        .with(&["--access-log", "access.log"])
        .start_ready();
    let (log, url) =
        (cluster.directory().join("access.log"), format!("http://{}/cluster/info", cluster.address));
    let output = Command::new("curl")
        .args(["-sS", "--fail", "--max-time", "10", "--haproxy-protocol", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(last_line(&log).starts_with("127.0.0.1 "));
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\0\x50";
    let answer = ask_unix(&cluster.directory().join("a.sock"), &[&header[..], REQUEST].concat()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eventually("it is logged", || last_line(&log).starts_with("192.0.2.7 ").then_some(()));
    // Without the header nobody is served, and it is said.
    assert!(!matches!(ask_tcp(cluster.address, REQUEST), Ok(text) if !text.is_empty()));
    eventually("it is counted", || {
        (cluster.metric("proxy_protocol_rejections_total{wrong=\"header\"}") == 1).then_some(())
    });
    let said = |event: &Value| event["message"].as_str().is_some_and(|text| text.contains("PROXY header"));
    eventually("it is said", || cluster.events().iter().any(said).then_some(()));
}

#[test]
fn who_may_not_say_for_whom_it_connects_is_closed() {
    let cluster = listening("127.0.0.1:0?proxy-protocol=10.0.0.0/8").start_ready();
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n";
    for bytes in [&[header, REQUEST].concat()[..], REQUEST] {
        assert!(!matches!(ask_tcp(cluster.address, bytes), Ok(text) if !text.is_empty()));
    }
    let count = || cluster.metric("proxy_protocol_rejections_total{wrong=\"source\"}");
    eventually("they are counted", || (count() == 2).then_some(()));
    let said = || cluster.events().into_iter().filter(|event| event["peer"] == "127.0.0.1").count();
    eventually("it is said", || (said() > 0).then_some(()));
    assert_eq!(said(), 1, "once a minute");
}

#[test]
fn plain_http_is_sent_to_https() {
    let cluster =
        listening("127.0.0.1:0").with(&["--http-redirect", "127.0.0.1:0?https-port=8443"]).start_ready();
    let found = places(&cluster);
    let answer =
        ask_tcp(at(&found[1]), b"GET /a?b HTTP/1.1\r\nHost: a.example:80\r\nConnection: close\r\n\r\n");
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    assert!(answer.contains("\r\nLocation: https://a.example:8443/a?b\r\n"), "{answer}");
    assert!(ask_tcp(at(&found[0]), REQUEST).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn an_ipv6_listener_leaves_ipv4_its_port() {
    // The port is free for both a moment ago.
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let _cluster = listening(&format!("0.0.0.0:{port},[::]:{port}")).start_ready();
    for host in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(host.parse().unwrap(), port);
        assert!(ask_tcp(address, REQUEST).unwrap().starts_with("HTTP/1.1 200"), "{host}");
    }
}
