//! The embedded store's own troubles: several processes, sudden death, locks,
//! spoilt files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use shared_store::embedded::FILE_NAME;
use shared_store::{StateStore, StoreConfig, StoreError, open};

use super::{json, key, read, store_user, timed};

fn store(directory: &Path) -> Arc<dyn StateStore> {
    open(&StoreConfig::Embedded(directory.to_owned())).unwrap()
}

/// Another process that counts in the same store until it is killed.
struct Counter {
    process: Child,
    sums: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Counter {
    fn start(directory: &Path) -> Self {
        let mut process = store_user()
            .arg("count")
            .arg(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let sums = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, sums }
    }

    fn next(&mut self) -> Option<i64> {
        self.sums.next()?.ok()?.parse().ok()
    }

    /// How many sums were acknowledged since the last call of `next`, and the
    /// last of them.
    fn kill(&mut self) -> (i64, Option<i64>) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let mut count = 0;
        let mut last = None;
        while let Some(sum) = self.next() {
            count += 1;
            last = Some(sum);
        }
        (count, last)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn processes_that_open_a_new_database_at_once_count_together() {
    const EACH: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("new/state");
    let mut counters: Vec<Counter> = (0..4).map(|_| Counter::start(&place)).collect();
    let mut acknowledged = 0;
    for counter in &mut counters {
        for _ in 0..EACH {
            counter.next().expect("the process counts");
            acknowledged += 1;
        }
    }
    for counter in &mut counters {
        acknowledged += counter.kill().0;
    }
    let sum: i64 = read(&store(&place), "k").await.unwrap().parse().unwrap();
    // Each of the killed may have counted once more than it could tell.
    assert!((acknowledged..=acknowledged + 4).contains(&sum), "{sum} counted, {acknowledged} acknowledged");
}

#[tokio::test]
async fn a_writer_killed_at_any_moment_loses_nothing_and_blocks_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    for round in 0..15 {
        let before = store.increment(&key("k"), 0).await.unwrap();
        let mut counter = Counter::start(directory.path());
        counter.next().expect("the process counts");
        // Let it die in a different moment of its work each time.
        std::thread::sleep(Duration::from_micros(730 * round));
        let (more, last) = counter.kill();
        let (sum, took) = timed(store.increment(&key("k"), 0)).await;
        let sum = sum.unwrap();
        let acknowledged = last.unwrap_or(before + 1);
        assert_eq!(acknowledged, before + 1 + more);
        assert!(sum == acknowledged || sum == acknowledged + 1, "{sum} of {acknowledged}");
        assert!(took < Duration::from_millis(500), "the next writer waited {took:?}");
    }
}

#[tokio::test]
async fn a_lock_that_is_held_fails_writes_in_time_and_lets_reads_through() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.set(&key("k"), &json("1"), None).await.unwrap();
    let mut holder = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    let lock = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();

    // More than one, as the second also waits for the first.
    let writes = (0..3).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { timed(store.increment(&key("k"), 1)).await })
    });
    let writes: Vec<_> = writes.collect();
    let (value, took) = timed(read(&store, "k")).await;
    assert_eq!(value.as_deref(), Some("1"));
    assert!(took < Duration::from_millis(500), "the read waited {took:?}");
    for write in writes {
        let (result, took) = write.await.unwrap();
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
        assert!(took < Duration::from_secs(2), "the write took {took:?}");
    }
    lock.rollback().unwrap();
    assert_eq!(store.increment(&key("k"), 1).await, Ok(2), "none of the failed ones was counted late");
}

#[tokio::test]
async fn state_survives_a_restart_and_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    let first = store(&place);
    first.set(&key("k"), &json("\"kept\""), None).await.unwrap();
    drop(first);
    assert_eq!(read(&store(&place), "k").await.as_deref(), Some("\"kept\""));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    assert_eq!(mode(&place.join(FILE_NAME)), 0o600);
}

#[tokio::test]
async fn a_write_into_files_that_were_removed_is_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for how in ["removed", "moved"] {
        let place = directory.path().join(how);
        let store = store(&place);
        store.set(&key("k"), &json("1"), None).await.unwrap();
        match how {
            "removed" => fs::remove_dir_all(&place).unwrap(),
            _ => fs::rename(&place, directory.path().join("aside")).unwrap(),
        }
        // Nobody has looked at the files since.
        let refused = store.set(&key("k"), &json("2"), None).await;
        assert!(matches!(refused, Err(StoreError::Lost(_))), "{how}: {refused:?}");
        for refused in [store.increment(&key("n"), 1).await.err(), store.delete(&key("k")).await.err()] {
            assert!(matches!(refused, Some(StoreError::Lost(_))), "{how}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let reason = |place: &Path| match open(&StoreConfig::Embedded(place.to_owned())) {
        Ok(_) => panic!("{} was opened", place.display()),
        Err(err) => err.to_string(),
    };

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let text = reason(&file.join("state"));
    assert!(text.contains("--state-dir") && text.contains("file/state"), "{text}");

    fs::write(directory.path().join(FILE_NAME), "no database, but quite long ".repeat(100)).unwrap();
    let text = reason(directory.path());
    assert!(text.contains("not a database") && text.contains("move the file away"), "{text}");

    let taken = directory.path().join("taken");
    fs::create_dir_all(taken.join(FILE_NAME)).unwrap();
    assert!(reason(&taken).contains("directory"));
}

#[tokio::test]
async fn a_file_that_is_spoilt_later_is_reported_and_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(directory.path());
    let large = json(&format!("\"{}\"", "x".repeat(200_000)));
    for index in 0..10 {
        first.set(&key(&format!("k{index}")), &large, None).await.unwrap();
    }
    drop(first);
    // The last connection to close has moved everything into the main file.
    let path = directory.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    assert!(length > 1_000_000, "the values are in this file: {length}");
    bytes[4096..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let result = match open(&StoreConfig::Embedded(directory.path().to_owned())) {
        Ok(store) => store.get(&key("k3")).await.map(|_| ()),
        Err(err) => Err(err),
    };
    assert!(matches!(result, Err(StoreError::Corrupt(_) | StoreError::Open { .. })), "{result:?}");
}
