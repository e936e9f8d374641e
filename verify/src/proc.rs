//! What the operating system tells of processes on this machine (proc(5)).

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Does the process exist? A zombie does not count.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X")))
}

/// The parent's process id.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Open file descriptors, when this user may count them.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The fields of /proc/PID/stat after the name, beginning with the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; its end is the last bracket.
    Some(text.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

/// One process, told from a later one with the same pid by when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// In clock ticks since boot (proc_pid_stat(5), field 22).
    started: u64,
}

impl Process {
    pub fn of(pid: u32) -> Option<Self> {
        let started = stat(pid)?.get(19)?.parse().ok()?;
        Some(Self { pid, started })
    }

    pub fn is_alive(self) -> bool {
        is_alive(self.pid) && Self::of(self.pid) == Some(self)
    }
}

/// All descendants of a process, children first.
pub fn descendants(pid: u32) -> Vec<Process> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1).into_iter().filter_map(Process::of).collect()
}

/// Sends a signal; a process that is gone already is none of our concern.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

/// Runs `work` on a thread of its own, so that the event loop goes on.
pub async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Waits until none of `processes` is alive; returns the pids of those that are.
pub async fn gone_within(processes: &[Process], limit: Duration) -> Vec<u32> {
    let alive = || processes.iter().filter(|one| one.is_alive()).map(|one| one.pid).collect::<Vec<_>>();
    let gone = crate::load::eventually(limit, || async { alive().is_empty().then_some(()) }).await;
    if gone.is_some() { Vec::new() } else { alive() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let own = std::process::id();
        assert!(is_alive(own));
        assert!(parent(own).is_some_and(|parent| parent > 0));
        assert!(descriptors(own).is_some_and(|count| count >= 3));
        assert!(resident(own).is_some_and(|bytes| bytes > 100_000));
        assert!(!is_alive(u32::MAX / 2));
        assert_eq!(descriptors(u32::MAX / 2), None);
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive());
        assert!(descendants(std::process::id()).contains(&process));
        signal(child.id(), Signal::KILL);
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(!Process { started: 0, ..process }.is_alive());
    }
}
