//! Clients that ask without a pause until stopped, and tell what went wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{Cluster, Connection};

pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    /// GETs of `/cluster/info` on kept connections.
    pub fn start(cluster: &Cluster, clients: usize) -> Self {
        Self::of(cluster, clients, "/cluster/info", true)
    }

    /// GETs of `path`, on kept connections or each on a fresh one.
    pub fn of(cluster: &Cluster, clients: usize, path: &'static str, keep: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let address = cluster.address;
        let clients = (0..clients)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || ask(address, path, keep, &stop))
            })
            .collect();
        Self { stop, clients }
    }

    /// Requests served, and what went wrong.
    pub fn finish(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = (0, Vec::new());
        for client in self.clients {
            let (served, failures) = client.join().unwrap();
            total.0 += served;
            total.1.extend(failures);
        }
        total
    }

    /// Ends the load and asserts that nothing went wrong in it.
    pub fn finish_unharmed(self) {
        let (served, failures) = self.finish();
        assert!(failures.is_empty(), "{} of {served} failed: {:?}", failures.len(), failures.first());
        assert!(served > 0);
    }
}

fn ask(address: SocketAddr, path: &str, keep: bool, stop: &AtomicBool) -> (usize, Vec<String>) {
    let (mut served, mut failures) = (0, Vec::new());
    let mut kept = None;
    let headers: &[_] = if keep { &[] } else { &[("connection", "close")] };
    while !stop.load(Ordering::Relaxed) {
        let mut connection = kept.take().unwrap_or_else(|| Connection::open(address).unwrap());
        let answer = connection.send("GET", path, headers, b"").and_then(|()| connection.receive(false));
        match answer {
            Ok(answer) if answer.status == 200 => {
                served += 1;
                let closes = answer.header("connection") == Some("close");
                kept = (keep && !closes).then_some(connection);
            }
            other => failures.push(format!("{other:?}")),
        }
    }
    (served, failures)
}
