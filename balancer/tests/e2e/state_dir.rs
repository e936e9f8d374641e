//! The directory of the embedded store is removed, replaced or damaged while a cluster
//! uses it: no two workers ever have different states.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Balancer, Cluster, eventually, send_signal};

const ADVICE: &str = "restart the whole cluster";

/// Three workers and their state, in which something is counted already.
fn cluster(parent: &Path) -> (Cluster, PathBuf) {
    let state = parent.join("state");
    let cluster = Balancer::cluster(3).with(&["--state-dir", state.to_str().unwrap()]).start_ready();
    assert_eq!(count(&cluster, 6), (1..=6).collect::<Vec<_>>());
    (cluster, state)
}

/// The sums that were acknowledged of so many increments; the others were refused.
fn count(cluster: &Cluster, times: usize) -> Vec<u64> {
    let answers = (0..times).map(|_| cluster.post("/cluster/shared-state/hits/increment", &json!({"by": 1})));
    let sums = answers.filter_map(|answer| match answer.status {
        200 => answer.json()["value"].as_u64(),
        _ => {
            answer.problem(503);
            assert!(answer.text().contains(ADVICE), "{}", answer.text());
            None
        }
    });
    sums.collect()
}

/// Counts until each worker refuses to. No sum is acknowledged twice meanwhile.
fn refused_by_all(cluster: &Cluster, mut last: u64) {
    eventually("all workers refuse", || {
        let sums = count(cluster, 6);
        for sum in &sums {
            assert!(*sum > last, "{sum} after {last}: there are two states");
            last = *sum;
        }
        sums.is_empty().then_some(())
    });
}

fn kill_one(cluster: &Cluster) {
    let victim = cluster.worker_pids()[0];
    send_signal(victim, Signal::KILL);
    eventually("it is replaced", || {
        let workers = cluster.workers();
        let pids: BTreeSet<_> = workers.iter().filter_map(|worker| worker["pid"].as_u64()).collect();
        let online = workers.iter().all(|worker| worker["state"] == "online");
        (online && pids.len() == 3 && !pids.contains(&u64::from(victim))).then_some(())
    });
}

fn assert_said(cluster: &Cluster) {
    eventually("health says it", || {
        let health = cluster.get("/health").json();
        let problem = health["store"]["problem"].as_str().unwrap_or_default().to_owned();
        (health["status"] == "degraded" && health["store"]["reachable"] == false && problem.contains(ADVICE))
            .then_some(())
    });
    eventually("the log says it", || {
        cluster.log().iter().any(|line| line.contains("while the cluster ran")).then_some(())
    });
    assert_eq!(cluster.get("/cluster/info").status, 200, "the rest goes on");
}

#[test]
fn a_state_directory_that_is_removed_is_missed_by_all_workers() {
    let parent = tempfile::tempdir().unwrap();
    let (mut cluster, state) = cluster(parent.path());
    fs::remove_dir_all(&state).unwrap();
    refused_by_all(&cluster, 6);
    assert_said(&cluster);
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    drop(cluster);
    let state = state.to_str().unwrap().to_owned();
    let cluster = Balancer::cluster(3).with(&["--state-dir", &state]).start_ready();
    assert_eq!(count(&cluster, 6), (1..=6).collect::<Vec<_>>(), "a restart begins anew");
    assert_eq!(cluster.get("/health").json()["store"], json!({"backend": "embedded", "reachable": true}));
}

#[test]
fn a_worker_that_starts_without_the_state_directory_makes_none() {
    let parent = tempfile::tempdir().unwrap();
    let (cluster, state) = cluster(parent.path());
    fs::remove_dir_all(&state).unwrap();
    kill_one(&cluster);
    refused_by_all(&cluster, 6);
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(count(&cluster, 6).is_empty());
    assert_said(&cluster);
    assert!(!state.exists(), "only the primary creates it");
}

#[test]
fn a_temporary_state_directory_that_is_swept_is_not_made_anew() {
    let cluster = Balancer::cluster(3).start_ready();
    assert_eq!(count(&cluster, 3), [1, 2, 3]);
    let entries = fs::read_dir(cluster.directory()).unwrap().map(|entry| entry.unwrap().path());
    let state = entries.into_iter().find(|path| path.to_string_lossy().contains("cluster-state-")).unwrap();
    fs::remove_dir_all(&state).unwrap();
    kill_one(&cluster);
    refused_by_all(&cluster, 3);
    assert_said(&cluster);
}

#[test]
fn another_directory_in_its_place_is_not_taken_for_it() {
    let parent = tempfile::tempdir().unwrap();
    let (cluster, state) = cluster(parent.path());
    let aside = parent.path().join("aside");
    fs::rename(&state, &aside).unwrap();
    fs::create_dir(&state).unwrap();
    for entry in fs::read_dir(&aside).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
    }
    kill_one(&cluster);
    refused_by_all(&cluster, 6);
    assert_said(&cluster);
    // What was only moved is the same again; those that have it open go on.
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    eventually("some count again", || (!count(&cluster, 3).is_empty()).then_some(()));
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    let sums = count(&cluster, 6);
    assert!(sums.len() == 6 && sums.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sums:?}");
}

#[test]
fn each_of_its_files_is_missed() {
    for name in ["state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"] {
        let parent = tempfile::tempdir().unwrap();
        let (cluster, state) = cluster(parent.path());
        fs::remove_file(state.join(name)).unwrap();
        kill_one(&cluster);
        refused_by_all(&cluster, 6);
        assert_said(&cluster);
        assert!(!state.join(name).exists(), "{name}");
    }
}

#[test]
fn a_directory_in_which_nothing_can_be_kept_is_refused_at_the_start() {
    let parent = tempfile::tempdir().unwrap();
    let damaged = parent.path().join("damaged");
    fs::create_dir(&damaged).unwrap();
    fs::write(
        damaged.join("state.sqlite3"),
        "no database, and long enough to be told from an empty one".repeat(99),
    )
    .unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    // Nothing can be created there, even by root.
    for (directory, words) in
        [(Path::new("/proc/sys"), "--state-dir"), (&damaged, "move the file away"), (&file, "--state-dir")]
    {
        let arguments = ["--port", "0", "--workers", "2", "--state-dir", directory.to_str().unwrap()];
        let (code, text) = Balancer::new(&arguments).output();
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(words) && text.contains(directory.to_str().unwrap()), "{text}");
    }
}
