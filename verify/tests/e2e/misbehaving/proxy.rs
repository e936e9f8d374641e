//! The real balancer, behind a proxy that loses requests while it is reloaded or
//! scaled. Requests do not come in pipelines here, so one read begins with each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::guarded;
use crate::harness::balancer;

/// Names the file that is there while a change goes on.
pub const MARK_VARIABLE: &str = "MISBEHAVING_MARK";

pub fn mark(directory: &Path) -> PathBuf {
    directory.join("changing")
}

/// Where the program listens, when this line of its log says so.
pub fn address(line: &str) -> Option<SocketAddr> {
    serde_json::from_str::<Value>(line).ok()?["address"].as_str()?.parse().ok()
}

struct Gate {
    mark: PathBuf,
    every: usize,
    seen: AtomicUsize,
}

impl Gate {
    fn loses(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"GET ")
            && self.mark.exists()
            && (self.seen.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(self.every)
    }
}

/// Is that balancer until it is killed.
#[expect(clippy::zombie_processes, reason = "it is killed, and its child with it")]
pub fn run(every: usize, arguments: &str) -> ! {
    let mut child = guarded(balancer())
        .args(arguments.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let target = log.find_map(|line| address(&line)).expect("the balancer says where it listens");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    eprintln!("{{\"address\": \"{}\"}}", listener.local_addr().unwrap());
    thread::spawn(move || log.for_each(|line| eprintln!("{line}")));
    let mark = std::env::var_os(MARK_VARIABLE).expect("the wrapper names the mark").into();
    let gate = Arc::new(Gate { mark, every, seen: AtomicUsize::new(0) });
    for client in listener.incoming().map_while(Result::ok) {
        let gate = Arc::clone(&gate);
        thread::spawn(move || carry(client, target, &gate));
    }
    unreachable!("the listener goes on");
}

fn carry(mut client: TcpStream, target: SocketAddr, gate: &Gate) {
    let Ok(mut server) = TcpStream::connect(target) else { return };
    let (Ok(mut from), Ok(mut to)) = (server.try_clone(), client.try_clone()) else { return };
    let _ = (server.set_nodelay(true), client.set_nodelay(true));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..count];
        if gate.loses(bytes) {
            let _ = client.shutdown(Shutdown::Both);
            break;
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}
