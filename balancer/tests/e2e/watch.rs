//! `balancer status --watch`: in place on a terminal, lines or JSON into a pipe.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Balancer, eventually, send_signal};

/// A watcher; dropping it kills it.
struct Watcher {
    child: Child,
    /// `None` once nobody reads any more.
    out: Option<BufReader<ChildStdout>>,
}

impl Watcher {
    fn start(control: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
        command.args(["status", "--watch", "--control"]).arg(control).args(arguments);
        Self::spawn(command)
    }

    /// Below script(1), which gives it a terminal.
    fn on_terminal(control: &Path, variables: &[(&str, &str)]) -> Self {
        let line =
            format!("exec {} status --watch --control {}", env!("CARGO_BIN_EXE_balancer"), control.display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        command
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .envs(variables.iter().copied());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().map(BufReader::new);
        Self { child, out }
    }

    /// The first line from here on that has `text`.
    fn line_with(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                self.out.as_mut().unwrap().read_line(&mut line).unwrap() > 0,
                "it ended before it said {text}: {seen:#?}"
            );
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
    }

    /// All that is said until `text` has been.
    fn until(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&said).ends_with(text) {
            let more = self.out.as_mut().unwrap().read(&mut byte).unwrap() > 0;
            assert!(more, "it ended before it said {text:?}: {:?}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        String::from_utf8(said).unwrap()
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually("the watcher ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn into_a_pipe_it_says_a_line_a_second_and_one_for_each_event() {
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control.sock");
    let name = control.to_str().unwrap();
    let mut cluster = Balancer::cluster(2).with(&["--control", name]).start_ready();
    let mut watcher = Watcher::start(&control, &[]);
    let line = watcher.line_with("ok ");
    assert!(line.contains("2/2 workers online") && !line.contains('\x1b'), "{line:?}");
    let line = watcher.line_with("requests/s");
    assert!(line.contains("in flight"), "{line:?}");
    let pid = cluster.worker_pids()[0];
    send_signal(pid, Signal::KILL);
    let line = watcher.line_with("crashed");
    assert!(
        line.contains(&format!("event  worker 1    crashed     signal: 9 (SIGKILL) (pid {pid})")),
        "{line:?}"
    );
    watcher.line_with("restart number 1");
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    drop(cluster);
    let line = watcher.line_with("away");
    assert!(line.contains("no cluster listens on") || line.contains("did not answer"), "{line:?}");
    let _cluster = Balancer::cluster(1).with(&["--control", name]).start_ready();
    watcher.line_with("event  worker 1    ready");
    watcher.line_with("1/1 workers online");
    send_signal(watcher.child.id(), Signal::INT);
    assert_eq!(watcher.exit_code(), Some(0));
}

#[test]
fn with_json_it_says_an_object_a_second() {
    let cluster = Balancer::cluster(2).start_ready();
    let mut watcher = Watcher::start(&cluster.control, &["--json"]);
    assert_eq!(cluster.get("/cluster/info").status, 200);
    let counted = |watcher: &mut Watcher| {
        let status: Value = serde_json::from_str(&watcher.line_with("{")).unwrap();
        assert_eq!(status["health"]["workers"]["desired"], 2);
        assert!(status["workers"][0]["stateSeconds"].as_f64().unwrap() >= 0.0);
        status["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|worker| worker["requests"].as_u64().unwrap())
            .sum::<u64>()
    };
    while counted(&mut watcher) == 0 {}
    drop(cluster);
    let gone: Value = serde_json::from_str(&watcher.line_with("error")).unwrap();
    assert!(gone["error"].is_string());
    // Whoever reads no further ends it.
    assert!(watcher.child.try_wait().unwrap().is_none());
    drop(watcher.out.take());
    assert_eq!(watcher.exit_code(), Some(0));
}

#[test]
fn on_a_terminal_it_draws_in_place_and_leaves_nothing_behind() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let mut watcher = Watcher::on_terminal(&cluster.control, &[]);
    let first = watcher.until("\x1b[J");
    assert!(first.contains("\x1b[?1049h\x1b[?25l\x1b[H"), "{first:?}");
    assert!(first.contains("\x1b[32mok\x1b[0m on") && first.contains("2/2 workers online"), "{first:?}");
    assert!(first.contains("worker 2    ready"), "{first:?}");
    let second = watcher.until("\x1b[J");
    assert!(second.starts_with("\x1b[H") && second.contains("requests/s"), "{second:?}");
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    watcher.until("AWAY for");
    assert!(watcher.until("\x1b[J").contains("workers online"), "what was last seen stays");
    // As the terminal does with Ctrl-C.
    watcher.child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    watcher.until("\x1b[?25h\x1b[?1049l");
    assert_eq!(watcher.exit_code(), Some(0));
}

#[test]
fn without_colours_a_terminal_gets_none() {
    let cluster = Balancer::cluster(1).start_ready();
    let mut watcher = Watcher::on_terminal(&cluster.control, &[("NO_COLOR", "1")]);
    let picture = watcher.until("\x1b[J");
    assert!(
        picture.contains("ok on http://") && !picture.contains("\x1b[3") && !picture.contains("\x1b[0m"),
        "{picture:?}"
    );
    send_signal(cluster.pid(), Signal::STOP);
    watcher.until("AWAY for");
    watcher.until("the cluster does not answer");
    send_signal(cluster.pid(), Signal::CONT);
    while watcher.until("\x1b[J").contains("AWAY") {}
}

#[test]
fn there_must_be_a_cluster_to_begin_with() {
    let cluster = Balancer::cluster(1).start_ready();
    let control = cluster.control.clone();
    drop(cluster);
    let mut watcher = Watcher::start(&control, &[]);
    assert_eq!(watcher.exit_code(), Some(1));
    let mut err = String::new();
    watcher.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("no cluster listens on"), "{err}");
}
