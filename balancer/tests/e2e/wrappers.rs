//! What people start servers with, above the balancer and below it: nothing is lost, nobody
//! is told twice, nothing is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use rustix::process::Signal;
use shared_process::tree::descendants;

use crate::harness::{Answer, Balancer, Cluster, Connection, eventually, is_alive, send_signal};
use crate::terminal::{CTRL_C, Terminal};

const NODE_MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/wrappers/node_modules");

/// A wrapper's name, and its command line for the command `{}`, which is one word. Scripts of
/// package.json run `{}` as well, in `{bin}` are npm's packages.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("npm, dash", &["env", "npm_config_script_shell=/bin/dash", "npm", "start"]),
    ("npm, bash", &["env", "npm_config_script_shell=/bin/bash", "npm", "start"]),
    ("npm 10, dash", &["env", "npm_config_script_shell=/bin/dash", "{npm10}", "start"]),
    ("npm 10, bash", &["env", "npm_config_script_shell=/bin/bash", "{npm10}", "start"]),
    ("npx", &["npx", "-c", "{}"]),
    ("pnpm, dash", &["env", "npm_config_script_shell=/bin/dash", "{bin}/pnpm", "start"]),
    ("pnpm, bash", &["env", "npm_config_script_shell=/bin/bash", "{bin}/pnpm", "start"]),
    ("yarn", &["{bin}/yarn", "start"]),
    ("cross-env", &["{bin}/cross-env", "A=1", "{}"]),
    ("concurrently", &["{bin}/concurrently", "--raw", "{}"]),
    ("nodemon", &["{bin}/nodemon", "--quiet", "--exec", "{}"]),
    ("dotenv", &["{bin}/dotenv", "--", "{}"]),
    ("timeout", &["timeout", "1000", "{}"]),
    ("pipeline", &["sh", "-c", "{} 2>&1 | cat"]),
    ("bash pipeline", &["bash", "-c", "{} 2>&1 | tee out"]),
    ("dumb-init", &["dumb-init", "{}"]),
    ("tini", &["tini", "--", "{}"]),
];

fn command_line(wrapper: &[&str], command: &str) -> Vec<String> {
    let npm10 = format!("{NODE_MODULES}/npm10/bin/npm-cli.js");
    let bin = format!("{NODE_MODULES}/.bin");
    assert!(Path::new(&bin).exists(), "no {bin}: run .ci/setup, which installs it with npm");
    let fill = |word: &&str| word.replace("{}", command).replace("{npm10}", &npm10).replace("{bin}", &bin);
    wrapper.iter().map(fill).collect()
}

/// A cluster of one worker, whose program and package.json run `command`.
fn prepare(balancer: Balancer, command: &str) -> Balancer {
    let directory = balancer.directory().to_str().unwrap().to_owned();
    let package = format!(r#"{{"name":"x","version":"1.0.0","scripts":{{"start":"{command}"}}}}"#);
    fs::write(balancer.directory().join("package.json"), package).unwrap();
    balancer
        .env("PATH", &std::env::var("PATH").unwrap())
        .env("HOME", &directory)
        .env("npm_config_update_notifier", "false")
        .env("NOTES", &format!("{directory}/notes"))
}

fn server() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/signals.py").to_owned()
}

/// What the program has noted, in order, without the pids.
fn notes(cluster: &Cluster) -> Vec<String> {
    let text = fs::read_to_string(cluster.directory().join("notes")).unwrap_or_default();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn in_flight(cluster: &Cluster) -> u64 {
    cluster.workers().iter().map(|worker| worker["inFlight"].as_u64().unwrap()).sum()
}

/// A request that takes so many seconds, once a worker has it.
fn ask(cluster: &Cluster, seconds: f64) -> thread::JoinHandle<std::io::Result<Answer>> {
    let mut connection = Connection::open(cluster.address).unwrap();
    connection.send("GET", &format!("/?s={seconds}"), &[("connection", "close")], b"").unwrap();
    eventually("a worker has it", || (in_flight(cluster) == 1).then_some(()));
    thread::spawn(move || connection.receive(false))
}

fn gone(pids: &[u32]) {
    eventually("nothing is left", || pids.iter().all(|&pid| !is_alive(pid)).then_some(()));
}

#[test]
#[ignore = "needs npm packages, dumb-init, tini and python3: bash .ci/setup"]
fn ctrl_c_through_wrappers_costs_no_request() {
    for (name, wrapper) in WRAPPERS {
        let balancer = prepare(Balancer::cluster(1), "./run").with(&["--", "python3", &server(), "alone"]);
        let (mut cluster, mut terminal) = Terminal::start(balancer, &command_line(wrapper, "./run"));
        cluster.wait_ready();
        let mut pids = descendants(cluster.pid());
        pids.push(cluster.pid());
        let asked = ask(&cluster, 1.5);
        terminal.press(CTRL_C);
        let answer = asked.join().unwrap();
        assert!(answer.as_ref().is_ok_and(|answer| answer.status == 200), "{name}: {answer:?}");
        cluster.wait();
        gone(&pids);
        let log = cluster.log();
        // These send SIGINT to each process below them, and so end servers that end by it: the
        // request is repeated.
        if ["concurrently", "nodemon"].contains(name) {
            assert_eq!(notes(&cluster).last().unwrap(), "closed", "{name}: {log:#?}");
            continue;
        }
        assert_eq!(notes(&cluster), ["up", "SIGTERM", "closed"], "{name}: {log:#?}");
    }
}

#[test]
#[ignore = "needs npm packages, dumb-init, tini and python3: bash .ci/setup"]
fn programs_below_wrappers_are_told_once_and_lose_no_request() {
    for (name, wrapper) in WRAPPERS {
        let balancer = prepare(Balancer::cluster(1), "./server");
        let server = format!("#!/bin/sh\nexec python3 '{}' alone\n", server());
        let path = balancer.directory().join("server");
        fs::write(&path, server).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let line = command_line(wrapper, "./server");
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut cluster = balancer.with(&["--"]).with(&line).start_ready();

        let (asked, before) = (ask(&cluster, 0.5), descendants(cluster.pid()));
        let (code, _, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{name}: {err}");
        assert_eq!(asked.join().unwrap().unwrap().status, 200, "{name}");
        gone(&before);
        assert_eq!(notes(&cluster), ["up", "up", "SIGTERM", "closed"], "{name}");

        if *name != "nodemon" {
            kill(name, &cluster);
        }
        let runs = notes(&cluster).len();
        let (asked, left) = (ask(&cluster, 0.5), descendants(cluster.pid()));
        cluster.signal(Signal::TERM);
        assert_eq!(asked.join().unwrap().unwrap().status, 200, "{name}");
        assert!(cluster.wait().success(), "{name}");
        gone(&left);
        assert_eq!(notes(&cluster)[runs..], ["SIGTERM", "closed"], "{name}");
        let forced = cluster.log().into_iter().filter(|line| line.contains("did not stop in time")).count();
        assert_eq!(forced, 0, "{name}");
    }
}

/// Kills the server with a request in hand, which its successor answers. nodemon is left out:
/// it goes on without its server until a file changes, so the request gets 502, and the
/// worker is replaced when it has missed its probes for long enough.
fn kill(name: &str, cluster: &Cluster) {
    let asked = ask(cluster, 0.5);
    let noted = fs::read_to_string(cluster.directory().join("notes")).unwrap();
    let victim = noted.lines().filter_map(|line| line.strip_prefix("up ")).next_back().unwrap();
    send_signal(victim.parse().unwrap(), Signal::KILL);
    let answer = asked.join().unwrap().unwrap();
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    cluster.wait_ready();
}
