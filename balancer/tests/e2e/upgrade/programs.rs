//! Which executable an upgrade runs.

use std::fs;
use std::path::Path;

use super::{Last, failure, stop, try_upgrade, upgrade};
use crate::harness::Balancer;

fn place(path: &Path) {
    let own = env!("CARGO_BIN_EXE_balancer");
    fs::hard_link(own, path).or_else(|_| fs::copy(own, path).map(drop)).unwrap();
}

#[test]
fn a_relative_path_is_meant_from_where_the_first_one_was_started_and_what_lies_there_now_is_run() {
    let below = ["-c", "cd sub && shift && exec ./one \"$@\"", "sh"];
    let balancer = Balancer::cluster(1).run_below("/bin/sh", &below);
    let sub = balancer.directory().join("sub");
    fs::create_dir(&sub).unwrap();
    let path = sub.join("one");
    place(&path);
    let mut cluster = balancer.start_ready();
    let mut last = Last::none();
    fs::remove_file(&path).unwrap();
    let reason = failure(&try_upgrade(&cluster, &[], &[]));
    assert!(reason.contains("sub/one: No such file"), "{reason}");
    assert_eq!(cluster.get("/cluster/info").status, 200);
    place(&path);
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    assert!(cluster.wait().success());
    let running = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(running.ends_with("sub/one"), "{}", running.display());
    // By a relative path of the command's own directory.
    let other = cluster.directory().join("two");
    place(&other);
    let pid = upgrade(&cluster, &mut last, &["--executable", "./two"], &[]);
    assert!(fs::read_link(format!("/proc/{pid}/exe")).unwrap().ends_with("two"));
    stop(&cluster, pid);
}
