//! A server that looks like a cluster of four workers and misbehaves in one way.
//!
//! There is one thread for each connection; the workers are made up. Computing is
//! sleeping, so that no figure depends on how busy the machine is.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;
use std::{io, thread};

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::http::{Request, read};
use crate::process::guarded;
use crate::tls::Tls;

pub const WORKERS: usize = 4;

/// What the workers, and the store that they share, remember.
#[derive(Debug, Default)]
pub struct State {
    pub turn: usize,
    pub pids: Vec<u32>,
    pub requests: u64,
    /// Calls of the local counter, by worker.
    pub local: HashMap<usize, u64>,
    /// The shared values, with the end of their life.
    pub values: HashMap<String, (Value, Option<Instant>)>,
    pub increments: u64,
    pub leaked_files: Vec<File>,
    pub leaked_bytes: Vec<u8>,
    pub crashed: Option<Instant>,
    pub hung: Option<usize>,
}

pub struct Server {
    pub fault: Fault,
    pub state: Mutex<State>,
    /// One for each worker: held while it computes, when that blocks it.
    pub event_loops: Vec<Mutex<()>>,
    pub computing: Mutex<()>,
    pub in_flight: AtomicU64,
    /// The Redis whose absence the shared state suffers from.
    pub redis: Option<SocketAddr>,
    next_id: AtomicU64,
    /// Stand for the workers where processes of this machine are looked at. They
    /// die with this program.
    _processes: Vec<Child>,
}

pub struct Reply {
    pub status: u16,
    pub body: Value,
    pub extra: Vec<(&'static str, String)>,
}

pub fn ok(body: Value) -> Reply {
    Reply { status: 200, body, extra: Vec::new() }
}

pub fn problem(status: u16, worker: &Value) -> Reply {
    let body =
        json!({"type": "about:blank", "title": "Error", "status": status, "detail": "why", "worker": worker});
    let extra = match status {
        405 => vec![("allow", "GET".to_owned())],
        503 => vec![("retry-after", "1".to_owned())],
        _ => Vec::new(),
    };
    Reply { status, body, extra }
}

impl Server {
    pub fn new(fault: Fault, redis: Option<SocketAddr>) -> Self {
        let mut processes = Vec::new();
        // Beyond what the system gives to processes.
        let mut pids: Vec<u32> = (1..=WORKERS as u32).map(|id| 2_000_000_000 + id).collect();
        if fault.leaks() {
            processes = (0..WORKERS).map(|_| guarded("sleep").arg("600").spawn().unwrap()).collect();
            pids = processes.iter().map(Child::id).collect();
        }
        Self {
            fault,
            state: Mutex::new(State { pids, ..State::default() }),
            event_loops: (0..WORKERS).map(|_| Mutex::default()).collect(),
            computing: Mutex::default(),
            in_flight: AtomicU64::new(0),
            redis,
            next_id: AtomicU64::new(1),
            _processes: processes,
        }
    }

    /// Serves until the program is killed.
    pub fn run(&self, listener: &TcpListener, tls: Option<&Tls>) {
        thread::scope(|scope| {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.set_nodelay(true);
                scope.spawn(move || match tls {
                    None => self.serve(&stream),
                    Some(tls) => {
                        if let Some(stream) = tls.accept(stream) {
                            self.serve(stream);
                        }
                    }
                });
            }
        });
    }

    pub fn serve(&self, stream: impl Read + Write) {
        let mut reader = BufReader::new(stream);
        let pinned = fastrand::usize(..WORKERS);
        while let Some(request) = read(&mut reader) {
            let worker = if self.fault == Fault::Random { pinned } else { self.pick() };
            let close = request.headers.get("connection").is_some_and(|value| value == "close");
            let reply = self.answer(worker, &request);
            if self.write(reader.get_mut(), &request, worker, reply).is_err() || close {
                return;
            }
        }
    }

    /// Whose turn it is, with this server's idea of turns.
    fn pick(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.turn += 1;
        let turn = state.turn;
        match self.fault {
            Fault::Sticky => 0,
            Fault::Unused | Fault::DeadWorker => turn % (WORKERS - 1),
            Fault::SixtyForty => [0, 1, 0, 1, 0, 1, 2, 3, 2, 3][turn % 10],
            _ => turn % WORKERS,
        }
    }

    fn write(
        &self,
        stream: &mut impl Write,
        request: &Request,
        worker: usize,
        reply: Reply,
    ) -> io::Result<()> {
        let plain = self.fault == Fault::PlainErrors && reply.status >= 400;
        let problem = reply.status >= 400 && reply.body["found"].is_null();
        let kind = match (plain, problem) {
            (true, _) => "text/plain",
            (_, true) => "application/problem+json",
            _ => "application/json",
        };
        let own = request
            .headers
            .get("x-request-id")
            .filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
        let own = own.filter(|_| self.fault != Fault::ForgetsRequestId);
        let id = own.cloned().unwrap_or_else(|| format!("made-{}", self.next_id.fetch_add(1, SeqCst)));
        let body = if plain { "bad request".to_owned() } else { reply.body.to_string() };
        let by = if request.path == "/cluster/workers" || request.path == "/health" { 0 } else { worker + 1 };
        let mut head = format!(
            "HTTP/1.1 {} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nx-worker-id: {by}\r\nx-request-id: {id}\r\n",
            reply.status,
            body.len()
        );
        for (name, value) in reply.extra {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = if request.method == "HEAD" { String::new() } else { body };
        stream.write_all(format!("{head}\r\n{body}").as_bytes())
    }
}
