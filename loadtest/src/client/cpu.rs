//! What a thread of the load generator itself has used.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Time on a core, and time spent waiting for one, of the calling thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuTime {
    pub used: Duration,
    /// Runnable, but every core was taken. Zero where the kernel does not tell.
    pub waited: Duration,
}

impl CpuTime {
    /// Of the calling thread since it began (clock_gettime(2), and the second
    /// figure of `/proc/thread-self/schedstat`).
    pub fn of_this_thread() -> Self {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        let used = Duration::new(
            u64::try_from(used.tv_sec).unwrap_or_default(),
            u32::try_from(used.tv_nsec).unwrap_or_default(),
        );
        let waited = std::fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|text| text.split_whitespace().nth(1)?.parse().ok())
            .map_or(Duration::ZERO, Duration::from_nanos);
        Self { used, waited }
    }

    pub fn since(self, earlier: Self) -> Self {
        Self {
            used: self.used.saturating_sub(earlier.used),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}
