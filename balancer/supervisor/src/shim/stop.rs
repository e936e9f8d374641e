//! How a program is told to end (SIGTERM), in the order in which its parts know what to do.
//!
//! 1. The servers: the topmost processes of the tree that hold a socket which listens on the
//!    worker's port. A server stops its own workers. Told at the same time as their server,
//!    those would end without their part of its shutdown; and a server below a wrapper that
//!    hands signals on, as npm does, would be told twice, which many take for "at once".
//! 2. When the servers have ended, the tops of what is left. Most wrappers are gone by then,
//!    with the server's exit code. Where nobody listens, as while a program boots, this is the
//!    first step: the program itself is told, and it or its wrapper tells what it has started.
//! 3. What is left then: a shell dies of the signal and tells nobody.
//!
//! Nobody is told twice. What does not end at all is killed at the primary's kill timeout.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shared_process::pidfd::{PidFd, wait_for_any};
use shared_process::tree::{Member, Processes};

use super::Supervised;

/// For wrappers to see that their server has ended, and to end with its exit code, before
/// they are told to: npm needs 20 ms of processor time for it. Short beside any kill timeout.
const GRACE: Duration = Duration::from_millis(100);
/// For the tops of a tree to hand the signal down, before the rest is told without them: a
/// shell with a trap waits for its command in the foreground first (POSIX, `trap`).
const HAND_DOWN: Duration = Duration::from_secs(1);

/// Tells all of `program` to end. Returns when nobody is left to be told.
pub(super) fn run(program: &Supervised, port: Option<u16>) {
    let own = std::process::id();
    let mut told = Told { program, members: HashSet::new() };
    let servers = told.tell(|processes| port.map_or_else(Vec::new, |port| processes.servers(own, port)));
    if !servers.is_empty() {
        wait_for_all(servers, None);
        thread::sleep(GRACE);
    }
    let mut left = told.tell(|processes| processes.children(own));
    if wait_for_all(std::mem::take(&mut left), Some(HAND_DOWN)) {
        thread::sleep(GRACE);
    }
    left = told.tell(|processes| processes.members(own));
    // A process may have forked just before it was told. Once it has ended, its children are
    // this one's; those of a living one may be what it needs for its end.
    while wait_for_any(&mut left, None) {
        left.extend(told.tell(|processes| processes.children(own)));
    }
}

/// Sends `signal` to the servers of `program`, or to its top while nobody listens.
pub(super) fn signal_servers(program: &Supervised, port: Option<u16>, signal: Signal) {
    let own = std::process::id();
    let _reaps_nothing = program.lock();
    let processes = Processes::now();
    let told = processes.told_first(own, port);
    for process in told.into_iter().filter_map(|member| PidFd::open(member).ok()) {
        // Fails when it has just ended.
        let _ = process.signal(signal);
    }
}

/// Who has been told.
struct Told<'a> {
    program: &'a Supervised,
    /// By pid and time of start.
    members: HashSet<(u32, u64)>,
}

impl Told<'_> {
    /// Tells those whom `choose` names and who have not been told. Returns them.
    fn tell(&mut self, choose: impl Fn(&Processes) -> Vec<Member>) -> Vec<PidFd> {
        // While this is held nothing is reaped here. The descriptors do the same for the
        // children of others.
        let _reaps_nothing = self.program.lock();
        let mut told = Vec::new();
        for member in choose(&Processes::now()) {
            // Not by its parent, which it may lose.
            let known = (member.pid, member.started);
            if self.members.contains(&known) {
                continue;
            }
            // Fails when it has just ended, or is somebody else's: then those above it are next.
            if let Ok(process) = PidFd::open(member)
                && process.signal(Signal::TERM).is_ok()
            {
                self.members.insert(known);
                told.push(process);
            }
        }
        told
    }
}

/// Waits until all of `processes` have ended, for at most `limit`. Returns whether they have.
fn wait_for_all(mut processes: Vec<PidFd>, limit: Option<Duration>) -> bool {
    let start = Instant::now();
    while !processes.is_empty() {
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        if !wait_for_any(&mut processes, left) && left.is_some_and(|left| left.is_zero()) {
            return false;
        }
    }
    true
}
