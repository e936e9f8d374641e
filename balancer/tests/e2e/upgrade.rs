//! Another balancer succeeds this one: who serves, what is lost, and what is left when it
//! comes to nothing.

mod clients;
mod keeps;
mod programs;
mod refused;
mod told;

use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::drains::realtime;
use crate::harness::{Balancer, Cluster, Connection, eventually, is_alive, send_signal};
use crate::load::Load;

/// Kills whoever serves when the test ends. To be declared after the cluster, whose end waits
/// for the end of its log.
struct Last(Vec<u32>);

impl Last {
    fn none() -> Self {
        Self(Vec::new())
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        for &pid in self.0.iter().filter(|&&pid| is_alive(pid)) {
            send_signal(pid, Signal::KILL);
        }
    }
}

/// The arguments of a cluster of `workers` on the port of `cluster`, beside `others`.
fn arguments(cluster: &Cluster, workers: u32, others: &[&str]) -> Vec<String> {
    let (port, workers) = (cluster.address.port().to_string(), workers.to_string());
    let admin = cluster.admin.unwrap().to_string();
    let own = ["--port", &port, "--workers", &workers, "--admin", &admin];
    own.iter().chain(others).map(|&text| text.to_owned()).collect()
}

/// Upgrades `cluster`; returns the pid of who serves then.
fn upgrade(cluster: &Cluster, last: &mut Last, options: &[&str], arguments: &[String]) -> u32 {
    let (code, out, err) = try_upgrade(cluster, options, arguments);
    assert_eq!(code, 0, "{out}{err}");
    let done: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(done["event"], "upgraded", "{out}");
    let pid = u32::try_from(done["pid"].as_u64().unwrap()).unwrap();
    last.0.push(pid);
    pid
}

fn try_upgrade(cluster: &Cluster, options: &[&str], arguments: &[String]) -> (i32, String, String) {
    let mut line = vec!["upgrade", "--json"];
    line.extend(options);
    let control = cluster.control.to_str().unwrap();
    line.extend(["--control", control]);
    if !arguments.is_empty() {
        line.push("--");
        line.extend(arguments.iter().map(String::as_str));
    }
    cluster.operate_plainly(&line)
}

/// The reason of the upgrade that has failed.
fn failure(answer: &(i32, String, String)) -> String {
    let (code, out, err) = answer;
    assert_eq!(*code, 1, "{out}{err}");
    let failed: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(failed["event"], "failed", "{out}");
    failed["reason"].as_str().unwrap().to_owned()
}

fn primary(cluster: &Cluster) -> u64 {
    cluster.admin("/cluster/workers").json()["primary"]["pid"].as_u64().unwrap()
}

fn stop(cluster: &Cluster, pid: u32) {
    let (code, _, err) = cluster.operate(&["stop"]);
    assert_eq!(code, 0, "{err}");
    eventually("nothing is left of it", || (!is_alive(pid)).then_some(()));
    assert!(!cluster.control.exists(), "the last one removes the control socket");
}

#[test]
fn upgrades_lose_no_request_whatever_they_change() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let mut last = Last::none();
    let (kept, fresh) = (Load::start(&cluster, 4), Load::of(&cluster, 2, "/cluster/info", false));
    let copy: PathBuf = cluster.directory().join("another-balancer");
    let own = env!("CARGO_BIN_EXE_balancer");
    std::fs::hard_link(own, &copy).or_else(|_| std::fs::copy(own, &copy).map(drop)).unwrap();
    let mut before = cluster.pid();
    for round in 0..4 {
        let arguments = match round % 2 {
            0 => arguments(&cluster, 3, &["--strategy", "least-connections"]),
            _ => arguments(&cluster, 2, &[]),
        };
        let copy = copy.to_str().unwrap();
        let options: &[&str] = if round < 2 { &["--executable", copy] } else { &[] };
        let pid = upgrade(&cluster, &mut last, options, &arguments);
        assert_eq!(primary(&cluster), u64::from(pid));
        assert_eq!(cluster.workers().len(), if round % 2 == 0 { 3 } else { 2 });
        let running = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert!(running.ends_with("another-balancer"), "it keeps the executable that it was given");
        if round == 0 {
            assert!(cluster.wait().success(), "the first one ends in order");
        }
        eventually("the one before ends", || (!is_alive(before)).then_some(()));
        before = pid;
        kept.await_those_in_flight();
        fresh.await_those_in_flight();
    }
    kept.finish_unharmed();
    fresh.finish_unharmed();
    stop(&cluster, before);
}

/// How many sockets a process has open.
fn sockets(pid: u32) -> usize {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let is_socket = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    all.filter(is_socket).count()
}

#[test]
fn an_upgrade_keeps_arguments_ports_and_the_embedded_store() {
    let cluster = Balancer::cluster(2).start_ready();
    let mut last = Last::none();
    let (mut pid, mut first) = (cluster.pid(), None);
    let key = serde_json::json!({"key": "k", "value": 42});
    assert_eq!(cluster.post("/cluster/shared-state", &key).status, 200);
    for _ in 0..4 {
        pid = upgrade(&cluster, &mut last, &[], &[]);
        assert_eq!(cluster.get("/cluster/shared-state/k").json()["value"], 42);
        assert_eq!(primary(&cluster), u64::from(pid));
        assert_eq!(cluster.workers().len(), 2);
        let (code, out, _) = cluster.operate(&["status"]);
        assert!(code == 0 && out.contains(&format!("primary {pid}")), "{out}");
        first.get_or_insert_with(|| sockets(pid));
    }
    // One that is left by each upgrade makes three; idle connections to the two workers come and go.
    let most = first.unwrap() + 2;
    eventually("the last one has no more sockets than the first successor", || {
        (sockets(pid) <= most).then_some(())
    });
    stop(&cluster, pid);
}

#[test]
fn an_upgrade_that_fails_changes_nothing_and_says_why() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let workers = cluster.worker_pids();
    let load = Load::start(&cluster, 4);
    let old = cluster.directory().join("old");
    std::fs::write(&old, "#!/bin/sh\nexit 3\n").unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text = cluster.directory().join("text");
    std::fs::write(&text, "no program").unwrap();
    let garbage = cluster.directory().join("garbage");
    std::fs::write(&garbage, [0x7f, b'E', b'L', b'F', 1, 2, 3]).unwrap();
    std::fs::set_permissions(&garbage, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let of = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let workers_fail = ["--", "/bin/sh", "-c", "echo cannot; exit 4"];
    let kinds: [(&str, Vec<String>, &str); 8] = [
        ("/nowhere/balancer", vec![], "could not run /nowhere/balancer: No such file"),
        ("/", vec![], "Is a directory"),
        (&of(&text), vec![], "Permission denied"),
        (&of(&garbage), vec![], "could not be run"),
        (&of(&old), vec![], "ended with exit status: 3"),
        ("", arguments(&cluster, 2, &["--wrkers", "2"]), "unexpected argument '--wrkers'"),
        ("", arguments(&cluster, 2, &["--strategy", "best"]), "--strategy"),
        ("", arguments(&cluster, 2, &workers_fail), "exit status: 4"),
    ];
    for (executable, arguments, complaint) in kinds {
        let options: &[&str] = if executable.is_empty() { &[] } else { &["--executable", executable] };
        let reason = failure(&try_upgrade(&cluster, options, &arguments));
        assert!(reason.contains(complaint), "{complaint}: {reason}");
        assert_eq!(primary(&cluster), u64::from(cluster.pid()));
        assert_eq!(cluster.worker_pids(), workers);
    }
    load.finish_unharmed();
    let children = format!("/proc/{0}/task/{0}/children", cluster.pid());
    eventually("only the workers are left", || {
        (std::fs::read_to_string(&children).unwrap().split_whitespace().count() == 2).then_some(())
    });
    assert_eq!(cluster.operate(&["reload"]).0, 0, "other changes are made as before");
    assert_eq!(cluster.operate(&["stop"]).0, 0);
    assert!(cluster.wait().success());
}

/// Starts an upgrade to a cluster whose only worker never gets ready.
fn hanging(cluster: &Cluster) -> thread::JoinHandle<(i32, String, String)> {
    let line = arguments(cluster, 1, &["--", "/bin/sh", "-c", "sleep 600; :"]);
    let (control, directory) = (cluster.control.clone(), cluster.directory().to_owned());
    let upgrade = thread::spawn(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"));
        command.args(["upgrade", "--json", "--control"]).arg(control).arg("--").args(line);
        let output = command.env_clear().current_dir(directory).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    });
    successor(cluster);
    upgrade
}

/// The pid of the successor that is starting.
fn successor(cluster: &Cluster) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", cluster.pid());
    let workers = cluster.worker_pids();
    eventually("a successor has started workers", || {
        let children = std::fs::read_to_string(&children).ok()?;
        let pids = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
        let mut others = pids.filter(|pid| !workers.contains(pid));
        others.find(|pid| {
            let own = format!("/proc/{pid}/task/{pid}/children");
            std::fs::read_to_string(own).is_ok_and(|own| !own.trim().is_empty())
        })
    })
}

#[test]
fn nothing_else_changes_during_an_upgrade_and_a_stop_ends_both() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let upgrade = hanging(&cluster);
    let new = successor(&cluster);
    for change in [&["reload"][..], &["scale", "3"]] {
        let (code, _, err) = cluster.operate(change);
        assert!(code == 1 && err.contains("an upgrade is in progress"), "{err}");
    }
    let reason = failure(&try_upgrade(&cluster, &[], &[]));
    assert!(reason.contains("another upgrade is in progress"), "{reason}");
    assert_eq!(cluster.operate(&["stop"]).0, 0);
    assert!(cluster.wait().success());
    assert_eq!(upgrade.join().unwrap().0, 1);
    eventually("the successor is gone", || (!is_alive(new)).then_some(()));
}

#[test]
fn a_successor_that_is_killed_changes_nothing() {
    let cluster = Balancer::cluster(2).start_ready();
    let load = Load::start(&cluster, 2);
    let upgrade = hanging(&cluster);
    let new = successor(&cluster);
    send_signal(new, Signal::KILL);
    let reason = failure(&upgrade.join().unwrap());
    assert!(reason.contains("signal: 9"), "{reason}");
    assert_eq!(primary(&cluster), u64::from(cluster.pid()));
    load.finish_unharmed();
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_successor_takes_over_from_a_predecessor_that_is_killed() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let line = arguments(&cluster, 1, &["--", "python3", "-c", SLOW]);
    let control = cluster.control.clone();
    let upgrade = thread::spawn(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"));
        command.args(["upgrade", "--json", "--control"]).arg(control).arg("--").args(line);
        command.output().unwrap()
    });
    let new = successor(&cluster);
    let _last = Last(vec![new]);
    let old = cluster.pid();
    cluster.signal(Signal::KILL);
    cluster.wait();
    assert_ne!(upgrade.join().unwrap().status.code(), Some(0));
    let answer = eventually("the successor serves", || {
        let mut connection = Connection::open(cluster.address).ok()?;
        connection.send("GET", "/", &[("connection", "close")], b"").ok()?;
        connection.receive(false).ok().filter(|answer| answer.status == 200)
    });
    assert_eq!(answer.text(), "slow");
    assert_eq!(primary(&cluster), u64::from(new));
    assert!(!is_alive(old));
    stop(&cluster, new);
}

/// A program that is ready after a second.
const SLOW: &str = "
import http.server, os, time
time.sleep(1)
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('content-length', '4'); self.end_headers()
        self.wfile.write(b'slow')
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()
";

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn long_lived_connections_are_drained_by_the_old_one() {
    let mut cluster = realtime(2, &["--stop-timeout", "4s"]).start_ready();
    let mut last = Last::none();
    let mut stream = Connection::open(cluster.address).unwrap();
    stream.send("GET", "/events", &[], b"").unwrap();
    eventually("the stream is open", || {
        cluster.workers().iter().any(|worker| worker["inFlight"] == 1).then_some(())
    });
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    // The new one serves while the old one still has the stream.
    assert_eq!(primary(&cluster), u64::from(pid));
    assert_eq!(cluster.get("/health").status, 200);
    assert!(cluster.wait().success());
    stop(&cluster, pid);
}

#[test]
fn sigusr2_asks_for_an_upgrade() {
    let mut cluster = Balancer::cluster(1).start_ready();
    cluster.signal(Signal::USR2);
    assert!(cluster.wait().success(), "the old one ends in order");
    let pid = u32::try_from(primary(&cluster)).unwrap();
    let _last = Last(vec![pid]);
    assert_ne!(pid, cluster.pid());
    assert_eq!(cluster.get("/cluster/info").status, 200);
    stop(&cluster, pid);
}

#[test]
fn a_new_address_is_bound_and_the_old_one_closes() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    let admin = cluster.admin.unwrap().to_string();
    let line = ["--host", "127.0.0.2", "--port", "0", "--workers", "1", "--admin", &admin];
    let control = cluster.control.to_str().unwrap().to_owned();
    let line: Vec<_> = line.iter().chain(&["--control", &control]).map(|&text| text.to_owned()).collect();
    let pid = upgrade(&cluster, &mut last, &[], &line);
    assert!(cluster.wait().success());
    assert!(Connection::open(cluster.address).is_err(), "nobody listens there any more");
    let (_, out, _) = cluster.operate(&["status", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    let address: std::net::SocketAddr = status["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(address.ip(), std::net::Ipv4Addr::new(127, 0, 0, 2));
    assert!(Connection::open(address).is_ok());
    stop(&cluster, pid);
}

#[test]
fn a_range_goes_on_with_its_number_and_maintenance_stays() {
    let cluster = Balancer::new(&["--port", "0", "--workers", "1..4"]).start_ready();
    let mut last = Last::none();
    assert_eq!(cluster.operate(&["scale", "3"]).0, 0);
    assert_eq!(cluster.operate(&["maintenance", "on"]).0, 0);
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    assert_eq!(cluster.workers().len(), 3);
    assert_eq!(cluster.get("/cluster/info").status, 503);
    assert_eq!(cluster.operate(&["maintenance", "off"]).0, 0);
    assert_eq!(cluster.get("/cluster/info").status, 200);
    stop(&cluster, pid);
}

#[test]
fn a_client_that_is_idle_at_the_switch_gets_its_next_response() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    let mut idle = std::net::TcpStream::connect(cluster.address).unwrap();
    let request = b"GET /cluster/info HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut bytes = [0; 4096];
    idle.write_all(request).unwrap();
    assert!(idle.read(&mut bytes).unwrap() > 0);
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    // Far longer than the old one needs to end when it waits for nobody.
    idle.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let silence = idle.read(&mut bytes).expect_err("it is not closed while it is idle");
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    idle.write_all(request).unwrap();
    let count = idle.read(&mut bytes).unwrap();
    let head = String::from_utf8_lossy(&bytes[..count]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
    assert!(cluster.wait().success());
    stop(&cluster, pid);
}

/// The stub that becomes the successor, as the child of somebody else than its predecessor: that
/// one has been killed meanwhile.
#[test]
fn a_successor_is_run_though_its_predecessor_is_gone() {
    // No process has this number (proc(5), pid_max).
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"))
        .args(["upgrade-exec-stub", "4194304", "1024:0", "http:upgrade"])
        .args(["/bin/sh", "-c", "echo $LISTEN_FDS $LISTEN_FDNAMES; test $LISTEN_PID = $$"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 http:upgrade\n");
}

#[test]
fn balancers_in_front_see_a_healthy_service_all_the_time() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    // These connections stay with the old one, which must answer as the service.
    let mut kept: Vec<_> = (0..4).map(|_| Connection::open(cluster.address).unwrap()).collect();
    let ask = |connection: &mut Connection| {
        connection.send("GET", "/health", &[], b"").unwrap();
        connection.receive(false).unwrap()
    };
    kept.iter_mut().for_each(|connection| assert_eq!(ask(connection).status, 200));
    let probes = Load::of(&cluster, 2, "/health", false);
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    for connection in &mut kept {
        let answer = ask(connection);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("connection"), Some("close"), "the old one has answered");
    }
    probes.finish_unharmed();
    assert!(cluster.wait().success());
    stop(&cluster, pid);
}

#[test]
fn files_that_no_successor_has_are_removed() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    let (one, two) = (cluster.directory().join("one.sock"), cluster.directory().join("two.sock"));
    let listen = |path: &PathBuf| ["--listen".to_owned(), format!("unix:{}", path.display())];
    let (all, address) = (arguments(&cluster, 1, &[]), cluster.address.to_string());
    let line = |path: &PathBuf| -> Vec<_> {
        let others = all.iter().skip(2).cloned().chain(["--listen".to_owned(), address.clone()]);
        others.chain(listen(path)).collect()
    };
    // It comes to nothing, once it has made its socket.
    let failing = ["--", "/bin/sh", "-c", "exit 4"].map(str::to_owned);
    let failing: Vec<_> = line(&one).into_iter().chain(failing).collect();
    assert!(failure(&try_upgrade(&cluster, &[], &failing)).contains("exit status: 4"));
    assert!(!one.exists(), "left by a successor that has failed");
    let first = upgrade(&cluster, &mut last, &[], &line(&one));
    assert!(one.exists() && cluster.wait().success());
    let second = upgrade(&cluster, &mut last, &[], &line(&two));
    eventually("the one before ends", || (!is_alive(first)).then_some(()));
    assert!(two.exists() && !one.exists(), "left by the one that had it");
    stop(&cluster, second);
    assert!(!two.exists());
}

#[test]
fn a_command_is_not_carried_out_as_a_successor() {
    let cluster = Balancer::cluster(1).start_ready();
    let control = cluster.control.to_str().unwrap();
    for command in [&["stop", "--control", control][..], &["status"], &["check"], &["--help"]] {
        let command: Vec<_> = command.iter().map(|&text| text.to_owned()).collect();
        let reason = failure(&try_upgrade(&cluster, &[], &command));
        assert!(reason.contains("these arguments start no cluster"), "{reason}");
    }
    assert_eq!(primary(&cluster), u64::from(cluster.pid()));
}

#[test]
fn a_service_manager_hears_of_the_main_process_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut cluster = Balancer::cluster(1).env("NOTIFY_SOCKET", path.to_str().unwrap()).start_ready();
    let mut last = Last::none();
    assert!(hear().contains("READY=1"));
    let failing = arguments(&cluster, 1, &["--", "/bin/sh", "-c", "exit 4"]);
    failure(&try_upgrade(&cluster, &[], &failing));
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    assert!(hear().starts_with(&format!("MAINPID={pid}\n")), "nothing of those that are not the main one");
    assert!(cluster.wait().success());
    stop(&cluster, pid);
    assert!(hear().starts_with("STOPPING=1"));
}
