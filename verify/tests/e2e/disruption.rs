//! The disruptive checks, against balancers that cannot cope.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use crate::harness::verify;
use crate::misbehaving::{Fault, Server, orphan, proxy};

const FAULT_VARIABLE: &str = "MISBEHAVING_BALANCER";
const ARGUMENTS_VARIABLE: &str = "MISBEHAVING_ARGUMENTS";

/// This very program is the balancer, when a wrapper says so.
#[test]
#[ignore = "it is the balancer of the other tests and runs until it is killed"]
fn misbehaving_balancer() {
    let name = std::env::var(FAULT_VARIABLE).expect("the wrapper says what is to be wrong");
    let fault = Fault::named(&name).expect("the wrapper names a fault of the table");
    let arguments = std::env::var(ARGUMENTS_VARIABLE).unwrap_or_default();
    if let Some(every) = fault.loses_one_in() {
        proxy::run(every, &arguments);
    }
    let redis: Option<SocketAddr> =
        arguments.split_once("redis://").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let server = Server::at(([127, 0, 0, 1], 0).into(), fault, redis);
    let _orphan = (fault == Fault::LeavesOrphan).then(orphan);
    eprintln!("{{\"address\": \"{}\"}}", server.address);
    loop {
        thread::park();
    }
}

/// How this very program is started to be a balancer with a fault.
fn own(fault: Fault) -> String {
    format!(
        "{ARGUMENTS_VARIABLE}=\"$*\" {FAULT_VARIABLE}={fault:?} exec '{}' \
         --exact disruption::misbehaving_balancer --ignored --nocapture",
        std::env::current_exe().unwrap().display()
    )
}

/// Writes a program that is a balancer with a fault.
pub fn balancer_with(fault: Fault, directory: &Path) -> PathBuf {
    // Lets the proxy know that a change goes on.
    let marked = format!(
        "reload|scale) : > '{mark}'; \"$real\" \"$@\"; code=$?; rm -f '{mark}'; exit $code ;;\n*) {} {} ;;",
        format_args!("{}='{}'", proxy::MARK_VARIABLE, proxy::mark(directory).display()),
        own(fault),
        mark = proxy::mark(directory).display(),
    );
    let cases = match fault {
        Fault::ReloadDrops | Fault::ScaleDrops => &marked,
        Fault::ReloadOnlySaysSo | Fault::BrokenReloadSaysOk => "reload) exit 0 ;;",
        Fault::ScaleOnlySaysSo => "scale) exit 0 ;;",
        // The status has a worker's pid behind its id.
        Fault::BrokenReloadKills => {
            "reload) pids=$(\"$real\" status --json \"$2\" \"$3\" | tr -d ' \\n' \
             | grep -o '\"id\":[0-9]*,\"pid\":[0-9]*' | grep -o '[0-9]*$')\n\
             kill -KILL $pids; echo rolled back >&2; exit 1 ;;"
        }
        _ => &format!("*) {} ;;", own(fault)),
    };
    lying(directory, cases)
}

/// A made-up cluster in a process of its own, for what is seen in processes.
pub struct Apart {
    child: Child,
    pub address: SocketAddr,
    /// Whoever writes to a pipe without a reader is killed.
    _stderr: BufReader<ChildStderr>,
    _directory: tempfile::TempDir,
}

impl Apart {
    pub fn start(fault: Fault) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // By its shell: another thread's child may hold the script open just now.
        let mut command = Command::new("sh");
        command.arg(balancer_with(fault, directory.path()));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it says where it listens");
            if let Some(address) = proxy::address(&line) {
                break address;
            }
        };
        Self { child, address, _stderr: stderr, _directory: directory }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_balancer_that_does_not_start_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balancer");
    std::fs::write(&path, "#!/bin/sh\necho no such luck >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = verify(&["--spawn", "--balancer", path.to_str().unwrap()]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("exit status: 7 at start; its last words: no such luck"), "{outcome:?}");
}

/// The balancer itself, with other answers of its subcommands.
fn lying(directory: &Path, cases: &str) -> PathBuf {
    let real = crate::harness::balancer();
    let path = directory.join("balancer");
    let script = format!(
        "#!/bin/sh\nreal='{}'\ncase \"$1\" in\n{cases}\nesac\nexec \"$real\" \"$@\"\n",
        real.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_balancer_without_a_subcommand_is_not_judged_by_it() {
    for (cases, check) in [("reload) exit 2 ;;", "reload"), ("scale) exit 2 ;;", "scale")] {
        let directory = tempfile::tempdir().unwrap();
        let path = lying(directory.path(), cases);
        let path = path.to_str().unwrap();
        let arguments =
            ["--spawn", "--workers", "2", "--balancer", path, "--only", check, "--format", "json"];
        let judged = verify(&arguments);
        assert_eq!((judged.of(check).as_str(), judged.code), ("inconclusive", 4), "{cases}: {judged:?}");
    }
}
