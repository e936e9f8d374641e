//! Where the processes of a tree listen, and what else tells why nobody can reach them
//! (proc_net_tcp(5), proc_pid_fd(5), unix(7)).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};

use crate::tree::{Member, Processes, connections, demand, listening_sockets};

/// `__SO_ACCEPTCON` of /proc/net/unix: the socket listens.
const UNIX_LISTENS: u32 = 0x1_0000;

/// A process, and the name that the kernel shows for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub pid: u32,
    pub name: String,
}

/// A listening TCP socket of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// An IPv4 address that an IPv6 socket holds is shown as IPv4.
    pub address: SocketAddr,
    /// Connections that it has yet to accept.
    pub waiting: u32,
}

/// What a tree of processes does with sockets, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeSockets {
    pub processes: usize,
    /// In the order of their addresses.
    pub tcp: Vec<Listener>,
    /// Names of listening Unix sockets; those of the abstract namespace begin with `@`.
    pub unix: Vec<String>,
    /// Where it is connecting to, without an answer so far.
    pub connecting: Vec<SocketAddr>,
    /// Some of its processes may not be looked into, because they run as somebody else.
    pub is_hidden: bool,
    /// Processor time that it has used or waited for.
    pub demand: Duration,
}

/// Looks at all processes below `root`, and at `root` itself if `with_root`.
pub fn of_tree(root: u32, with_root: bool) -> TreeSockets {
    let all = Processes::now();
    let mut pids = all.pids_below(root);
    pids.extend(with_root.then_some(root));
    let (inodes, is_hidden) = inodes_of(&pids);
    let mut sockets = TreeSockets { processes: pids.len(), is_hidden, ..TreeSockets::default() };
    for entry in connections().filter(|entry| inodes.contains(&entry.inode)) {
        match entry.state {
            TcpState::Listen => sockets.tcp.push(listener(&entry)),
            TcpState::SynSent => sockets.connecting.push(canonical(entry.remote_address)),
            _ => {}
        }
    }
    sockets.tcp.sort_unstable();
    sockets.tcp.dedup_by_key(|listener| listener.address);
    sockets.unix = unix_listeners(&inodes);
    sockets.demand = pids.iter().filter_map(|&pid| demand(pid)).map(|(time, _)| time).sum();
    sockets
}

/// What listens where a connection to `address` arrives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// The address that the tree's own socket is bound to, if one of them gets it.
    pub own: Option<SocketAddr>,
    /// Somebody else's does, as far as the system tells.
    pub is_stranger: bool,
}

/// Whose socket gets connections to `address`: one of a process at or below `root`?
pub fn reach(address: SocketAddr, root: u32) -> Reach {
    let matching = listening_sockets().filter(|entry| covers(canonical(entry.local_address), address));
    let sockets: HashMap<u64, SocketAddr> =
        matching.map(|entry| (entry.inode, canonical(entry.local_address))).collect();
    if sockets.is_empty() {
        return Reach::default();
    }
    let mut pids = Processes::now().pids_below(root);
    pids.push(root);
    let (inodes, is_hidden) = inodes_of(&pids);
    let own = sockets.iter().find(|(inode, _)| inodes.contains(inode)).map(|(_, &address)| address);
    Reach { own, is_stranger: own.is_none() && !is_hidden }
}

/// The process that listens where connections to `address` arrive, if it may be seen.
pub fn holder_of(address: SocketAddr) -> Option<Named> {
    let matching = listening_sockets().filter(|entry| covers(canonical(entry.local_address), address));
    let inodes: HashSet<u64> = matching.map(|entry| entry.inode).collect();
    if inodes.is_empty() {
        return None;
    }
    let mut all = procfs::process::all_processes().into_iter().flatten().flatten();
    all.find(|process| holds(process, &inodes)).and_then(|process| named(process.pid.cast_unsigned()))
}

/// All other processes that have this socket among their descriptors, as far as they may be
/// looked into: whoever was given it, and what that has started, wherever it is in the tree.
pub fn holders(inode: u64) -> Vec<Member> {
    let inodes = HashSet::from([inode]);
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let others = all.filter(|process| process.pid.cast_unsigned() != std::process::id());
    let holders = others.filter(|process| holds(process, &inodes));
    holders.filter_map(|process| process.stat().ok()).map(|stat| Member::from(&stat)).collect()
}

fn holds(process: &Process, inodes: &HashSet<u64>) -> bool {
    let files = process.fd().into_iter().flatten().flatten();
    files.into_iter().any(|file| matches!(file.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
}

/// The processes below `root`, with their names.
pub fn names_below(root: u32) -> Vec<Named> {
    Processes::now().pids_below(root).into_iter().filter_map(named).collect()
}

/// Does a socket that is bound to `bound` get connections to `address`? One that is bound
/// to all addresses of IPv6 gets those of IPv4 as well, unless it was told not to, which
/// the system does not show.
pub fn covers(bound: SocketAddr, address: SocketAddr) -> bool {
    bound.port() == address.port()
        && (bound.ip() == address.ip()
            || (bound.ip().is_unspecified() && (bound.is_ipv6() || address.is_ipv4())))
}

fn named(pid: u32) -> Option<Named> {
    let stat = Process::new(pid.cast_signed()).ok()?.stat().ok()?;
    Some(Named { pid, name: stat.comm })
}

fn listener(entry: &TcpNetEntry) -> Listener {
    // Of a listening socket this is the length of its backlog.
    Listener { address: canonical(entry.local_address), waiting: entry.rx_queue }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Inodes of all sockets of these processes, and whether some may not be looked into.
fn inodes_of(pids: &[u32]) -> (HashSet<u64>, bool) {
    let (mut inodes, mut is_hidden) = (HashSet::new(), false);
    for process in pids.iter().filter_map(|pid| Process::new(pid.cast_signed()).ok()) {
        match process.fd() {
            Ok(files) => inodes.extend(files.flatten().filter_map(|file| match file.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            })),
            Err(procfs::ProcError::PermissionDenied(_)) => is_hidden = true,
            // It has ended.
            Err(_) => {}
        }
    }
    (inodes, is_hidden)
}

/// `Num RefCount Protocol Flags Type St Inode Path`, of which only the last may be missing.
fn unix_listeners(inodes: &HashSet<u64>) -> Vec<String> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let table = String::from_utf8_lossy(&table);
    let listens = |line: &str| {
        let mut fields = line.splitn(8, ' ').skip(3);
        let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
        let mut rest = line.split_whitespace().skip(6);
        let inode: u64 = rest.next()?.parse().ok()?;
        let path = rest.collect::<Vec<_>>().join(" ");
        (flags & UNIX_LISTENS != 0 && inodes.contains(&inode) && !path.is_empty()).then_some(path)
    };
    let mut found: Vec<_> = table.lines().skip(1).filter_map(listens).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn all_sockets_that_listen_are_found_and_their_backlog() {
        let [first, second] = ["127.0.0.1:0", "0.0.0.0:0"].map(|at| TcpListener::bind(at).unwrap());
        let path = std::env::temp_dir().join(format!("listens-{}.sock", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        let _waits = TcpStream::connect(first.local_addr().unwrap()).unwrap();
        let found = of_tree(std::process::id(), true);
        std::fs::remove_file(&path).unwrap();
        let of = |address| found.tcp.iter().find(|listener| listener.address == address).copied();
        assert_eq!(of(first.local_addr().unwrap()).unwrap().waiting, 1);
        assert_eq!(of(second.local_addr().unwrap()).unwrap().waiting, 0);
        assert!(found.unix.contains(&path.to_str().unwrap().to_owned()), "{:?}", found.unix);
        assert!(!found.is_hidden && found.processes >= 1);
        drop(unix);
    }

    #[test]
    fn who_gets_a_connection_is_found_by_address_not_by_port_alone() {
        let all = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = all.local_addr().unwrap().port();
        let (own, v4, v6) = (std::process::id(), ([127, 0, 0, 1], port).into(), ([0u16; 8], port).into());
        assert_eq!(reach(v4, own).own, Some(all.local_addr().unwrap()));
        assert_eq!(reach(v6, own), Reach::default());
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(reach(v4, other.id()).is_stranger);
        assert_eq!(holder_of(v4).unwrap().pid, own);
        assert!(names_below(own).iter().any(|found| found.pid == other.id()));
        other.kill().unwrap();
        other.wait().unwrap();
        drop(all);
        assert_eq!((reach(v4, own), holder_of(v4)), (Reach::default(), None));
    }

    #[test]
    fn addresses_that_a_socket_covers() {
        let covers = |bound: &str, address: &str| covers(bound.parse().unwrap(), address.parse().unwrap());
        for (bound, address) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1")]
        {
            assert!(covers(bound, address), "{bound} {address}");
        }
        for (bound, address) in
            [("0.0.0.0:1", "[::1]:1"), ("[::1]:1", "127.0.0.1:1"), ("0.0.0.0:2", "127.0.0.1:1")]
        {
            assert!(!covers(bound, address), "{bound} {address}");
        }
    }
}
