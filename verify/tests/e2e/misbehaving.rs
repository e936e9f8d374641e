//! A server that looks like a cluster of four workers and misbehaves in one way.
//!
//! One process, one thread per connection; its workers are made up. Computing is
//! sleeping, so that no figure depends on how busy the machine is. What takes real
//! workers is done by the real balancer behind a [`proxy`] or a wrapper.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod fault;
mod http;
pub mod proxy;

pub use fault::Fault;
use http::{Request, read};

pub const WORKERS: usize = 4;

#[derive(Debug, Default)]
struct State {
    turn: usize,
    pids: Vec<u32>,
    requests: u64,
    local: HashMap<usize, u64>,
    values: HashMap<String, (Value, Option<Instant>)>,
    increments: u64,
    kept: Vec<File>,
    hoard: Vec<u8>,
    crashed: Option<Instant>,
    hung: Option<usize>,
}

pub struct Server {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    /// Stand for the workers where processes of this machine are looked at.
    children: Vec<Child>,
}

struct Inner {
    fault: Fault,
    state: Mutex<State>,
    /// One per worker: held while it computes, when that blocks it.
    event_loops: Vec<Mutex<()>>,
    computing: Mutex<()>,
    next_id: AtomicU64,
    in_flight: AtomicU64,
    stopping: AtomicBool,
    redis: Option<SocketAddr>,
}

impl Server {
    pub fn start(fault: Fault) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), fault, None)
    }

    pub fn at(address: SocketAddr, fault: Fault, redis: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let mut children = Vec::new();
        // Beyond what the system gives to processes.
        let mut pids: Vec<u32> = (1..=WORKERS as u32).map(|id| 2_000_000_000 + id).collect();
        if fault.leaks() {
            children = (0..WORKERS).map(|_| guarded("sleep").arg("600").spawn().unwrap()).collect();
            pids = children.iter().map(Child::id).collect();
        }
        let inner = Arc::new(Inner {
            fault,
            state: Mutex::new(State { pids, ..State::default() }),
            event_loops: (0..WORKERS).map(|_| Mutex::default()).collect(),
            computing: Mutex::default(),
            next_id: AtomicU64::new(1),
            in_flight: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            redis,
        });
        let shared = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        Self { address, inner, children }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Outlives this process, unless somebody kills it.
pub fn orphan() -> Child {
    Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
}

/// A command whose process dies with this thread.
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    command.arg("guarded-child").arg(std::process::id().to_string()).arg(program).stdin(Stdio::null());
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Reply {
    status: u16,
    body: Value,
    extra: Vec<(&'static str, String)>,
}

fn ok(body: Value) -> Reply {
    Reply { status: 200, body, extra: Vec::new() }
}

fn problem(status: u16, worker: &Value) -> Reply {
    let body =
        json!({"type": "about:blank", "title": "Error", "status": status, "detail": "why", "worker": worker});
    let extra = match status {
        405 => vec![("allow", "GET".to_owned())],
        503 => vec![("retry-after", "1".to_owned())],
        _ => Vec::new(),
    };
    Reply { status, body, extra }
}

impl Inner {
    fn serve(&self, stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        let pinned = fastrand::usize(..WORKERS);
        while let Some(request) = read(&mut reader) {
            let worker = if self.fault == Fault::Random { pinned } else { self.pick() };
            let close = request.headers.get("connection").is_some_and(|value| value == "close");
            let reply = self.answer(worker, &request);
            if self.write(stream, &request, worker, reply).is_err() || close {
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
        mut stream: &TcpStream,
        request: &Request,
        worker: usize,
        reply: Reply,
    ) -> std::io::Result<()> {
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
        let id =
            own.cloned().unwrap_or_else(|| format!("made-{}", self.next_id.fetch_add(1, Ordering::SeqCst)));
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

    fn answer(&self, worker: usize, request: &Request) -> Reply {
        let (pid, requests) = {
            let mut state = self.state.lock().unwrap();
            // The primary answers these itself.
            state.requests += u64::from(request.path != "/cluster/workers");
            let every = match self.fault {
                Fault::LeaksDescriptors => 10,
                Fault::LeaksSlowly => 200,
                _ => u64::MAX,
            };
            if state.requests.is_multiple_of(every) {
                state.kept.push(File::open("/dev/null").unwrap());
            }
            if self.fault == Fault::LeaksMemory {
                state.hoard.extend([7; 1024]);
            }
            (state.pids[worker], state.requests)
        };
        let who = json!({"id": worker + 1, "pid": pid});
        let _blocked = match self.fault {
            Fault::BlocksEventLoop if !request.path.ends_with("workers") => {
                Some(self.event_loops[worker].lock().unwrap())
            }
            _ => None,
        };
        self.suffer(worker, request);
        let broken = match self.fault {
            Fault::Flaky => requests % 20 == 0,
            Fault::DropsRequests => {
                let crashed = self.state.lock().unwrap().crashed;
                crashed.is_some_and(|when| when.elapsed() < Duration::from_millis(100))
            }
            _ => false,
        };
        if broken && request.method == "GET" && request.path == "/cluster/info" {
            return problem(502, &who);
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/cluster/info") if self.fault == Fault::WrongForm => {
                ok(json!({"worker": who, "stats": 7}))
            }
            ("GET" | "HEAD", "/cluster/info") => {
                ok(json!({"worker": who, "stats": {"requestCount": requests}}))
            }
            ("GET", "/cluster/workers") => ok(self.list()),
            ("GET", "/health") => {
                ok(json!({"status": "ok", "workers": {"online": WORKERS, "desired": WORKERS}}))
            }
            ("GET", "/cluster/memory") => ok(self.memory(&who)),
            ("GET", "/cluster/local-state") => ok(json!({"worker": who, "requestCount": self.count(worker)})),
            ("POST", "/cluster/cpu-intensive") => self.compute(&who, request, &body),
            ("GET", "/openapi.json") => self.describe(&who),
            ("POST", "/cluster/crash") => self.crash(worker, &body),
            (method, path) if path.starts_with("/cluster/shared-state") => {
                self.shared_state(worker, &who, method, request, &body)
            }
            (_, "/cluster/info") => problem(405, &who),
            _ => problem(404, &who),
        }
    }

    /// Waits, when the worker hangs.
    fn suffer(&self, worker: usize, request: &Request) {
        let hung = self.state.lock().unwrap().hung == Some(worker);
        if hung && request.path == "/cluster/info" {
            thread::sleep(Duration::from_secs(2));
        }
    }

    fn list(&self) -> Value {
        let state = self.state.lock().unwrap();
        let workers: Vec<Value> = (0..WORKERS)
            .map(|index| {
                json!({
                    "id": index + 1, "pid": state.pids[index], "state": "online", "port": null, "uptime": "1.00s",
                    "restarts": 0, "requests": state.requests / WORKERS as u64, "rss": null,
                    "inFlight": if index == 0 { self.in_flight.load(Ordering::SeqCst) } else { 0 },
                })
            })
            .collect();
        json!({"primary": {"pid": std::process::id()}, "workers": workers, "count": WORKERS})
    }

    fn memory(&self, who: &Value) -> Value {
        let used = if self.fault == Fault::RenamedMemory { 8 } else { 2 };
        let bytes = |mb: u64| mb * 1024 * 1024;
        let text = |mb: u64| format!("{mb}.00 MB");
        let figures = [("rss", 8), ("peakRss", 9), ("virtual", 80), ("heapUsed", used), ("heapTotal", 8)];
        let map = |f: &dyn Fn(u64) -> Value| {
            Value::Object(figures.iter().map(|&(name, mb)| (name.to_owned(), f(mb))).collect())
        };
        json!({"worker": who, "memory": map(&|mb| text(mb).into()), "bytes": map(&|mb| bytes(mb).into())})
    }

    fn count(&self, worker: usize) -> u64 {
        let mut state = self.state.lock().unwrap();
        let counter = if self.fault == Fault::SharedCounter { 0 } else { worker };
        let count = state.local.entry(counter).or_default();
        *count += 1;
        *count
    }

    fn compute(&self, who: &Value, request: &Request, body: &Value) -> Reply {
        let Some(n) = body["n"].as_u64().filter(|&n| n <= 45 && !request.body.is_empty()) else {
            return problem(400, who);
        };
        let time = Duration::from_millis(60).mul_f64(1.6_f64.powi(n as i32 - 28));
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        {
            let _turn = (self.fault == Fault::Serial).then(|| self.computing.lock().unwrap());
            thread::sleep(time);
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let result = (0..n).fold((0_u64, 1_u64), |(a, b), _| (b, a + b)).0;
        let duration = format!("{}ms", time.as_millis());
        ok(json!({"worker": who, "calculation": {"input": n, "result": result, "duration": duration}}))
    }

    fn describe(&self, who: &Value) -> Reply {
        if self.fault != Fault::WrongForm {
            return problem(404, who);
        }
        let schema =
            json!({"type": "object", "required": ["stats"], "properties": {"stats": {"type": "object"}}});
        let info = json!({"responses": {"200": {"content": {"application/json": {"schema": schema}}}}});
        ok(json!({"openapi": "3.1.0", "paths": {"/cluster/info": {"get": info}}}))
    }

    fn crash(&self, worker: usize, body: &Value) -> Reply {
        let mut state = self.state.lock().unwrap();
        let pid = state.pids[worker];
        state.crashed = Some(Instant::now());
        let hang = body["mode"] == "hang";
        let replaced: Vec<usize> = match self.fault {
            Fault::NeverRestarts => vec![],
            Fault::IgnoresHang if hang => {
                state.hung = Some(worker);
                vec![]
            }
            Fault::RestartsAll => (0..WORKERS).collect(),
            _ => vec![worker],
        };
        for index in replaced {
            state.pids[index] += 10;
        }
        if self.fault == Fault::ForgetsOnCrash {
            for (value, _) in state.values.values_mut() {
                *value = json!(value.as_i64().unwrap_or_default() - 5);
            }
        }
        ok(json!({"message": "crashing", "workerId": worker + 1, "pid": pid}))
    }

    fn shared_state(
        &self,
        worker: usize,
        who: &Value,
        method: &str,
        request: &Request,
        body: &Value,
    ) -> Reply {
        if self.redis.is_some_and(|redis| !answers(redis)) {
            if self.fault == Fault::HangsWithoutRedis {
                thread::sleep(Duration::from_millis(2500));
            }
            return problem(503, who);
        }
        let rest = request.path.trim_start_matches("/cluster/shared-state").trim_start_matches('/');
        let (key, increment) = match rest.strip_suffix("/increment") {
            Some(key) => (key, true),
            None => (rest, false),
        };
        let place = |key: &str| match self.fault {
            Fault::StatePerWorker => format!("{worker}/{key}"),
            _ => key.to_owned(),
        };
        let mut state = self.state.lock().unwrap();
        state.values.retain(|_, (_, end)| end.is_none_or(|end| end > Instant::now()));
        match (method, key, increment) {
            ("POST", "", false) => self.store(&mut state, who, request, body, place),
            ("POST", key, true) => {
                let (value, _) = state.values.entry(place(key)).or_insert((json!(0), None));
                let Some(sum) = value.as_i64().map(|value| value + 1) else { return problem(409, who) };
                *value = json!(sum);
                state.increments += 1;
                if self.fault == Fault::LostIncrement && state.increments.is_multiple_of(50) {
                    state.values.insert(place(key), (json!(sum - 1), None));
                }
                ok(json!({"worker": who, "key": key, "value": sum}))
            }
            ("GET", key, false) if key.len() > 256 => problem(400, who),
            ("GET", key, false) => match state.values.get(&place(key)) {
                Some((value, _)) => ok(json!({"worker": who, "key": key, "value": value, "found": true})),
                None => Reply {
                    status: 404,
                    ..ok(json!({"worker": who, "key": key, "value": null, "found": false}))
                },
            },
            ("DELETE", key, false) => {
                let deleted = state.values.remove(&place(key)).is_some();
                ok(json!({"worker": who, "key": key, "deleted": deleted}))
            }
            _ => problem(405, who),
        }
    }

    fn store(
        &self,
        state: &mut State,
        who: &Value,
        request: &Request,
        body: &Value,
        place: impl Fn(&str) -> String,
    ) -> Reply {
        if request.headers.get("content-type").is_none_or(|kind| kind != "application/json") {
            return problem(415, who);
        }
        if request.body.len() > 1024 * 1024 {
            return problem(413, who);
        }
        let key = body["key"].as_str().filter(|key| !key.is_empty() && !key.contains('\0'));
        let (Some(key), Some(value)) = (key, body.get("value")) else { return problem(400, who) };
        let life = body["ttlSeconds"].as_u64().filter(|_| self.fault != Fault::NeverExpires);
        let end = life.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        state.values.insert(place(key), (value.clone(), end));
        ok(json!({"worker": who, "key": key, "value": value}))
    }
}

/// Does a Redis answer there, soon?
fn answers(redis: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let limit = Duration::from_millis(500);
        let mut stream = TcpStream::connect_timeout(&redis, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        Ok(&reply == b"+PONG")
    };
    ask().unwrap_or(false)
}
