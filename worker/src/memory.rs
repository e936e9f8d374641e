//! How much memory this process uses: from the kernel (`/proc/self/status`,
//! proc_pid_status(5)) and from the allocator's own statistics (malloc_info(3)).

use std::cell::RefCell;
use std::fs;
use std::time::{Duration, Instant};

use malloc_info::info::{AspaceType, Malloc, SystemType, TotalType};
use serde::Serialize;
use shared_protocol::megabytes;
use utoipa::ToSchema;

/// How old the figures of [`recent`] may be.
const RECENT: Duration = Duration::from_millis(100);

/// Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) rss: u64,
    /// Resident at most, so far.
    pub(crate) peak_rss: u64,
    /// Mapped address space.
    pub(crate) r#virtual: u64,
    /// Handed out by the allocator and not given back.
    pub(crate) heap_used: u64,
    /// Taken from the kernel by the allocator.
    pub(crate) heap_total: u64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let (heap_used, heap_total) = heap();
        let rss = field(&status, "VmRSS:");
        Self {
            rss,
            // The kernel updates the peak a little later than the current value.
            peak_rss: field(&status, "VmHWM:").max(rss),
            r#virtual: field(&status, "VmSize:"),
            heap_used,
            heap_total,
        }
    }
}

/// "VmRSS:     9500 kB" in bytes; 0 when the kernel does not tell.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn heap() -> (u64, u64) {
    malloc_info::malloc_info().map(|info| heap_of(&info)).unwrap_or_default()
}

/// Used and total bytes over all arenas and all blocks mapped on their own.
fn heap_of(info: &Malloc) -> (u64, u64) {
    let total = |kind: &TotalType| -> u64 {
        info.total.iter().filter(|total| total.r#type == *kind).map(|total| total.size as u64).sum()
    };
    let system = info.system.iter().filter(|system| system.r#type == SystemType::Current);
    let arenas: u64 = system.map(|system| system.size as u64).sum();
    debug_assert!(info.aspace.iter().any(|space| space.r#type == AspaceType::Total));
    let free = total(&TotalType::Fast) + total(&TotalType::Rest);
    let mapped = total(&TotalType::Mmap);
    (arenas.saturating_sub(free) + mapped, arenas + mapped)
}

/// The figures that `GET /cluster/info` shows, as text.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemoryText {
    #[schema(example = "45.23 MB")]
    pub(crate) rss: String,
    #[schema(example = "15.67 MB")]
    pub(crate) heap_used: String,
    #[schema(example = "20.00 MB")]
    pub(crate) heap_total: String,
}

thread_local! {
    /// Each event-loop thread has its own, so that none waits for another.
    static LAST: RefCell<Option<(Instant, MemoryText)>> = const { RefCell::new(None) };
}

/// Hands `use_it` figures that are at most 100 ms old: reading them anew takes
/// longer than the rest of a request.
pub(crate) fn recent<T>(now: Instant, use_it: impl FnOnce(&MemoryText) -> T) -> T {
    LAST.with_borrow_mut(|last| {
        let fresh = last.take_if(|(at, _)| now.duration_since(*at) < RECENT);
        let (_, text) = last.insert(fresh.unwrap_or_else(|| (now, text(&Memory::now()))));
        use_it(text)
    })
}

fn text(memory: &Memory) -> MemoryText {
    MemoryText {
        rss: megabytes(memory.rss),
        heap_used: megabytes(memory.heap_used),
        heap_total: megabytes(memory.heap_total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_form() {
        let status = "Name:\tworker\nVmPeak:\t  70000 kB\nVmSize:\t  68000 kB\nVmRSS:\t    9500 kB\n";
        assert_eq!(field(status, "VmRSS:"), 9500 * 1024);
        assert_eq!(field(status, "VmHWM:"), 0);
    }

    #[test]
    fn the_heap_figures_follow_what_is_allocated() {
        let before = Memory::now();
        let block = std::hint::black_box(vec![1_u8; 8 << 20]);
        let after = Memory::now();
        assert!(after.heap_used >= before.heap_used + (8 << 20), "{before:?} {after:?}");
        assert!(after.heap_total >= after.heap_used);
        assert!(after.peak_rss >= after.rss && after.r#virtual > after.rss, "{after:?}");
        drop(block);
        assert!(Memory::now().heap_used < after.heap_used);
    }

    #[test]
    fn recent_figures_are_kept_for_100_ms() {
        let now = Instant::now();
        let read = |at| recent(at, |text| text.heap_used.clone());
        let first = read(now);
        let block = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert_eq!(read(now + RECENT / 2), first);
        assert_ne!(read(now + RECENT), first);
        drop(block);
    }
}
