//! The stores, against the same expectations and each against its own troubles.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod conformance;
mod embedded;
mod failover;
mod redis;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use shared_store::{Key, StateStore};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

async fn read(store: &Arc<dyn StateStore>, name: &str) -> Option<String> {
    store.get(&key(name)).await.unwrap().map(|value| value.get().to_owned())
}

/// Runs `call` and says how long it took.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (call.await, began.elapsed())
}

/// This test program again, to run one test of it that is ignored otherwise.
fn child(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--quiet"]);
    command
}
