//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Longest that anything a test waits for may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives a value.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
