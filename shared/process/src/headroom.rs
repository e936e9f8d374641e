//! What the machine has left: processors that nobody uses, and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use procfs::{Current, CurrentSI, KernelStats, Meminfo};

/// How long the processors that this process may run on have been idle since the machine's
/// start, all of them together, waits for disks included (proc_stat(5)); `None` where that is
/// not told.
pub fn idle() -> Option<Duration> {
    let stat = KernelStats::current().ok()?;
    let allowed = rustix::thread::sched_getaffinity(None).ok()?;
    let processors = stat.cpu_time.iter().enumerate().filter(|&(index, _)| allowed.is_set(index));
    Some(processors.map(|(_, time)| time.idle_duration() + time.iowait_duration().unwrap_or_default()).sum())
}

/// Bytes of memory that can be had without swapping: of the machine's (`MemAvailable` in
/// proc_meminfo(5)), or of the control group's or one above it, whatever is less. `None` where
/// nothing is told.
pub fn memory() -> Option<u64> {
    let machine = Meminfo::current().ok().and_then(|info| info.mem_available);
    machine.into_iter().chain(groups().iter().filter_map(|group| left_in(group))).min()
}

/// The directory of this process's control group, and those above it.
fn groups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // `0::/path` (cgroups(7), version 2).
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    root.join(path).ancestors().take_while(|group| group.starts_with(root)).map(Path::to_owned).collect()
}

/// What a control group's limit of memory leaves. File pages that were not used lately are
/// given back first, so that they do not count (as in the working set of Kubernetes).
fn left_in(group: &Path) -> Option<u64> {
    let number = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let (most, used) = (number("memory.max")?, number("memory.current")?);
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some(most.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_what_it_has_left() {
        assert!(idle().is_some_and(|idle| !idle.is_zero()));
        assert!(memory().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn a_group_with_a_limit_has_what_is_left_of_it() {
        let group = std::env::temp_dir().join(format!("headroom-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        let write = |name, text| fs::write(group.join(name), text).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(left_in(&group), None, "no limit");
        write("memory.max", "1000\n");
        write("memory.stat", "anon 500\ninactive_file 200\n");
        assert_eq!(left_in(&group), Some(500));
        fs::remove_dir_all(group).unwrap();
    }
}
