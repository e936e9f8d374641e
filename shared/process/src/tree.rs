//! What the system tells of a process and its descendants: who they are, what
//! they use, and whether a connection was accepted.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use procfs::FromBufReadSI;
use procfs::net::{TcpNetEntries, TcpNetEntry, TcpState};
use procfs::process::{Process, Stat};
use rustix::process::{Pid, Signal};

mod listeners;

pub use listeners::Member;

/// State of a TCP socket that listens, in a table of sockets (`TCP_LISTEN` in tcp_states.h).
const LISTENS: &str = "0A";

/// All processes, as they were at one moment.
#[derive(Debug)]
pub struct Processes(Vec<Stat>);

impl Processes {
    /// Empty when the proc file system cannot be read.
    pub fn now() -> Self {
        let all = procfs::process::all_processes().into_iter().flatten();
        Self(all.filter_map(|process| process.ok()?.stat().ok()).collect())
    }

    /// All processes below `root`, in no order, without those that only wait to
    /// be reaped.
    fn below(&self, root: u32) -> impl Iterator<Item = &Stat> {
        let root = root.cast_signed();
        let mut found = HashSet::from([root]);
        loop {
            let before = found.len();
            found.extend(
                self.0
                    .iter()
                    .filter(|stat| found.contains(&stat.ppid))
                    .map(|stat| stat.pid)
                    .collect::<Vec<_>>(),
            );
            if found.len() == before {
                break;
            }
        }
        self.0.iter().filter(move |stat| stat.pid != root && found.contains(&stat.pid) && stat.state != 'Z')
    }

    /// Pids of [`Self::below`].
    pub(crate) fn pids_below(&self, root: u32) -> Vec<u32> {
        self.below(root).map(|stat| stat.pid.cast_unsigned()).collect()
    }

    /// Children of `parent`, and whether they wait to be reaped.
    pub fn children_of(&self, parent: u32) -> Vec<(u32, bool)> {
        let parent = parent.cast_signed();
        let children = self.0.iter().filter(|stat| stat.ppid == parent);
        children.map(|stat| (stat.pid.cast_unsigned(), stat.state == 'Z')).collect()
    }

    /// What [`proportional`] says of all processes below `root` together, or their resident
    /// memory where it says nothing.
    pub fn proportional_below(&self, root: u32) -> u64 {
        let memory =
            |stat: &Stat| proportional(stat.pid.cast_unsigned()).unwrap_or_else(|| Usage::of(stat).resident);
        self.below(root).map(memory).sum()
    }

    /// What [`demand`] says of all processes below `root` together: the time of all, and
    /// whether one of them runs or would.
    pub fn demand_below(&self, root: u32) -> (Duration, bool) {
        let demands = self.below(root).filter_map(|stat| demand(stat.pid.cast_unsigned()));
        demands.fold((Duration::ZERO, false), |(sum, any), (time, now)| (sum + time, any | now))
    }

    /// What all processes below `root` use together.
    pub fn usage_below(&self, root: u32) -> Usage {
        self.below(root).map(Usage::of).fold(Usage::default(), |sum, usage| Usage {
            resident: sum.resident + usage.resident,
            cpu: sum.cpu + usage.cpu,
        })
    }
}

/// How long a process has run or would have, had there been a processor for it: what its
/// first thread has run and waited (proc_pid_schedstat), or all of its threads have run, if
/// that is more; and whether it runs or would now, as the kernel counts a wait only when it
/// is over. `None` when there is no such process.
pub fn demand(pid: u32) -> Option<(Duration, bool)> {
    let process = Process::new(pid.cast_signed()).ok()?;
    let stat = process.stat().ok()?;
    let cpu = Usage::of(&stat).cpu;
    let wanted = process.schedstat().map(|stat| stat.sum_exec_runtime + stat.run_delay);
    let wanted = wanted.map_or(cpu, |nanos| cpu.max(Duration::from_nanos(nanos)));
    Some((wanted, stat.state == 'R'))
}

/// The memory of a process in bytes, where it shares a page with others by its share of
/// it (`Pss` in proc_pid_smaps(5)); `None` when that may not be known.
pub fn proportional(pid: u32) -> Option<u64> {
    let rollup = Process::new(pid.cast_signed()).ok()?.smaps_rollup().ok()?;
    rollup.memory_map_rollup.iter().map(|map| map.extension.map.get("Pss").copied()).sum()
}

/// All processes below `root`, as [`Processes::below`] has them.
pub fn descendants(root: u32) -> Vec<u32> {
    Processes::now().below(root).map(|stat| stat.pid.cast_unsigned()).collect()
}

/// Kills all processes below `root`. Says whether there were any.
pub fn kill_below(root: u32) -> bool {
    let found = descendants(root);
    for pid in found.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    !found.is_empty()
}

/// What a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Processor time since its start, user and system.
    pub cpu: Duration,
}

/// `None` when there is no such process.
pub fn usage(pid: u32) -> Option<Usage> {
    Process::new(pid.cast_signed()).ok()?.stat().ok().map(|stat| Usage::of(&stat))
}

impl Usage {
    fn of(stat: &Stat) -> Self {
        let ticks = stat.utime + stat.stime;
        Self {
            resident: stat.rss * procfs::page_size(),
            cpu: Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64),
        }
    }
}

/// Is the connection from port `from` to port `to` of this machine still to be accepted?
/// Until then the kernel shows its far end without an inode (proc_net_tcp(5)).
pub fn is_unaccepted(from: u16, to: u16) -> bool {
    connections().any(|entry| {
        entry.local_address.port() == to
            && entry.remote_address.port() == from
            && matches!(entry.state, TcpState::Established | TcpState::CloseWait)
            && entry.inode == 0
    })
}

/// The TCP sockets of this network namespace that listen. The kernel has them in front of all
/// others (`tcp_seq_start` in net/ipv4/tcp_ipv4.c), of which a busy server has tens of
/// thousands, most of them in TIME-WAIT: those are not read.
pub(crate) fn listening_sockets() -> impl Iterator<Item = TcpNetEntry> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
    tables.flat_map(|table| {
        let listening = listening_part(BufReader::new(table));
        let entries = TcpNetEntries::from_buf_read(listening.as_slice(), procfs::current_system_info());
        entries.map_or_else(|_| Vec::new(), |entries| entries.0)
    })
}

/// The head and those lines of a table of sockets (proc_pid_net(5)) that come before the
/// first that does not listen.
fn listening_part(table: impl BufRead) -> Vec<u8> {
    let is_head = |index| index == 0;
    let listens = |line: &str| line.split_whitespace().nth(3) == Some(LISTENS);
    let lines = table.lines().map_while(Result::ok).enumerate();
    let mut part = Vec::new();
    for (_, line) in lines.take_while(|(index, line)| is_head(*index) || listens(line)) {
        part.extend_from_slice(line.as_bytes());
        part.push(b'\n');
    }
    part
}

/// All TCP sockets of this network namespace.
pub(crate) fn connections() -> impl Iterator<Item = TcpNetEntry> {
    let v4 = procfs::net::tcp().unwrap_or_default();
    let v6 = procfs::net::tcp6().unwrap_or_default();
    v4.into_iter().chain(v6)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn sockets_that_listen_are_found_without_a_look_at_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listening_sockets().any(|entry| entry.local_address == address));
        assert!(listening_sockets().all(|entry| entry.state == TcpState::Listen));
        let head = "  sl  local_address rem_address   st tx_queue\n";
        let line = |state| format!("   0: 0100007F:0CE4 00000000:0000 {state} 00000000:00000000\n");
        let wanted = format!("{head}{}{}", line("0A"), line("0A"));
        let table = format!("{wanted}{}", line("06").repeat(3));
        // What follows is not even read.
        let table = std::io::Read::chain(table.as_bytes(), BufReader::with_capacity(1, Unreadable));
        assert_eq!(listening_part(table), wanted.as_bytes());
    }

    struct Unreadable;

    impl std::io::Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("it is read to its end")
        }
    }

    #[test]
    fn a_connection_is_known_to_be_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let [first, second] = [(); 2].map(|()| std::net::TcpStream::connect(to).unwrap());
        let [first_port, second_port] = [&first, &second].map(|stream| stream.local_addr().unwrap().port());
        drop(first);
        assert!(is_unaccepted(first_port, to.port()) && is_unaccepted(second_port, to.port()));
        let _accepted = listener.accept().unwrap();
        assert!(!is_unaccepted(first_port, to.port()) && is_unaccepted(second_port, to.port()));
        let _accepted = listener.accept().unwrap();
        assert!(!is_unaccepted(second_port, to.port()));
    }

    #[test]
    fn memory_that_forks_share_counts_once() {
        let own = std::process::id();
        let (proportional, resident) = (proportional(own).unwrap(), usage(own).unwrap().resident);
        assert!(proportional > 0 && proportional <= resident, "{proportional} of {resident}");
    }

    #[test]
    fn who_runs_is_told_from_who_waits_to_be_reaped() {
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(descendants(std::process::id()).contains(&other.id()));
        assert!(usage(other.id()).unwrap().resident > 0);
        other.kill().unwrap();
        // Until it has died, without reaping it.
        let pid = rustix::process::WaitId::Pid(Pid::from_child(&other));
        let how = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(pid, how).unwrap();
        assert!(!descendants(std::process::id()).contains(&other.id()), "a zombie does not count");
        other.wait().unwrap();
        assert_eq!(usage(other.id()), None);
    }
}
