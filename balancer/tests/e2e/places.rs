//! Files and directories that are not what their names promise: pipes, directories that
//! may not be looked into or have been deleted, and a temporary directory without a name.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{Balancer, Cluster};

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A balancer whose shell does this in a directory `start`, before the balancer takes its place.
fn after(balancer: Balancer, script: &str) -> Balancer {
    fs::create_dir(balancer.directory().join("start")).unwrap();
    let script = format!("cd start && {script} exec \"$0\" \"$@\"");
    balancer.env("PATH", "/usr/bin:/bin").run_below("/bin/sh", &["-c", &script])
}

fn reloads(cluster: &Cluster) -> String {
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{out}{err}");
    out
}

#[test]
fn a_pipe_by_the_name_of_the_file_of_settings_is_not_waited_for() {
    let balancer = Balancer::cluster(1);
    pipe(&balancer.directory().join("cluster.toml"));
    let cluster = balancer.start_ready();
    assert!(!reloads(&cluster).contains("cluster.toml"));
    let (code, _, err) = cluster.operate(&["status"]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn settings_from_a_pipe_are_read_once() {
    let script = "mkfifo pipe && { echo 'workers = 2' > pipe & } &&";
    let balancer = Balancer::new(&["--port", "0", "--config", "pipe"]);
    let cluster = after(balancer, script).start_ready();
    assert_eq!(cluster.workers().len(), 2);
    assert!(!reloads(&cluster).contains("restart"), "nothing has changed");
}

#[test]
fn a_file_of_settings_has_an_end() {
    let (code, text) = Balancer::new(&["--port", "0", "--config", "/dev/zero"]).output();
    assert!(code == 2 && text.contains("could not read /dev/zero: it has more than 1 MiB"), "{text}");
}

/// `sudo -u somebody` in root's own directory.
#[test]
#[ignore = "needs root, setpriv: bash .ci/setup"]
fn a_directory_that_may_not_be_looked_into_has_no_settings() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("balancer");
    fs::copy(env!("CARGO_BIN_EXE_balancer"), &program).unwrap();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    for (path, mode) in [(place.path(), "755"), (&closed, "700")] {
        assert!(Command::new("chmod").arg(mode).arg(path).status().unwrap().success());
    }
    let check = Command::new("setpriv")
        .args(["--reuid", "1000001", "--regid", "1000001", "--clear-groups"])
        .arg(&program)
        .args(["check", "--workers", "1", "--port", "0", "--", "/bin/sh"])
        .current_dir(&closed)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && text.contains("warning   could not read .env"), "{text}");
    // One that is there and may not be read is somebody's intention.
    fs::write(closed.join("cluster.toml"), "workers = 1").unwrap();
    for (path, mode) in [(&closed, "755"), (&closed.join("cluster.toml"), "600")] {
        assert!(Command::new("chmod").arg(mode).arg(path).status().unwrap().success());
    }
    let refused = Command::new("setpriv")
        .args(["--reuid", "1000001", "--regid", "1000001", "--clear-groups"])
        .arg(&program)
        .args(["check", "--port", "0", "--", "/bin/sh"])
        .current_dir(&closed)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(text.contains("could not read cluster.toml: Permission denied"), "{text}");
}

#[test]
fn a_relative_file_is_not_looked_for_elsewhere_when_the_directory_is_gone() {
    let balancer = Balancer::cluster(1).with(&["--chdir", "/", "--env-file", "a.env", "--", "/bin/sh"]);
    let (code, text) = after(balancer, "rmdir ../start &&").output();
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("a.env is named relative to it") && !text.contains("/a.env"), "{text}");
}

#[test]
fn an_empty_name_of_the_temporary_directory_is_none() {
    let balancer = Balancer::cluster(1).env("TMPDIR", "");
    let mut cluster = after(balancer, "").start_ready();
    assert_eq!(fs::read_dir(cluster.directory().join("start")).unwrap().count(), 0);
    cluster.signal(rustix::process::Signal::TERM);
    assert!(cluster.wait().success());
}

#[test]
fn a_broken_file_keeps_nobody_from_the_cluster_that_is_named() {
    let cluster = Balancer::cluster(1).start_ready();
    fs::write(cluster.directory().join("cluster.toml"), "port = [\n").unwrap();
    let (code, out, err) = cluster.operate(&["status"]);
    assert_eq!(code, 0, "{out}{err}");
    let unnamed = Command::new(env!("CARGO_BIN_EXE_balancer"))
        .arg("status")
        .env_clear()
        .current_dir(cluster.directory())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&unnamed.stderr);
    assert!(!unnamed.status.success() && text.contains("cluster.toml line 1: not TOML"), "{text}");
}
