//! Light load: about a hundred GETs of `/` a second, half of them on kept connections, the
//! others each on a fresh one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use shared_testkit::connection::{Answer, Connection};
use shared_testkit::eventually;

/// Clients, every second of which keeps its connection.
const CLIENTS: usize = 4;
/// Time between two requests of a client.
const INTERVAL: Duration = Duration::from_millis(40);

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn on(address: SocketAddr) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |index: usize| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || ask(address, index.is_multiple_of(2), &stop, &asked))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, asked, clients }
    }

    /// Waits for so many further answers.
    pub(crate) fn go_on_for(&self, requests: usize) {
        let before = self.asked.load(Ordering::Relaxed);
        eventually("the load goes on", || {
            (self.asked.load(Ordering::Relaxed) >= before + requests).then_some(())
        });
    }

    /// The number of requests, and what went wrong with those that were lost.
    pub(crate) fn finish(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let lost = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (self.asked.load(Ordering::Relaxed), lost)
    }
}

fn ask(address: SocketAddr, keep: bool, stop: &AtomicBool, asked: &AtomicUsize) -> Vec<String> {
    let (mut lost, mut kept) = (Vec::new(), None);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match one(address, keep, kept.take()) {
            Ok((connection, answer)) if answer.status == 200 && answer.text().contains("hello") => {
                let closes = answer.header("connection") == Some("close");
                kept = (keep && !closes).then_some(connection);
            }
            Ok((_, answer)) => lost.push(format!("{}: {}", answer.status, answer.text())),
            Err(err) => lost.push(err.to_string()),
        }
        asked.fetch_add(1, Ordering::Relaxed);
        due = (due + INTERVAL).max(Instant::now());
        // The pace of the load, not a wait for something.
        thread::sleep(due - Instant::now());
    }
    lost
}

fn one(address: SocketAddr, keep: bool, kept: Option<Connection>) -> std::io::Result<(Connection, Answer)> {
    let mut connection = kept.map_or_else(|| Connection::open(address), Ok)?;
    let connection_field = if keep { "keep-alive" } else { "close" };
    let fields = [("host", "localhost"), ("connection", connection_field)];
    connection.send_as("GET", "/", &fields, b"")?;
    let answer = connection.receive(false)?;
    Ok((connection, answer))
}
