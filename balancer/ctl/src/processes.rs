//! Running clusters as the proc file system shows them: for those whose control socket
//! lies where nobody looks, or is lost.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use procfs::net::{TcpState, UnixState};
use procfs::process::{FDTarget, Process};
use shared_settings::control::ClusterName;

/// What the name of a program ends with whose file was replaced (proc_pid_exe(5)).
const DELETED: &str = " (deleted)";

/// A process that runs this program, and is not the worker of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) pid: u32,
    pub(crate) user: u32,
    /// Where it listens for TCP.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The paths on which it listens, whether they still lead to it or not. None has a
    /// single process without a cluster.
    pub(crate) sockets: Vec<PathBuf>,
}

impl Primary {
    pub(crate) fn listens_on(&self, port: u16) -> Option<SocketAddr> {
        self.addresses.iter().copied().find(|address| address.port() == port)
    }

    /// Does it listen where the cluster with this name does?
    pub(crate) fn is_at(&self, name: &ClusterName) -> bool {
        match name {
            ClusterName::Port(port) => self.listens_on(*port).is_some(),
            ClusterName::Unix(name) => {
                self.sockets.iter().any(|path| *name == format!("unix:{}", path.display()))
            }
        }
    }

    /// What to do with it when no socket leads to it.
    pub(crate) fn advice(&self, port: Option<u16>) -> String {
        let named = port.and_then(|port| self.listens_on(port));
        let (pid, address) = (self.pid, named.or(self.addresses.first().copied()));
        let address = address.map_or_else(String::new, |address| format!(" listens on {address}"));
        if self.sockets.is_empty() {
            return format!("balancer pid {pid}{address} as a single process; kill -TERM {pid} stops it");
        }
        format!(
            "no control socket, but balancer pid {pid}{address}; kill -TERM {pid} stops it, \
             kill -HUP {pid} reloads it"
        )
    }
}

/// Those that this user may look into.
pub(crate) fn primaries() -> Vec<Primary> {
    let Some(name) = std::env::current_exe().ok().as_deref().and_then(file_name) else { return Vec::new() };
    let own = std::process::id().cast_signed();
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let same: Vec<Process> = all
        .filter(|process| process.pid != own)
        .filter(|process| process.exe().ok().as_deref().and_then(file_name).as_deref() == Some(&name))
        .collect();
    if same.is_empty() {
        return Vec::new();
    }
    let pids: HashSet<_> = same.iter().map(|process| process.pid).collect();
    let (addresses, paths) = (listening_addresses(), listening_paths());
    let primaries = same.iter().filter_map(|process| {
        let parent = process.stat().ok()?.ppid;
        if pids.contains(&parent) {
            return None;
        }
        let sockets: Vec<u64> = process.fd().ok()?.flatten().filter_map(|file| inode(&file.target)).collect();
        let mut found = Primary {
            pid: process.pid.cast_unsigned(),
            user: process.uid().ok()?,
            addresses: sockets.iter().filter_map(|inode| addresses.get(inode).copied()).collect(),
            sockets: sockets.iter().filter_map(|inode| paths.get(inode).cloned()).collect(),
        };
        found.addresses.sort_unstable();
        found.addresses.dedup();
        Some(found)
    });
    let mut primaries: Vec<_> =
        primaries.filter(|found| !(found.addresses.is_empty() && found.sockets.is_empty())).collect();
    primaries.sort_unstable_by_key(|found| found.pid);
    primaries
}

/// Does this process listen on TCP port `port`, in whichever network namespace it is?
/// `None` when this user may not look into it, as root without CAP_SYS_PTRACE in a container.
pub(crate) fn serves(pid: u32, port: u16) -> Option<bool> {
    let process = Process::new(pid.cast_signed()).ok()?;
    let files: Vec<_> = process.fd().ok()?.flatten().collect();
    if files.is_empty() {
        // Each that may not be looked at is left out.
        return None;
    }
    let files: HashSet<_> = files.iter().filter_map(|file| inode(&file.target)).collect();
    let (v4, v6) = (process.tcp().ok()?, process.tcp6().unwrap_or_default());
    let mut listening = v4.into_iter().chain(v6).filter(|entry| entry.state == TcpState::Listen);
    Some(listening.any(|entry| entry.local_address.port() == port && files.contains(&entry.inode)))
}

fn file_name(path: &std::path::Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(DELETED).unwrap_or(name).to_owned())
}

fn inode(target: &FDTarget) -> Option<u64> {
    if let FDTarget::Socket(inode) = target { Some(*inode) } else { None }
}

/// By inode: where sockets of this network namespace listen.
fn listening_addresses() -> HashMap<u64, SocketAddr> {
    let v4 = procfs::net::tcp().unwrap_or_default();
    let v6 = procfs::net::tcp6().unwrap_or_default();
    let listens = v4.into_iter().chain(v6).filter(|entry| entry.state == TcpState::Listen);
    listens.map(|entry| (entry.inode, entry.local_address)).collect()
}

/// By inode: the paths of Unix sockets that are not connected.
fn listening_paths() -> HashMap<u64, PathBuf> {
    let all = procfs::net::unix().unwrap_or_default();
    let listens = all.into_iter().filter(|entry| entry.state == UnixState::UNCONNECTED);
    let named = listens.filter_map(|entry| Some((entry.inode, entry.path?)));
    named.filter(|(_, path)| path.is_absolute()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_program_is_the_same() {
        for path in ["/usr/bin/balancer", "/usr/bin/balancer (deleted)"] {
            assert_eq!(file_name(path.as_ref()).as_deref(), Some("balancer"));
        }
    }

    #[test]
    fn a_port_is_served_by_who_listens_on_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(serves(std::process::id(), port), Some(true));
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(serves(other.id(), port), Some(false));
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(serves(0, port), None);
        drop(listener);
        assert_eq!(serves(std::process::id(), port), Some(false));
    }

    #[test]
    fn advice_names_the_process_and_what_it_is() {
        let address = "127.0.0.1:3100".parse().unwrap();
        let mut found = Primary {
            pid: 4711,
            user: 0,
            addresses: vec!["127.0.0.1:3180".parse().unwrap(), address],
            sockets: vec!["/run/x.sock".into()],
        };
        assert_eq!(found.listens_on(3100), Some(address));
        assert_eq!(
            found.advice(Some(3100)),
            "no control socket, but balancer pid 4711 listens on 127.0.0.1:3100; kill -TERM 4711 stops it, \
             kill -HUP 4711 reloads it"
        );
        found.sockets.clear();
        assert!(!found.advice(Some(3100)).contains("-HUP"), "which would end it");
    }
}
