//! Clients that ask without a pause until stopped, and tell what went wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::harness::{Cluster, Connection, eventually};

pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<(usize, Vec<String>)>>,
    /// Requests that have ended, of each client.
    ended: Vec<Arc<AtomicUsize>>,
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
        let ended: Vec<_> = (0..clients).map(|_| Arc::<AtomicUsize>::default()).collect();
        let clients = ended
            .iter()
            .map(|ended| {
                let (stop, ended) = (Arc::clone(&stop), Arc::clone(ended));
                thread::spawn(move || ask(address, path, keep, &stop, &ended))
            })
            .collect();
        Self { stop, clients, ended }
    }

    /// Waits until each request that is in flight now has ended.
    pub fn await_those_in_flight(&self) {
        let count = |ended: &Arc<AtomicUsize>| ended.load(Ordering::Relaxed);
        let before: Vec<_> = self.ended.iter().map(count).collect();
        eventually("each client's request has ended", || {
            self.ended.iter().zip(&before).all(|(ended, before)| count(ended) > *before).then_some(())
        });
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

fn ask(
    address: SocketAddr,
    path: &str,
    keep: bool,
    stop: &AtomicBool,
    ended: &AtomicUsize,
) -> (usize, Vec<String>) {
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
        ended.fetch_add(1, Ordering::Relaxed);
    }
    (served, failures)
}
