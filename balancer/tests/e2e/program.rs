//! Somebody else's program as workers.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Balancer, Cluster, eventually, is_alive, send_signal};
use crate::load::Load;

fn pid_of(cluster: &Cluster, id: u64) -> Option<u32> {
    let workers = cluster.workers();
    let worker = workers.iter().find(|worker| worker["id"] == id && worker["state"] == "online")?;
    worker["pid"].as_u64().map(|pid| pid as u32)
}

/// Pids of a child in the program's group and of one that has left it.
fn fork(cluster: &Cluster) -> Vec<u32> {
    serde_json::from_str(&cluster.get("/fork").text()).unwrap()
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_program_gets_its_place_and_has_all_paths_to_itself() {
    let cluster = Balancer::program(2, &[]).env("MINE", "kept").start_ready();
    let environments: Vec<Value> = (0..2).map(|_| cluster.get("/env").json()).collect();
    for (index, environment) in environments.iter().enumerate() {
        assert_eq!(environment["WORKER_ID"], (index + 1).to_string());
        assert_eq!(environment["WORKER_COUNT"], "2");
        assert_eq!(environment["HOST"], "127.0.0.1");
        assert_eq!(environment["MINE"], "kept");
        assert!(environment["WORKER_GENERATION"].is_string() && environment["PORT"].is_string());
    }
    assert_ne!(environments[0]["PORT"], environments[1]["PORT"]);
    let pid = cluster.get("/pid");
    assert!(
        cluster.worker_pids().contains(&pid.text().parse().unwrap()),
        "the list has the program's own pid"
    );
    assert_eq!(pid.header("x-worker-id"), Some("1"));
    for path in ["/health", "/cluster/workers"] {
        assert_eq!(cluster.get(path).text(), "not here", "{path} is the program's");
    }
    assert_eq!(cluster.admin("/health").json()["status"], "ok");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn killed_programs_cost_no_get_request() {
    let cluster = Balancer::program(3, &[]).start_ready();
    let load = Load::of(&cluster, 6, "/pid", true);
    for round in 0..6 {
        let id = round % 3 + 1;
        let victim = eventually("the worker is online", || pid_of(&cluster, id));
        send_signal(victim, Signal::KILL);
        eventually("it is replaced", || pid_of(&cluster, id).filter(|&pid| pid != victim));
    }
    load.finish_unharmed();
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_post_is_run_once_though_its_program_dies() {
    let balancer = Balancer::program(3, &[]);
    let record = balancer.directory().join("record");
    fs::write(&record, "").unwrap();
    let name = record.to_str().unwrap().to_owned();
    let cluster = balancer.env("RECORD_FILE", &name).start_ready();
    let answer = cluster.request("POST", "/record-and-die", &[], b"x");
    answer.problem(502);
    assert_eq!(fs::read_to_string(&record).unwrap(), "x");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn nothing_of_a_program_outlives_its_stop() {
    let mut cluster = Balancer::program(1, &["--kill-timeout", "500ms"]).start_ready();
    let mut pids = fork(&cluster);
    pids.extend(cluster.worker_pids());
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    assert!(pids.iter().all(|&pid| !is_alive(pid)), "{pids:?}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn nothing_of_a_program_outlives_its_crash() {
    let cluster = Balancer::program(1, &[]).start_ready();
    let children = fork(&cluster);
    let victim = cluster.worker_pids()[0];
    send_signal(victim, Signal::KILL);
    eventually("its children are gone", || children.iter().all(|&pid| !is_alive(pid)).then_some(()));
    eventually("it is replaced", || pid_of(&cluster, 1).filter(|&pid| pid != victim));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn nothing_of_a_program_outlives_a_killed_primary() {
    for _ in 0..5 {
        let mut cluster = Balancer::program(2, &[]).start_ready();
        let mut pids = fork(&cluster);
        pids.extend(fork(&cluster));
        pids.extend(cluster.worker_pids());
        assert_eq!(cluster.get("/busy").status, 200);
        cluster.signal(Signal::KILL);
        cluster.wait();
        eventually("all are gone", || pids.iter().all(|&pid| !is_alive(pid)).then_some(()));
        eventually("the port is free", || TcpListener::bind(cluster.address).ok());
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_shell_that_forks_is_kept_whole() {
    let mut cluster = Balancer::cluster(1).env("PATH", &std::env::var("PATH").unwrap());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/server.js");
    cluster = cluster.with(&["--", "sh", "-c", "node \"$0\" & sleep 1000 & wait", script]);
    let mut cluster = cluster.start_ready();
    let server: u32 = cluster.get("/pid").text().parse().unwrap();
    assert!(!cluster.worker_pids().contains(&server), "the shell is the worker");
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    assert!(!is_alive(server));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn one_slot_that_always_fails_harms_no_other() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/server.js");
    let wrapper = "[ $WORKER_ID != 2 ] || exit 1; exec node \"$0\"";
    let cluster = Balancer::cluster(3)
        .env("PATH", &std::env::var("PATH").unwrap())
        .with(&["--", "sh", "-c", wrapper, script])
        .start();
    eventually("the bad one waits and the others serve", || {
        let workers = cluster.workers();
        let state = |id: usize| workers[id - 1]["state"].as_str().unwrap().to_owned();
        (state(2) == "backoff" && state(1) == "online" && state(3) == "online").then_some(())
    });
    let load = Load::of(&cluster, 3, "/pid", true);
    let health = cluster.admin("/health").json();
    assert_eq!(health["status"], "degraded");
    let (before, start) = (cluster.worker_pids(), Instant::now());
    let restarts = || cluster.workers()[1]["restarts"].as_u64().unwrap();
    let first = restarts();
    eventually("it was tried again some times", || (restarts() >= first + 6).then_some(()));
    // Waits are drawn between nothing and 100, 200, 400 … ms: all together are as short as this
    // once in a million runs.
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
    assert!(cluster.log().len() < 60, "{:#?}", cluster.log());
    load.finish_unharmed();
    let good = |pids: &[u32]| pids.iter().filter(|pid| cluster.worker_pids().contains(pid)).count();
    assert!(good(&before) >= 2, "the others were left alone");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_shim_that_is_killed_or_stuck_leaves_nothing_behind() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/server.js");
    let cluster = Balancer::cluster(1)
        .env("PATH", &std::env::var("PATH").unwrap())
        .with(&["--kill-timeout", "300ms", "--", "sh", "-c", "node \"$0\" & wait", script])
        .start_ready();
    let parent = |pid: u32| -> u32 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    for signal in [Signal::KILL, Signal::STOP] {
        let shell = eventually("the worker is online", || pid_of(&cluster, 1));
        let server: u32 = cluster.get("/pid").text().parse().unwrap();
        send_signal(parent(shell), signal);
        if signal == Signal::STOP {
            assert_eq!(cluster.operate(&["reload"]).0, 0);
        }
        eventually("all of it is gone", || (!is_alive(shell) && !is_alive(server)).then_some(()));
        eventually("it is replaced", || pid_of(&cluster, 1).filter(|&pid| pid != shell));
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_stolen_port_means_a_new_one() {
    // The program tells its first port and waits, so that the test can take it.
    let balancer = Balancer::cluster(1).env("PATH", &std::env::var("PATH").unwrap());
    let directory = balancer.directory().to_str().unwrap().to_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/server.js");
    let wrapper = "if [ ! -e \"$1/port\" ]; then echo $PORT > \"$1/next\"; mv \"$1/next\" \"$1/port\"; \
                   exec sleep 1000; fi; exec node \"$0\"";
    let balancer = balancer.with(&["--", "sh", "-c", wrapper, script, &directory]);
    let cluster = balancer.start();
    let port: u16 = eventually("the program tells its port", || {
        fs::read_to_string(cluster.directory().join("port")).ok()?.trim().parse().ok()
    });
    let thief = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let stolen = thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = thief.accept().unwrap();
        let mut request = [0; 1024];
        let _ = client.read(&mut request).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        // Stays, so that nobody else gets the port.
        thief
    });
    cluster.wait_ready();
    let worker = cluster.workers()[0].clone();
    assert_ne!(worker["port"], port);
    assert_eq!(worker["lastRestart"], "port-taken");
    assert_eq!(cluster.get("/mode").text(), "ok");
    drop(stolen.join().unwrap());
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_port_is_kept_for_a_program_that_boots_slowly() {
    let balancer = Balancer::program(1, &[]);
    let (mode, file) = (balancer.directory().join("mode"), balancer.directory().join("port"));
    fs::write(&mode, "ok").unwrap();
    let cluster = balancer.env("MODE_FILE", mode.to_str().unwrap()).env("PORT_FILE", file.to_str().unwrap());
    let cluster = cluster.start_ready();
    fs::remove_file(&file).unwrap();
    fs::write(&mode, "slow").unwrap();
    let (code, _, err) = thread::scope(|scope| {
        let reload = scope.spawn(|| cluster.operate(&["reload"]));
        let port: u16 =
            eventually("the new one tells its port", || fs::read_to_string(&file).ok()?.trim().parse().ok());
        // As the kernel does it for whoever wants any port.
        let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM);
        let stranger = rustix::net::socket(family, kind, None).unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(rustix::net::bind(&stranger, &address), Err(rustix::io::Errno::ADDRINUSE));
        reload.join().unwrap()
    });
    assert_eq!(code, 0, "{err}");
    assert_eq!(cluster.get("/mode").text(), "slow");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_program_that_cannot_share_a_port_gets_one_to_itself() {
    let script = "import os, socket\n\
        listener = socket.socket()\n\
        listener.bind((os.environ['HOST'], int(os.environ['PORT'])))\n\
        listener.listen()\n\
        while True: listener.accept()[0].sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok')\n";
    let cluster = Balancer::cluster(2)
        .env("PATH", &std::env::var("PATH").unwrap())
        .with(&["--health-path", "tcp", "--", "python3", "-c", script])
        .start_ready();
    let log = cluster.log();
    let changes = log.iter().filter(|line| line.contains("the next start has one that is not reserved"));
    assert_eq!(changes.count(), 1, "{log:#?}");
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "what was learnt is kept: {err}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_connection_is_enough_when_that_is_asked_for() {
    let script = "let count = 0; \
        require('node:net').createServer(() => { if (++count === 6) console.log('the sixth probe'); }) \
        .listen(process.env.PORT, process.env.HOST)";
    let cluster = Balancer::cluster(2)
        .env("PATH", &std::env::var("PATH").unwrap())
        .with(&["--health-path", "tcp", "--health-interval", "50ms", "--", "node", "-e", script])
        .start_ready();
    let pids = cluster.worker_pids();
    eventually("both were probed further", || {
        let probed = cluster.log().iter().filter(|line| line.contains("the sixth probe")).count();
        (probed == 2).then_some(())
    });
    assert_eq!(cluster.worker_pids(), pids, "and goes on to be");
}

#[test]
fn a_command_that_is_not_there_is_refused() {
    let (code, text) = Balancer::cluster(1).with(&["--", "no-such-program"]).output();
    assert_eq!(code, 2);
    assert!(text.contains("no-such-program") && text.contains("-- node server.js"), "{text}");
    let (code, text) = Balancer::new(&["--cluster", "off", "--", "sh"]).output();
    assert_eq!(code, 2);
    assert!(text.contains("needs a cluster"), "{text}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn output_of_a_program_is_whole_lines_and_blocks_nobody() {
    let cluster = Balancer::program(1, &[]).start_ready();
    assert_eq!(cluster.get("/print?bytes=1000000").text(), "printed");
    let logged = |text: &str| cluster.log().iter().any(|line| line.contains(text)).then_some(());
    // The program writes without waiting, and would lose the rest when it ends.
    eventually("the long line is in the log", || logged("\"last\":true"));
    assert_eq!(cluster.get("/print?text=last%20words%ff").status, 200);
    assert_eq!(cluster.try_request("GET", "/exit", &[], b"").unwrap().status, 502);
    eventually("its output is in the log", || logged("last words").and_then(|()| logged("exit status: 3")));
    assert!(cluster.log().iter().all(|line| line.len() < 20_000));
}
