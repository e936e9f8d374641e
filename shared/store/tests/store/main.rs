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

/// A process that uses a store; see the program for its arguments.
fn store_user() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_store-user"))
}
