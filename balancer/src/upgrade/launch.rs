//! Starts a successor, which gets all listening sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use balancer_supervisor::process::Children;
use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{Access, FileType};
use rustix::process::{Pid, Signal, kill_process};
use shared_process::inherited::Inherited;
use shared_process::pidfd::{self, PidFd};
use shared_process::sockets;
use shared_process::tree::{Member, Processes};
use shared_protocol::Handover;
use tokio::process::Child;
use tokio::time::timeout;

use super::channel::line;
use super::last_words::{self, LastWords};
use super::{CHANNEL, Invocation, SUBCOMMAND};

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST: i32 = 3;
/// For a successor of which nothing comes to end its workers and to remove its files.
const CLEANING: Duration = Duration::from_secs(1);

/// A successor until it has taken over: it is killed, with all that it has started, when this
/// is dropped.
#[derive(Debug)]
pub(super) struct Candidate {
    child: Child,
    pub(super) pid: u32,
    children: Children,
    is_released: bool,
    may_have_taken_over: bool,
    /// Of its end of the channel, which all have that it has started, unless they close it.
    inode: u64,
    last_words: LastWords,
    /// Its end of the channel stays open as long as it lives: it would take the end of the
    /// channel for that of its predecessor, and begin to accept connections.
    _channel: UnixStream,
}

impl Candidate {
    /// Starts `invocation` with `sockets` by their names. Returns it and the channel to it, in
    /// which `handover` waits from before its start: it can go on by itself from its first
    /// moment, whatever becomes of this process.
    ///
    /// # Errors
    /// When it cannot be run; names it.
    pub(super) fn start(
        invocation: &Invocation,
        sockets: Vec<(&str, OwnedFd)>,
        inherited: Inherited,
        mut handover: Handover,
        children: &Children,
    ) -> io::Result<(Self, UnixStream)> {
        check(invocation)?;
        let (own, other) = UnixStream::pair()?;
        let inode = rustix::fs::fstat(&other)?.st_ino;
        // The kernel holds it; were it ever too long for that, this must not wait for a reader.
        own.set_nonblocking(true)?;
        let (last_words, stderr) = LastWords::listen()?;
        handover.stderr_pipe = Some(rustix::fs::fstat(&stderr)?.st_ino);
        last_words::send(&own, &line(&handover))?;
        let names: Vec<_> = sockets.iter().map(|(name, _)| *name).chain([CHANNEL]).collect();
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(SUBCOMMAND)
            .arg(std::process::id().to_string())
            .arg(inherited.to_string())
            .arg(names.join(":"))
            .arg(&invocation.executable)
            .args(&invocation.arguments)
            .stderr(stderr);
        let descriptors = sockets.into_iter().map(|(_, socket)| socket).chain([OwnedFd::from(other)]);
        let mappings = (FIRST..).zip(descriptors);
        command
            .fd_mappings(mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect())
            .map_err(io::Error::other)?;
        // As when its arguments are too long (execve(2)).
        let child = tokio::process::Command::from(command).spawn().map_err(|err| {
            let path = invocation.executable.display();
            io::Error::new(err.kind(), format!("could not run {path}: {err}"))
        })?;
        let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
        children.add(pid);
        let candidate = Self {
            child,
            pid,
            children: children.clone(),
            is_released: false,
            may_have_taken_over: false,
            inode,
            last_words,
            _channel: own.try_clone()?,
        };
        Ok((candidate, own))
    }

    /// From now on it may own what the predecessor has.
    pub(super) fn may_take_over(&mut self) {
        self.may_have_taken_over = true;
    }

    /// Ends it, and waits for that. It may remove what it has made, if it is quick; of what may
    /// be both its own and the predecessor's it is to remove nothing, and is killed.
    ///
    /// What it has started goes with it: a script is not the balancer, but its parent.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        let mut below = self.below();
        let status = self.end_alone().await;
        below.extend(self.holders());
        let first = if self.may_have_taken_over { Signal::KILL } else { Signal::TERM };
        for signal in [first, Signal::KILL] {
            // Fails for one that has ended.
            below.iter().for_each(|process| drop(process.signal(signal)));
            below = wait_for_all(below).await;
        }
        status
    }

    /// What it has printed last, before it could tell by the channel.
    pub(super) async fn last_words(&mut self) -> Vec<String> {
        self.last_words.heard().await
    }

    /// The processes that it has started, while it has not ended.
    fn below(&self) -> Vec<PidFd> {
        open_all(Processes::now().members(self.pid)).filter(|_| self.child.id().is_some()).collect()
    }

    /// Those that it has left.
    fn holders(&self) -> Vec<PidFd> {
        open_all(sockets::holders(self.inode)).collect()
    }

    async fn end_alone(&mut self) -> io::Result<ExitStatus> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // Not yet waited for, its pid is nobody else's.
        if let Some(pid) = pid.filter(|_| !self.may_have_taken_over && self.child.id().is_some()) {
            // Fails when it has ended.
            let _ = kill_process(pid, Signal::TERM);
            if let Ok(status) = timeout(CLEANING, self.wait()).await {
                return status;
            }
        }
        // Fails when it has ended.
        let _ = self.child.start_kill();
        self.wait().await
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.children.remove(self.pid);
        status
    }

    /// Asks it to stop as an operator would. As long as this lives it is not waited for, so that
    /// its pid is nobody else's.
    pub(super) fn stop(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Fails when it has ended.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// It has taken over.
    pub(super) fn release(&mut self) {
        self.is_released = true;
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if !self.is_released {
            let all: Vec<_> = self.below().into_iter().chain(self.holders()).collect();
            // Fails when it has ended; it is reaped when it has.
            let _ = self.child.start_kill();
            all.iter().for_each(|process| drop(process.signal(Signal::KILL)));
        }
    }
}

fn open_all(members: Vec<Member>) -> impl Iterator<Item = PidFd> {
    members.into_iter().filter_map(|member| PidFd::open(member).ok())
}

/// Those that have not ended within a second.
async fn wait_for_all(mut processes: Vec<PidFd>) -> Vec<PidFd> {
    let deadline = Instant::now() + CLEANING;
    while !processes.is_empty() && Instant::now() < deadline {
        let wait = move || {
            pidfd::wait_for_any(&mut processes, Some(CLEANING));
            processes
        };
        processes = tokio::task::spawn_blocking(wait).await.unwrap_or_default();
    }
    processes
}

/// What can be known before it is tried.
fn check(invocation: &Invocation) -> io::Result<()> {
    let path = &invocation.executable;
    let named = |err: rustix::io::Errno| {
        let err = io::Error::from(err);
        io::Error::new(err.kind(), format!("could not run {}: {err}", path.display()))
    };
    let found = rustix::fs::stat(path).map_err(named)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Err(named(rustix::io::Errno::ISDIR));
    }
    rustix::fs::access(path, Access::EXEC_OK).map_err(named)
}
