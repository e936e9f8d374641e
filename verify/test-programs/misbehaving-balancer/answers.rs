//! What the workers answer.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::http::Request;
use crate::server::{Reply, Server, WORKERS, ok, problem};

impl Server {
    pub fn answer(&self, worker: usize, request: &Request) -> Reply {
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
                state.leaked_files.push(File::open("/dev/null").unwrap());
            }
            if self.fault == Fault::LeaksMemory {
                state.leaked_bytes.extend([7; 1024]);
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
}
