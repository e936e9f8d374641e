//! What each framework goes through, and its row in the table.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use shared_testkit::connection::Connection;
use shared_testkit::eventually;
use shared_testkit::process::send_signal;

use crate::cluster::{Cluster, is_of};
use crate::example;
use crate::load::Load;

/// Size of the file that is downloaded from a server without a slow route: more than the
/// balancer and two sockets take for a client that does not read.
const LARGE: usize = 64 << 20;

/// A request that is in hand when the cluster is told to stop.
pub(crate) enum InHand {
    /// `GET /slow`, which takes a second.
    Slow,
    /// A download by a client that does not read yet, from this directory of the example.
    Download(&'static str),
}

/// What is known of a framework.
pub(crate) struct Framework {
    /// Its directory in `examples/`.
    pub(crate) name: &'static str,
    /// What it prints when it serves.
    pub(crate) started: &'static str,
    /// What it prints when it has stopped in order, if it says so.
    pub(crate) stopped: Option<&'static str>,
    pub(crate) in_hand: InHand,
    /// A client of its own, which Node runs with the cluster's URL, and what that prints.
    pub(crate) client: Option<(&'static str, &'static str)>,
}

impl Framework {
    /// One with a route `/slow` that says nothing when it stops.
    pub(crate) const fn new(name: &'static str, started: &'static str) -> Self {
        Self { name, started, stopped: None, in_hand: InHand::Slow, client: None }
    }

    pub(crate) const fn stopped(mut self, text: &'static str) -> Self {
        self.stopped = Some(text);
        self
    }

    /// Runs it through everything.
    pub(crate) fn check(&self) {
        let (mut cluster, first_answer) = Cluster::start(self.name);
        self.expect_lines(&cluster, "start", 1, 0);
        self.ask_as_its_client(&cluster);
        let reload = reload(&cluster);
        self.expect_lines(&cluster, "reload", 2, 1);
        self.ask_as_its_client(&cluster);
        let exits = cluster.exits().join(", ");
        let (victim, kill) = kill(&cluster);
        let ports: Vec<_> = cluster.online().into_iter().map(|(_, _, port)| port).collect();
        let request = self.request_in_hand(&cluster);
        let told = Instant::now();
        cluster.signal(Signal::TERM);
        let answered = request.join().unwrap();
        let status = cluster.wait();
        let stop = told.elapsed();
        let warnings = warnings(&cluster);
        let row = format!(
            "| {} | {:.2} | {} | {} | {:.2} | {} | {exits} | {} |\n",
            self.name,
            first_answer.as_secs_f64(),
            count(&reload),
            count(&kill),
            stop.as_secs_f64(),
            status.code().unwrap_or(-1),
            warnings.len()
        );
        print!("{row}");
        let rows = example::installed().join("rows");
        fs::create_dir_all(&rows).unwrap();
        fs::write(rows.join(self.name), row).unwrap();

        assert!(reload.1.is_empty(), "lost in reload: {:?}", reload.1);
        assert!(kill.1.is_empty(), "lost when worker {victim} was killed: {:?}", kill.1);
        assert!(answered, "the request in hand was cut off");
        assert!(status.success(), "{status}");
        self.expect_lines(&cluster, "stop", 2, 2);
        let unexpected: Vec<_> = warnings.iter().filter(|event| !is_of_the_kill(event, victim)).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
        assert_nothing_left(&cluster, &ports);
    }

    /// Each worker's own lines are in the log under its number, at least so often.
    fn expect_lines(&self, cluster: &Cluster, after: &str, started: usize, stopped: usize) {
        for worker in [1, 2] {
            eventually(&format!("worker {worker} says {:?} (after {after})", self.started), || {
                (cluster.said(worker, self.started) >= started).then_some(())
            });
            let Some(text) = self.stopped else { continue };
            eventually(&format!("worker {worker} says {text:?} (after {after})"), || {
                (cluster.said(worker, text) >= stopped).then_some(())
            });
        }
    }

    fn ask_as_its_client(&self, cluster: &Cluster) {
        let Some((script, prints)) = self.client else { return };
        let url = format!("http://{}", cluster.address);
        for _ in 0..5 {
            let client = Command::new("node").args([script, &url]).current_dir(&cluster.directory).output();
            let client = client.unwrap();
            let text = String::from_utf8_lossy(&client.stdout);
            assert!(text.starts_with(prints) && client.stderr.is_empty(), "{client:?}");
        }
    }

    /// Returns when a worker has the request; the thread tells whether it was answered whole.
    fn request_in_hand(&self, cluster: &Cluster) -> JoinHandle<bool> {
        let mut connection = Connection::open(cluster.address).unwrap();
        let (path, length) = match self.in_hand {
            InHand::Slow => ("/slow", None),
            InHand::Download(directory) => {
                fs::write(cluster.directory.join(directory).join("large"), vec![b'x'; LARGE]).unwrap();
                ("/large", Some(LARGE))
            }
        };
        let fields = [("host", "localhost"), ("connection", "close")];
        connection.send_as("GET", path, &fields, b"").unwrap();
        eventually("a worker has the request", || (cluster.in_flight() == 1).then_some(()));
        let address = cluster.address;
        thread::spawn(move || {
            if length.is_some() {
                // Only now does this client read.
                eventually("the balancer drains", || TcpStream::connect(address).is_err().then_some(()));
            }
            let answer = connection.receive(false);
            answer.is_ok_and(|answer| {
                answer.status == 200 && length.is_none_or(|length| answer.body.len() == length)
            })
        })
    }
}

/// Requests, and what went wrong with those that were lost.
type Outcome = (usize, Vec<String>);

fn count((requests, lost): &Outcome) -> String {
    format!("{} of {requests}", lost.len())
}

fn reload(cluster: &Cluster) -> Outcome {
    let load = Load::on(cluster.address);
    load.go_on_for(20);
    let before = cluster.online();
    cluster.reload();
    load.go_on_for(50);
    let after = cluster.online();
    assert!(
        after.iter().all(|(_, pid, _)| before.iter().all(|(_, old, _)| old != pid)),
        "{before:?} {after:?}"
    );
    load.finish()
}

/// Kills the program of one worker. Returns its number, too.
fn kill(cluster: &Cluster) -> (u64, Outcome) {
    let load = Load::on(cluster.address);
    load.go_on_for(20);
    let (id, victim, _) = cluster.online()[0];
    send_signal(victim, Signal::KILL);
    eventually("the killed worker is replaced", || {
        cluster.online().into_iter().find(|&(other, pid, _)| other == id && pid != victim)
    });
    load.go_on_for(50);
    (id, load.finish())
}

fn warnings(cluster: &Cluster) -> Vec<Value> {
    let notable = |event: &Value| event["level"] != "INFO" && event["level"] != "DEBUG";
    cluster.events().into_iter().filter(notable).collect()
}

/// That a worker has died of SIGKILL, or what its requests met then, is to be expected, once.
fn is_of_the_kill(event: &Value, victim: u64) -> bool {
    let message = event["message"].as_str().unwrap_or_default();
    is_of(event, victim) && (message.contains("signal: 9") || event["fault"].is_string())
}

/// Neither processes nor sockets.
fn assert_nothing_left(cluster: &Cluster, ports: &[u16]) {
    assert_eq!(cluster.processes(), Vec::<String>::new(), "processes are left");
    for &port in ports.iter().chain([&cluster.address.port()]) {
        assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "port {port} is not free");
    }
    assert!(!cluster.control().exists(), "the control socket is left");
}
