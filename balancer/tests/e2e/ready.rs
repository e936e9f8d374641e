//! Programs that do not get ready: what people are told, and what becomes of the cluster.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Balancer, Cluster, eventually, send_signal};

/// A program in Python that listens where it is told to, with what `before` changes about it.
fn python(workers: u32, options: &[&str], script: &str) -> Balancer {
    let balancer = Balancer::cluster(workers).env("PATH", &std::env::var("PATH").unwrap());
    balancer.with(options).with(&["--", "python3", "-u", "-c", script])
}

fn node(workers: u32, options: &[&str], script: &str) -> Balancer {
    let balancer = Balancer::cluster(workers).env("PATH", &std::env::var("PATH").unwrap());
    balancer.with(options).with(&["--", "node", "-e", script])
}

/// Serves, on any port, and takes a while to be found.
const ON_ANOTHER_PORT: &str = "import http.server\n\
    print('warming \\x1b[31mup')\n\
    server = http.server.HTTPServer(('0.0.0.0', 0), http.server.SimpleHTTPRequestHandler)\n\
    server.serve_forever()";

/// Warnings whose message contains this.
fn warnings(cluster: &Cluster, text: &str) -> Vec<Value> {
    let is_it = |event: &Value| {
        event["level"] == "WARN" && event["message"].as_str().is_some_and(|message| message.contains(text))
    };
    cluster.events().into_iter().filter(is_it).collect()
}

fn events(cluster: &Cluster, text: &str) -> usize {
    let events = cluster.admin("/events").json();
    let all = events.as_array().unwrap().iter();
    all.filter(|event| event["detail"].as_str().unwrap().contains(text)).count()
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_program_on_another_port_is_told_where_it_listens_everywhere() {
    let cluster = python(1, &[], ON_ANOTHER_PORT).start();
    let warning = eventually("it is said", || warnings(&cluster, "listens on 0.0.0.0:").pop());
    let message = warning["message"].as_str().unwrap();
    let port = cluster.workers()[0]["port"].as_u64().unwrap();
    assert!(message.contains(&format!("not on $HOST:$PORT 127.0.0.1:{port}")), "{message}");
    assert!(message.contains("--startup-timeout"), "{message}");
    assert_eq!(warning["lastLines"], "warming up");
    assert_eq!(events(&cluster, "not on $HOST:$PORT"), 1);
    let reason = cluster.workers()[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("listens on 0.0.0.0:"), "{reason}");
    let (_, status, _) = cluster.operate(&["status"]);
    assert!(status.contains("not on $HOST:$PORT") && status.contains("| warming up"), "{status}");
    // As the text changes with the seconds, there have been further looks by then.
    eventually("it is looked at again", || {
        (cluster.workers()[0]["reason"].as_str()? != reason).then_some(())
    });
    assert_eq!(warnings(&cluster, "not ready after").len(), 1, "said once");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_program_on_the_ipv6_loopback_is_used_over_kill_and_reload() {
    let script = "require('node:http').createServer((request, answer) => \
        answer.end(String(process.pid))).listen(process.env.PORT, '::1')";
    let cluster = node(2, &[], script).start_ready();
    let on_ipv6 = || {
        cluster
            .workers()
            .iter()
            .all(|worker| worker["address"].as_str().is_some_and(|address| address.starts_with("[::1]:")))
    };
    assert!(on_ipv6(), "{:?}", cluster.workers());
    let first: u32 = cluster.get("/").text().parse().unwrap();
    assert!(cluster.operate(&["status"]).1.contains("[::1]:"));
    send_signal(first, Signal::KILL);
    eventually("it is replaced", || (!cluster.worker_pids().contains(&first)).then_some(()));
    cluster.wait_ready();
    assert!(on_ipv6() && cluster.get("/").status == 200);
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert!(on_ipv6() && cluster.get("/").status == 200);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_stranger_on_the_ipv6_loopback_is_not_taken_for_the_program() {
    let balancer = Balancer::cluster(1).env("PATH", &std::env::var("PATH").unwrap());
    let file = balancer.directory().join("port");
    let script = "import os, time\n\
        open(os.environ['PORT_FILE'] + '.new', 'w').write(os.environ['PORT'])\n\
        os.rename(os.environ['PORT_FILE'] + '.new', os.environ['PORT_FILE'])\n\
        time.sleep(1000)";
    let cluster =
        balancer.env("PORT_FILE", file.to_str().unwrap()).with(&["--", "python3", "-c", script]).start();
    let port: u16 = eventually("the program tells its port", || fs::read_to_string(&file).ok()?.parse().ok());
    let stranger = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
    thread::spawn(move || {
        for client in stranger.incoming() {
            let Ok(mut client) = client else { return };
            let _ = client.read(&mut [0; 1024]);
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    eventually("it is said", || warnings(&cluster, "listens on nothing yet, and sleeps").pop());
    assert_eq!(cluster.workers()[0]["state"], "starting");
}

/// Runs until it gives up after one try, and returns what is on standard error.
fn last_words(balancer: Balancer) -> String {
    let (code, text) = balancer_with_one_try(balancer).output();
    assert_eq!(code, 1, "{text}");
    let last = text.lines().position(|line| line.starts_with("balancer: no worker has ever been ready"));
    let last: Vec<_> = text.lines().skip(last.unwrap_or_else(|| panic!("{text}"))).collect();
    last.join("\n")
}

fn balancer_with_one_try(balancer: Balancer) -> Balancer {
    balancer
        .env("CLUSTER_GIVE_UP_AFTER", "1")
        .env("CLUSTER_STARTUP_TIMEOUT", "4s")
        .env("CLUSTER_HEALTH_TIMEOUT", "200ms")
        .env("CLUSTER_KILL_TIMEOUT", "200ms")
}

/// The beginning of programs that have a listening socket.
const LISTENS: &str = "import os, socket, sys, time\n\
    listener = socket.socket()\n\
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
    listener.bind((os.environ['HOST'], int(os.environ['PORT'])))\n\
    listener.listen()\n";
/// Answers each connection with `$answer`.
const ANSWERS: &str = "while True:\n\
    \x20 client = listener.accept()[0]\n\
    \x20 client.recv(1000)\n\
    \x20 client.sendall(answer)\n\
    \x20 client.close()\n";

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn each_way_of_not_getting_ready_has_its_words() {
    let answers = |answer: &str| format!("{LISTENS}answer = {answer}\n{ANSWERS}");
    let unix = "import socket, time\n\
        listener = socket.socket(socket.AF_UNIX)\n\
        listener.bind('x.sock')\n\
        listener.listen()\n\
        time.sleep(1000)";
    let daemon = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(1000)";
    let table: &[(String, &[&str], &[&str])] = &[
        (
            format!("{LISTENS}time.sleep(1000)"),
            &[],
            &["not ready within 4s (--startup-timeout): listens on", "accepts no connections"],
        ),
        (
            format!("{LISTENS}kept = []\nwhile True: kept.append(listener.accept())"),
            &[],
            &[
                "accepts connections on 127.0.0.1:",
                "has not answered GET /health within 200ms (--health-timeout)",
            ],
        ),
        (
            answers("b'HTTP/1.1 503 No\\r\\ncontent-length: 0\\r\\n\\r\\n'"),
            &[],
            &["answers GET /health with 503", "--health-path"],
        ),
        (
            answers("b'HTTP/1.1 404 No\\r\\ncontent-length: 0\\r\\n\\r\\n'"),
            &["--health-status", "200-399", "--health-path", "/up"],
            &["answers GET /up with 404", "--health-status"],
        ),
        (
            answers("b'220 mail ESMTP\\r\\n'"),
            &[],
            &["does not speak HTTP on 127.0.0.1:", "--health-path tcp"],
        ),
        (answers("b''"), &[], &["closes connections on", "does it speak HTTP"]),
        (unix.to_owned(), &[], &["listens on the Unix socket", "x.sock, not on $HOST:$PORT"]),
        ("while True: pass".to_owned(), &[], &["listens on nothing yet, and uses the processor: still busy"]),
        (
            "print('waiting'); import time; time.sleep(1000)".to_owned(),
            &[],
            &["nothing yet, and sleeps", "printed last:\n  waiting"],
        ),
        (
            daemon.to_owned(),
            &[],
            &["went into the background: the command has ended with code 0 and left", "python3 running"],
        ),
        (
            "print('built')".to_owned(),
            &[],
            &["ended with code 0 before it listened: is it a server?", "\n  built"],
        ),
        (
            "import nope".to_owned(),
            &[],
            &["exit status: 1", "\n  ModuleNotFoundError: No module named 'nope'"],
        ),
    ];
    thread::scope(|scope| {
        for part in table.chunks(4) {
            scope.spawn(move || {
                for (script, options, expected) in part {
                    let words = last_words(python(1, options, script));
                    assert!(expected.iter().all(|part| words.contains(part)), "{script}: {words}");
                }
            });
        }
    });
}

#[test]
fn the_bundled_worker_that_never_gets_ready_ends_the_cluster_as_well() {
    let words = last_words(Balancer::cluster(2).with(&["--health-path", "/nope"]));
    assert!(words.contains("each of the 2 workers has failed once"), "{words}");
    assert!(words.contains("answers GET /nope with 404"), "{words}");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_program_that_always_ends_has_five_tries_in_a_few_seconds() {
    let script = "import os, sys\n\
        open(os.environ['COUNT'], 'a').write('x')\n\
        sys.exit('no database')";
    let balancer = python(1, &[], script);
    let count = balancer.directory().join("count");
    fs::write(&count, "").unwrap();
    let kept = tempfile::NamedTempFile::new().unwrap();
    let balancer = balancer.env("COUNT", kept.path().to_str().unwrap());
    let start = Instant::now();
    let (code, text) = balancer.output();
    assert_eq!((code, fs::read_to_string(kept.path()).unwrap().len()), (1, 5), "{text}");
    assert!(
        text.contains("has failed 5 times (--give-up-after)") && text.contains("\n  no database"),
        "{text}"
    );
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let gave_up = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let gave_up = gave_up.filter(|line| line["level"] == "ERROR").collect::<Vec<_>>();
    assert_eq!(gave_up.len(), 1, "{gave_up:?}");
    assert_eq!(gave_up[0]["lastLines"], "no database");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn never_means_never_and_who_was_ready_once_is_tried_for_ever() {
    let restarts = |cluster: &Cluster| cluster.workers()[0]["restarts"].as_u64().unwrap();
    let never = python(1, &["--give-up-after", "never"], "exit(1)").start();
    eventually("it is tried a sixth time", || (restarts(&never) >= 5).then_some(()));
    let serves_once = format!(
        "{LISTENS}name = os.environ['SERVED']\n\
         if os.path.getsize(name) > 0: sys.exit('broken')\n\
         open(name, 'w').write('x')\n\
         answer = b'HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n'\n\
         {ANSWERS}"
    );
    let served = tempfile::NamedTempFile::new().unwrap();
    let cluster = python(1, &["--give-up-after", "2"], &serves_once);
    let cluster = cluster.env("SERVED", served.path().to_str().unwrap()).start_ready();
    send_signal(cluster.worker_pids()[0], Signal::KILL);
    eventually("it is tried a fifth time", || (restarts(&cluster) >= 5).then_some(()));
    let worker = eventually("the reason is shown", || {
        let worker = cluster.workers()[0].clone();
        worker["reason"].is_string().then_some(worker)
    });
    assert_eq!(worker["lastLines"][0], "broken");
}

/// A server in Node that goes by the file `$MODE_FILE`.
const BY_MODE: &str = "const mode = require('node:fs').readFileSync(process.env.MODE_FILE, 'utf8'); \
    if (mode === 'broken') { console.error('the migration is missing'); process.exit(1); } \
    require('node:http').createServer((request, answer) => { \
      answer.statusCode = Number(mode.split(' ')[0]); answer.end(request.headers.host); \
      if (request.url === '/health') console.log('asked for ' + request.headers.host); \
    }).listen(mode.split(' ')[2] ?? process.env.PORT, mode.split(' ')[1] ?? process.env.HOST)";

/// A cluster of that server, and what sets its mode.
fn by_mode(workers: u32, options: &[&str], mode: &str) -> (Cluster, impl Fn(&str) + use<>) {
    let balancer = node(workers, options, BY_MODE);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), mode).unwrap();
    let cluster = balancer.env("MODE_FILE", file.path().to_str().unwrap()).start_ready();
    (cluster, move |mode: &str| fs::write(file.path(), mode).unwrap())
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_reload_and_a_scale_that_fail_say_why_with_the_last_words() {
    let (cluster, set_mode) = by_mode(1, &[], "200");
    set_mode("broken");
    for arguments in [&["reload"][..], &["scale", "2"]] {
        let (code, _, err) = cluster.operate(arguments);
        assert_eq!(code, 1);
        assert!(err.contains("ended before it was ready: exit status: 1"), "{err}");
        assert!(err.contains("\n  the migration is missing"), "{err}");
    }
    let (_, out, _) = cluster.operate(&["reload", "--json"]);
    let failed: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(failed["lastLines"][0], "the migration is missing");
    let worker = &cluster.workers()[0];
    assert!(worker["state"] == "online" && worker["reason"].is_null(), "{worker}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn whoever_waits_for_a_reload_is_told_soon_where_the_new_program_listens() {
    let (cluster, set_mode) = by_mode(1, &["--startup-timeout", "5s"], "200");
    set_mode("200 127.0.0.1 0");
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("warning: worker 1: not ready after ") && out.contains("listens on 127.0.0.1:"),
        "{out}"
    );
    let words = "worker 1: not ready within 5s (--startup-timeout): listens on 127.0.0.1:";
    assert!(err.contains(words) && err.contains("not on $HOST:$PORT"), "{err}");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_command_that_goes_into_the_background_late_is_named_as_well() {
    let balancer = Balancer::cluster(1).env("PATH", &std::env::var("PATH").unwrap());
    let serves =
        format!("{LISTENS}answer = b'HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n'\n{ANSWERS}");
    let late = "python3 -c \"$0\" & read line < \"$FIFO\"; exit 0";
    let fifo = balancer.directory().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let balancer = balancer.env("FIFO", fifo.to_str().unwrap());
    let cluster = balancer.with(&["--", "sh", "-c", late, &serves]).start_ready();
    fs::write(&fifo, "go\n").unwrap();
    let warning = eventually("it is said", || warnings(&cluster, "went into the background").pop());
    assert!(warning["message"].as_str().unwrap().contains("python3 running"), "{warning}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn workers_beyond_loopback_are_warned_of_once_and_again_when_a_reload_brings_them_back() {
    let (cluster, set_mode) = by_mode(2, &[], "200 0.0.0.0");
    let count = || warnings(&cluster, "reach them past the balancer").len();
    eventually("it is said", || (count() == 1).then_some(()));
    let reload = |mode: &str| {
        set_mode(mode);
        assert_eq!(cluster.operate(&["reload"]).0, 0);
    };
    reload("200 0.0.0.0");
    assert_eq!(count(), 1, "nothing has changed");
    reload("200");
    assert_eq!(count(), 1);
    reload("200 0.0.0.0");
    assert_eq!(count(), 2, "{:#?}", cluster.log());
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn probes_ask_for_localhost_or_for_the_name_that_was_chosen() {
    for (options, host) in
        [(&[][..], "localhost"), (&["--health-host", "www.example.com:81"], "www.example.com:81")]
    {
        let (cluster, _) = by_mode(1, options, "200");
        let asked = format!("asked for {host}");
        eventually("it was asked", || cluster.log().iter().any(|line| line.contains(&asked)).then_some(()));
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_health_path_that_is_not_there_is_a_hint_and_worse_answers_after_a_reload_a_warning() {
    let (cluster, set_mode) = by_mode(2, &[], "200");
    let hints = || cluster.log().iter().filter(|line| line.contains("that counts as alive")).count();
    assert_eq!(hints(), 0);
    set_mode("404");
    let (code, out, _) = cluster.operate(&["reload"]);
    let words = "the new workers answer /health with 404, the old ones with 200";
    assert!(code == 0 && out.contains(&format!("warning: {words}")), "{out}");
    eventually("the log says it", || (warnings(&cluster, words).len() == 1).then_some(()));
    assert_eq!(events(&cluster, words), 1);
    assert_eq!(hints(), 1, "one for both workers");
    set_mode("200");
    let (code, out, _) = cluster.operate(&["reload"]);
    assert!(code == 0 && !out.contains("warning"), "{out}");
}
