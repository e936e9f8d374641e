//! Members of a process tree, and those among them that serve a port.

use std::collections::{HashMap, HashSet};

use procfs::net::TcpNetEntry;
use procfs::process::{FDTarget, Process, Stat};
use rustix::process::Signal;

use super::{Processes, listening_sockets};
use crate::signals::is_caught_by;

/// A process, told apart from a later one with the same pid by the time of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    pub pid: u32,
    pub parent: u32,
    /// In ticks after the system's boot (`starttime` in proc_pid_stat(5)).
    pub started: u64,
}

impl From<&Stat> for Member {
    fn from(stat: &Stat) -> Self {
        Self { pid: stat.pid.cast_unsigned(), parent: stat.ppid.cast_unsigned(), started: stat.starttime }
    }
}

impl Processes {
    /// All processes below `root`, in no order, without those that only wait to be reaped.
    pub fn members(&self, root: u32) -> Vec<Member> {
        self.below(root).map(Member::from).collect()
    }

    /// Those below `root` that are to be told first that the server on TCP port `port` is to
    /// end: the topmost processes that hold a socket which listens on it, and not the workers
    /// that have inherited it. Where several do (`SO_REUSEPORT`, or a parent that has closed
    /// what it handed down), the process that has started them all, if it handles SIGTERM:
    /// it would only start them anew. Processes that this one may not look into do not count.
    pub fn servers(&self, root: u32, port: u16) -> Vec<Member> {
        let sockets = listening(port);
        if sockets.is_empty() {
            return Vec::new();
        }
        let members = self.members(root);
        let parents: HashMap<u32, u32> = members.iter().map(|member| (member.pid, member.parent)).collect();
        let holders: HashSet<u32> =
            members.iter().map(|member| member.pid).filter(|&pid| holds_one_of(pid, &sockets)).collect();
        let is_topmost = |&pid: &u32| !above(&parents, pid).any(|parent| holders.contains(&parent));
        let mut told: Vec<u32> = holders.iter().copied().filter(is_topmost).collect();
        let common = common_parent(&parents, &told).filter(|_| told.len() > 1);
        if let Some(parent) = common.filter(|&parent| is_caught_by(parent, Signal::TERM)) {
            told = vec![parent];
        }
        members.into_iter().filter(|member| told.contains(&member.pid)).collect()
    }

    /// Those below `root` that are told first to end: the [servers](Self::servers) on `port`,
    /// or the children of `root` while nobody listens there.
    pub fn told_first(&self, root: u32, port: Option<u16>) -> Vec<Member> {
        let servers = port.map_or_else(Vec::new, |port| self.servers(root, port));
        if servers.is_empty() { self.children(root) } else { servers }
    }

    /// The members whose parent is `root`.
    pub fn children(&self, root: u32) -> Vec<Member> {
        self.members(root).into_iter().filter(|member| member.parent == root).collect()
    }
}

/// The parent of `pid`, the parent of that, and so on, as far as they are in the tree.
fn above(parents: &HashMap<u32, u32>, pid: u32) -> impl Iterator<Item = u32> {
    let parent_of = |pid: &u32| parents.get(pid).copied().filter(|parent| parents.contains_key(parent));
    std::iter::successors(parent_of(&pid), parent_of)
}

/// The lowest process of the tree that is above all of `pids`.
fn common_parent(parents: &HashMap<u32, u32>, pids: &[u32]) -> Option<u32> {
    let (first, others) = pids.split_first()?;
    let is_above_others =
        |parent: &u32| others.iter().all(|&pid| above(parents, pid).any(|it| it == *parent));
    above(parents, *first).find(is_above_others)
}

/// Inodes of the sockets that listen on `port`, whatever their address.
fn listening(port: u16) -> HashSet<u64> {
    let matches = |entry: &TcpNetEntry| entry.local_address.port() == port;
    listening_sockets().filter(matches).map(|entry| entry.inode).collect()
}

fn holds_one_of(pid: u32, sockets: &HashSet<u64>) -> bool {
    let files = Process::new(pid.cast_signed()).and_then(|process| process.fd());
    let holds = |target: &FDTarget| matches!(target, FDTarget::Socket(inode) if sockets.contains(inode));
    files.is_ok_and(|files| files.flatten().any(|file| holds(&file.target)))
}
