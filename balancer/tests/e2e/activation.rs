//! Sockets that are passed by whoever starts the cluster, and outlive it.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use shared_process::port::ReservedPort;
use shared_testkit::process::wait;

use crate::harness::*;

/// Becomes the program as a service manager starts it: with what is standard input here as
/// descriptor 3, and what is standard output as descriptor 4.
const ACTIVATE: &str =
    "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=${FOR:-$$}; exec \"$0\" \"$@\"";

/// The balancer, to be started with `count` sockets.
fn passed(balancer: Balancer, count: &str) -> Balancer {
    balancer.run_below("/bin/sh", &["-c", ACTIVATE]).env("LISTEN_FDS", count)
}

fn with_sockets(balancer: &Balancer, third: impl Into<OwnedFd>, fourth: Option<OwnedFd>) -> Command {
    let mut command = balancer.to_start();
    command.stdin(Stdio::from(third.into())).stdout(fourth.map_or_else(Stdio::null, Stdio::from));
    command
}

fn start(balancer: Balancer, third: impl Into<OwnedFd>, fourth: Option<OwnedFd>) -> Cluster {
    let mut child = with_sockets(&balancer, third, fourth).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let cluster = balancer.follow(child, stderr);
    cluster.wait_ready();
    cluster
}

/// Two workers, with the one socket.
fn activated(socket: &TcpListener) -> Cluster {
    start(passed(Balancer::cluster(2), "1"), socket.try_clone().unwrap(), None)
}

/// The exit code and the log of a start that is refused.
fn refused(balancer: Balancer, third: impl Into<OwnedFd>, fourth: Option<OwnedFd>) -> (i32, String) {
    let mut child = with_sockets(&balancer, third, fourth).spawn().unwrap();
    let status = wait(&mut child).expect("it was expected to end at once");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (status.code().unwrap_or(-1), log)
}

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn says(cluster: &Cluster, text: &str) -> bool {
    cluster.log().iter().any(|line| line.contains(text))
}

fn stop(mut cluster: Cluster) {
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
}

/// Whether somebody has this socket open.
fn holds(pid: u32, socket: &TcpListener) -> bool {
    let inode = |fd: String| std::fs::read_link(fd).ok();
    let wanted = inode(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(socket))).unwrap();
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.into_iter().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|found| found == wanted))
}

#[test]
fn a_socket_that_was_passed_is_served_and_stays_open_without_the_cluster() {
    let (socket, address) = socket();
    for _ in 0..2 {
        // What comes meanwhile waits.
        let mut early = Connection::open(address).unwrap();
        early.send("GET", "/cluster/info", &[("connection", "close")], b"").unwrap();
        let cluster = activated(&socket);
        assert_eq!(cluster.address, address);
        assert!(says(&cluster, &format!("listening on http://{address} (inherited)")), "{:?}", cluster.log());
        assert_eq!(early.receive(false).unwrap().status, 200);
        assert_eq!(cluster.get("/cluster/info").status, 200);
        stop(cluster);
    }
}

#[test]
fn workers_inherit_neither_the_sockets_nor_what_announces_them() {
    let (socket, _) = socket();
    for balancer in [Balancer::cluster(2), Balancer::program(2, &[])] {
        let balancer = passed(balancer.env("LISTEN_FDNAMES", "web.socket"), "1");
        let cluster = start(balancer, socket.try_clone().unwrap(), None);
        assert!(holds(cluster.pid(), &socket));
        for worker in cluster.worker_pids() {
            let environment = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            assert!(!environment.contains("LISTEN_"), "{environment:?}");
            assert!(!holds(worker, &socket));
        }
    }
}

#[test]
fn several_sockets_are_served_by_their_names() {
    let (clients, _) = socket();
    let (other, other_address) = socket();
    for (names, admin) in [("http:admin", Some(other_address)), ("a.socket:b.socket", None)] {
        let balancer = passed(Balancer::cluster(1).env("LISTEN_FDNAMES", names), "2");
        let cluster = start(balancer, clients.try_clone().unwrap(), Some(other.try_clone().unwrap().into()));
        assert_eq!(cluster.admin == Some(other_address), admin.is_some(), "{:?}", cluster.log());
        let mut connection = Connection::open(other_address).unwrap();
        let (path, host) = if admin.is_some() { ("/health", "localhost") } else { ("/cluster/info", "a") };
        connection.send_as("GET", path, &[("connection", "close"), ("host", host)], b"").unwrap();
        let answer = connection.receive(false).unwrap();
        assert_eq!((answer.status, answer.text().contains("online")), (200, admin.is_some()));
        assert_eq!(cluster.get("/cluster/info").status, 200);
        stop(cluster);
    }
}

/// Fresh connections at a steady pace, and what became of them.
struct Visitors {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Visitors {
    const THREADS: u32 = 10;

    fn start(address: SocketAddr, per_second: u32) -> Self {
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let pause = Duration::from_secs(1) * Self::THREADS / per_second;
        let threads = (0..Self::THREADS).map(|thread| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                let mut next = Instant::now() + pause * thread / Self::THREADS;
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += pause;
                    match visit(address) {
                        Ok(()) => _ = served.fetch_add(1, Ordering::Relaxed),
                        Err(err) => failures.push(err),
                    }
                }
                failures
            })
        });
        Self { threads: threads.collect(), stop, served }
    }

    /// Waits until so many more have been served.
    fn await_more(&self, count: u64) {
        let before = self.served.load(Ordering::Relaxed);
        eventually("visitors are served", || {
            (self.served.load(Ordering::Relaxed) >= before + count).then_some(())
        });
    }

    /// How many were served, and what went wrong.
    fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.served.load(Ordering::Relaxed), failures)
    }
}

fn visit(address: SocketAddr) -> Result<(), String> {
    let mut connection = Connection::open(address).map_err(|err| format!("refused: {err}"))?;
    let close = [("connection", "close")];
    let sent = connection.send("GET", "/cluster/info", &close, b"");
    let answer = sent.and_then(|()| connection.receive(false)).map_err(|err| format!("broken: {err}"))?;
    if answer.status == 200 { Ok(()) } else { Err(format!("status {}", answer.status)) }
}

#[test]
fn no_visitor_is_lost_over_restarts() {
    let (socket, address) = socket();
    let mut cluster = activated(&socket);
    let visitors = Visitors::start(address, 300);
    for _ in 0..5 {
        visitors.await_more(50);
        stop(cluster);
        cluster = activated(&socket);
    }
    visitors.await_more(50);
    let (served, failures) = visitors.finish();
    assert!(failures.is_empty(), "{} beside {served}: {failures:?}", failures.len());
}

#[test]
fn a_killed_primary_loses_what_it_had_accepted_and_nothing_else() {
    let (socket, address) = socket();
    let mut cluster = activated(&socket);
    let visitors = Visitors::start(address, 300);
    for _ in 0..3 {
        visitors.await_more(50);
        cluster.signal(Signal::KILL);
        cluster.wait();
        cluster = activated(&socket);
    }
    visitors.await_more(50);
    let (served, failures) = visitors.finish();
    assert!(failures.iter().all(|failure| failure.starts_with("broken")), "{failures:?}");
    // At most those that it was serving at that moment.
    assert!(failures.len() <= 3 * Visitors::THREADS as usize, "{} beside {served}", failures.len());
}

#[test]
fn connections_beyond_the_limit_are_left_to_the_next_start() {
    let (socket, address) = socket();
    let limited = || passed(Balancer::cluster(1).with(&["--max-connections", "1"]), "1");
    let mut cluster = start(limited(), socket.try_clone().unwrap(), None);
    let first_worker = cluster.worker_pids()[0];
    let slow = json!({ "n": 36 }).to_string();
    let mut clients: Vec<_> = (0..20).map(|_| Connection::open(address).unwrap()).collect();
    for client in &mut clients {
        let json = [("content-type", "application/json"), ("connection", "close")];
        client.send("POST", "/cluster/cpu-intensive", &json, slow.as_bytes()).unwrap();
    }
    eventually("the first one is served", || {
        cluster.workers().iter().any(|worker| worker["inFlight"] == 1).then_some(())
    });
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    let _next = start(limited(), socket.try_clone().unwrap(), None);
    let mut by_the_next = 0;
    for client in &mut clients {
        let answer = client.receive(false).unwrap();
        assert_eq!(answer.status, 200);
        by_the_next += u32::from(answer.json()["worker"]["pid"] != first_worker);
    }
    // Each thread may hold one that it has accepted already.
    assert!(by_the_next > 0, "the queue was left to it");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let (socket, address) = socket();
    let balancer = passed(Balancer::cluster(1), "1").env("FOR", "1").env("CLUSTER_LOG", "balancer=debug");
    let cluster = start(balancer, socket, None);
    assert_ne!(cluster.address, address);
    assert!(says(&cluster, "is for process 1 (LISTEN_PID)"), "{:?}", cluster.log());
    assert!(!says(&cluster, "(inherited)"));
}

#[test]
fn a_port_that_somebody_else_was_passed_is_refused_with_the_reason() {
    let (socket, address) = socket();
    let port = address.port().to_string();
    let balancer = passed(Balancer::new(&["--port", &port, "--workers", "1"]), "1").env("FOR", "1");
    let (code, log) = refused(balancer, socket, None);
    assert_eq!(code, 1);
    for part in ["address in use", "is for process 1", "exec"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn nothing_is_passed_by_no_sockets() {
    let (socket, address) = socket();
    let cluster = start(passed(Balancer::cluster(1), "0"), socket, None);
    assert_ne!(cluster.address, address);
}

#[test]
fn announcements_that_are_not_true_are_refused() {
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let tcp = || OwnedFd::from(socket().0);
    let start = |count: &str, names: Option<&str>, socket: OwnedFd| {
        let balancer = passed(Balancer::cluster(1), count);
        let balancer =
            names.into_iter().fold(balancer, |balancer, names| balancer.env("LISTEN_FDNAMES", names));
        refused(balancer, socket, None)
    };
    for (count, names, socket, parts) in [
        ("many", None, tcp(), ["LISTEN_FDS is \"many\"", "for example 1"]),
        ("-1", None, tcp(), ["LISTEN_FDS is \"-1\"", "for example 1"]),
        ("4000000000", None, tcp(), ["LISTEN_FDS is \"4000000000\"", "for example 1"]),
        ("2", None, tcp(), ["descriptor 4 (\"unknown\")", "no socket but /dev/null"]),
        ("200", None, tcp(), ["is not open", "LISTEN_FDS says"]),
        ("1", Some("http:admin"), tcp(), ["2 names (\"http:admin\")", "for the 1 sockets"]),
        ("1", Some("web"), null(), ["descriptor 3 (\"web\")", "no socket but /dev/null"]),
        (
            "1",
            Some("web"),
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            ["descriptor 3 (\"web\")", "a datagram socket"],
        ),
        ("1", Some("web"), UnixStream::pair().unwrap().0.into(), ["descriptor 3", "does not listen"]),
        ("1", Some("control"), tcp(), ["descriptor 3 (\"control\") is a TCP socket", "a Unix socket"]),
    ] {
        let (code, log) = start(count, names, socket);
        assert_eq!(code, 1, "{count} {names:?}: {log}");
        for part in parts {
            assert!(log.contains(part), "{count} {names:?}: {part} is missing in {log}");
        }
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

#[test]
fn descriptors_that_are_closed_are_not_taken_for_the_programs_own() {
    let balancer = Balancer::cluster(1)
        .run_below("/bin/sh", &["-c", "exec 3<&- 4<&-; export LISTEN_PID=$$; exec \"$0\" \"$@\""])
        .env("LISTEN_FDS", "2");
    let (code, log) = balancer.output();
    assert_eq!(code, 1);
    assert!(log.contains("descriptor 3 (\"unknown\") is not open"), "{log}");
}

#[test]
fn sockets_of_the_wrong_family_are_refused_by_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let unix = || UnixListener::bind(directory.path().join("s")).map(OwnedFd::from).unwrap();
    let (code, log) = refused(passed(Balancer::cluster(1).env("LISTEN_FDNAMES", "admin"), "1"), unix(), None);
    assert_eq!(code, 1);
    assert!(log.contains("descriptor 3 (\"admin\") is a Unix socket"), "{log}");

    let balancer = passed(Balancer::cluster(1).env("LISTEN_FDNAMES", "admin:admin"), "2");
    let (code, log) = refused(balancer, socket().0, Some(socket().0.into()));
    assert_eq!(code, 1);
    assert!(log.contains("descriptor 4 (\"admin\") is the second socket of that name"), "{log}");
}

#[test]
fn a_second_cluster_with_the_same_socket_is_refused() {
    let (socket, _) = socket();
    let cluster = activated(&socket);
    // In the directory of the first one, where its control socket lies.
    let second = passed(Balancer::cluster(2), "1").env("TMPDIR", cluster.directory().to_str().unwrap());
    let (code, log) = refused(second, socket.try_clone().unwrap(), None);
    assert_eq!(code, 1);
    assert!(log.contains("another cluster listens on it"), "{log}");
    for _ in 0..20 {
        assert_eq!(cluster.get("/cluster/info").status, 200, "the first one is alone again");
    }
}

#[test]
fn choices_that_differ_are_named_in_one_warning() {
    let (socket, address) = socket();
    let with = |port: &str| Balancer::new(&["--workers", "1", "--admin", "0", "--port", port]);
    let own = address.port().to_string();
    for (port, warnings) in [("1", 1), (own.as_str(), 0), ("0", 0)] {
        let cluster = start(passed(with(port), "1"), socket.try_clone().unwrap(), None);
        assert_eq!(cluster.address, address);
        let about = cluster.events().into_iter().filter(|event| event["level"] == "WARN");
        let about: Vec<_> =
            about.filter(|event| event["message"].as_str().unwrap().contains("--port")).collect();
        assert_eq!(about.len(), warnings, "{port}: {about:?}");
        stop(cluster);
    }
}

#[test]
fn a_single_process_refuses_sockets() {
    let (code, log) = refused(passed(Balancer::new(&["--cluster", "off"]), "1"), socket().0, None);
    assert_eq!(code, 2);
    assert!(log.contains("LISTEN_FDS") && log.contains("--cluster off"), "{log}");
}

#[test]
fn check_names_what_was_passed_and_config_does_not_care() {
    let (socket, address) = socket();
    let run = |subcommand: &str| {
        let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let balancer = Balancer::new(&[subcommand]).run_below("/bin/sh", &["-c", script]);
        let balancer = balancer.env("LISTEN_FDS", "1");
        let mut command = balancer.to_start();
        command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, _) = run("config");
    assert_eq!(code, Some(0));
    let (code, text) = run("check");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("clients: {address} was passed as descriptor 3")), "{text}");
}

/// Below systemd's own activator, which waits for the first connection.
#[test]
#[ignore = "needs systemd-socket-activate: bash .ci/setup"]
fn systemd_passes_clients_admin_and_control() {
    let ports = [ReservedPort::take().unwrap(), ReservedPort::take().unwrap()];
    let [clients, admin] = ports.each_ref().map(|port| SocketAddr::from(([127, 0, 0, 1], port.number())));
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control.sock");
    let (clients_text, admin_text, control_text) =
        (clients.to_string(), admin.to_string(), control.display().to_string());
    let listen = ["-l", &clients_text, "-l", &admin_text, "-l", &control_text];
    let balancer = Balancer::cluster(1)
        .run_below("systemd-socket-activate", &[&listen[..], &["--fdname", "http:admin:control"]].concat())
        .env("PATH", &std::env::var("PATH").unwrap());
    let mut child = balancer.to_start().spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let mut visitor = eventually("it listens", || Connection::open(clients).ok());
    visitor.send("GET", "/cluster/info", &[("connection", "close")], b"").unwrap();
    let cluster = balancer.follow(child, stderr);
    cluster.wait_ready();
    assert_eq!(visitor.receive(false).unwrap().status, 200);
    assert_eq!((cluster.address, cluster.admin), (clients, Some(admin)));
    assert_eq!(cluster.control, control);
    let (code, out, err) = cluster.operate(&["status"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&clients_text), "{out}");
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    stop(cluster);
    assert!(Path::new(&control).exists(), "whoever has made it keeps it");
    assert!(TcpStream::connect(clients).is_err(), "nobody else has this one");
}

#[test]
fn a_control_socket_that_was_passed_belongs_to_one_cluster_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let control = UnixListener::bind(&path).unwrap();
    let (clients, _) = socket();
    let activated = || passed(Balancer::cluster(1).env("LISTEN_FDNAMES", "http:control"), "2");
    let sockets = || (clients.try_clone().unwrap(), Some(control.try_clone().unwrap().into()));
    for _ in 0..2 {
        let (third, fourth) = sockets();
        let cluster = start(activated(), third, fourth);
        assert_eq!(cluster.control, path);
        let (code, _, err) = cluster.operate(&["status"]);
        assert_eq!(code, 0, "{err}");
        let (third, fourth) = sockets();
        let (code, log) = refused(activated(), third, fourth);
        assert_eq!(code, 1);
        assert!(log.contains(&format!("another cluster listens on it: process {}", cluster.pid())), "{log}");
        assert_eq!(cluster.operate(&["status"]).0, 0);
        stop(cluster);
        assert!(path.exists(), "whoever has made it keeps it");
    }
}
