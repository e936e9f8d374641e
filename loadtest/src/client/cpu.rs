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
    /// Of the calling thread since it began: `/proc/thread-self/schedstat`, and
    /// where that is not there clock_gettime(2), which knows no waiting.
    pub fn of_this_thread() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let mut nanos = text.split_whitespace().map_while(|figure| figure.parse().ok());
        match (nanos.next(), nanos.next()) {
            (Some(used), Some(waited)) => {
                Self { used: Duration::from_nanos(used), waited: Duration::from_nanos(waited) }
            }
            _ => Self { used: clock(), waited: Duration::ZERO },
        }
    }

    pub fn since(self, earlier: Self) -> Self {
        Self {
            used: self.used.saturating_sub(earlier.used),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

fn clock() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_time_used() {
        let before = CpuTime::of_this_thread();
        let mut sum = 0_u64;
        while clock().as_millis() < 20 {
            sum = std::hint::black_box(sum + 1);
        }
        let used = CpuTime::of_this_thread().since(before).used.as_secs_f64();
        assert!((0.005..1.0).contains(&used), "{used}");
    }
}
