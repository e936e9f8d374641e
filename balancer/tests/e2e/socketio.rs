//! Socket.IO: its sessions are in the memory of one worker, so that all requests of a
//! client have to go there. Real servers and clients.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Balancer, Cluster};

const CLIENTS: usize = 25;
const POLLING: &[&str] = &["polling"];
const WEBSOCKET: &[&str] = &["websocket"];
const UPGRADE: &[&str] = &["polling", "websocket"];

fn modules() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("target/socketio/node_modules").to_str().unwrap().to_owned()
}

fn script(name: &str) -> String {
    format!("{}/tests/e2e/programs/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn start(options: &[&str]) -> Cluster {
    let command = ["--", "node", &script("socketio-server.js")];
    Balancer::cluster(4)
        .with(options)
        .with(&command)
        .env("PATH", &std::env::var("PATH").unwrap())
        .env("NODE_PATH", &modules())
        .start_ready()
}

/// A Node process with clients; it is killed when this is dropped.
struct Clients {
    process: Child,
    output: BufReader<ChildStdout>,
}

/// What became of one client.
#[derive(Debug)]
struct Outcome {
    /// The worker that answered all of its questions.
    worker: Option<String>,
    transport: String,
    /// All that was said of it.
    said: Value,
}

impl Clients {
    /// `keyed` says in what each one has a name of its own.
    fn start(cluster: &Cluster, transports: &[&str], keyed: &str, reconnect: bool) -> Self {
        let url = format!("http://{}", cluster.address);
        let what = json!({
            "url": url, "count": CLIENTS, "keyed": keyed, "reconnect": reconnect,
            "options": { "transports": transports },
        });
        let mut process = Command::new("node")
            .args([script("socketio-clients.js"), what.to_string()])
            .env("NODE_PATH", modules())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed (see .ci/setup)");
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        outcomes(&serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line:?}")))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn outcomes(clients: &Value) -> Vec<Outcome> {
    let outcome = |said: &Value| {
        let answers: HashSet<_> =
            said["answers"].as_array().into_iter().flatten().map(Value::to_string).collect();
        let worker = if answers.len() == 1 { answers.into_iter().next() } else { None };
        Outcome {
            worker,
            transport: said["transport"].as_str().unwrap_or_default().to_owned(),
            said: said.clone(),
        }
    };
    clients.as_array().unwrap().iter().map(outcome).collect()
}

/// The workers of all clients, each of which had one, and the transport that was last.
fn workers(outcomes: &[Outcome], transports: &[&str]) -> Vec<String> {
    assert_eq!(outcomes.len(), CLIENTS);
    let last = transports.last().unwrap();
    let worker = |outcome: &Outcome| {
        assert_eq!(outcome.transport, *last, "{:?}", outcome.said);
        outcome.worker.clone().unwrap_or_else(|| panic!("{:?}", outcome.said))
    };
    outcomes.iter().map(worker).collect()
}

fn distinct(workers: &[String]) -> usize {
    workers.iter().collect::<HashSet<_>>().len()
}

#[test]
#[ignore = "needs npm packages: bash .ci/setup"]
fn clients_without_cookies_stay_with_their_worker_by_a_key() {
    for (key, keyed) in [("header:X-Client", "header"), ("query:client", "query"), ("client-ip", "address")] {
        let cluster = start(&["--strategy", "hash", "--hash-key", key, "--trust-forwarded"]);
        let mut all = Vec::new();
        for transports in [UPGRADE, POLLING, WEBSOCKET] {
            let outcomes = Clients::start(&cluster, transports, keyed, false).outcomes();
            all.push(workers(&outcomes, transports));
        }
        assert!(all.iter().all(|workers| *workers == all[0]), "{key}: {all:?}");
        assert_eq!(distinct(&all[0]), 4, "{key}: {all:?}");
    }
}

#[test]
#[ignore = "needs npm packages: bash .ci/setup"]
fn clients_stay_with_their_worker_by_address_alone() {
    let cluster = start(&["--strategy", "hash"]);
    for transports in [UPGRADE, POLLING, WEBSOCKET] {
        let outcomes = Clients::start(&cluster, transports, "", false).outcomes();
        assert_eq!(distinct(&workers(&outcomes, transports)), 1, "all of them are here");
    }
}

#[test]
#[ignore = "needs npm packages: bash .ci/setup"]
fn clients_with_cookies_stay_with_their_worker_and_others_do_not() {
    let cluster = start(&["--strategy", "sticky"]);
    for transports in [UPGRADE, POLLING] {
        let outcomes = Clients::start(&cluster, transports, "cookie", false).outcomes();
        assert_eq!(distinct(&workers(&outcomes, transports)), 4);
    }
    let outcomes = Clients::start(&cluster, POLLING, "", false).outcomes();
    let lost = outcomes.iter().filter(|outcome| outcome.said["error"].is_string()).count();
    assert!(lost > CLIENTS / 2, "without a cookie and a key there is no way: {outcomes:?}");
}

#[test]
#[ignore = "needs npm packages: bash .ci/setup"]
fn clients_that_reconnect_after_a_reload_find_the_same_slot() {
    for (options, keyed, transports) in [
        (&["--strategy", "hash", "--hash-key", "header:X-Client"][..], "header", UPGRADE),
        (&["--strategy", "hash", "--hash-key", "query:client"], "query", WEBSOCKET),
    ] {
        let cluster = start(&[options, &["--drain-timeout", "1s"]].concat());
        let mut clients = Clients::start(&cluster, transports, keyed, true);
        let before = workers(&clients.outcomes(), transports);
        let (code, _, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(workers(&clients.outcomes(), transports), before, "{options:?}");
        assert!(distinct(&before) > 1);
    }
}

#[test]
#[ignore = "needs npm packages: bash .ci/setup"]
fn a_browser_stays_with_its_worker_by_cookie_and_by_address() {
    let browser = Browser::start();
    for options in [&["--strategy", "sticky"][..], &["--strategy", "hash"]] {
        let cluster = start(options);
        browser.open(&format!("http://{}/", cluster.address));
        for transports in [UPGRADE, POLLING, WEBSOCKET] {
            let script = format!(
                "const done = arguments[0]; connect({CLIENTS}, {}).then(done)",
                json!({ "transports": transports })
            );
            let outcomes = outcomes(&browser.run_async(&script));
            let workers = workers(&outcomes, transports);
            assert_eq!(distinct(&workers), 1, "{options:?} {transports:?}: {workers:?}");
        }
    }
}

#[test]
#[ignore = "needs npm packages: bash .ci/setup"]
fn a_browser_that_reconnects_after_a_reload_finds_the_same_slot() {
    let browser = Browser::start();
    let cluster = start(&["--strategy", "sticky", "--drain-timeout", "1s"]);
    for transports in [UPGRADE, WEBSOCKET] {
        // Newcomers take turns: this one would come to another worker without its cookie.
        browser.open(&format!("http://{}/", cluster.address));
        browser.run(&format!("stay({})", json!({ "transports": transports })));
        browser.until("it is connected", "return seen.length === 1");
        let (code, _, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{err}");
        browser.until("it is back", "return seen.length >= 2");
        let seen = browser.run("return seen");
        assert_eq!(seen[0], seen[1]);
    }
}
