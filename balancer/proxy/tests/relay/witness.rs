//! What a fault leaves behind: the answer, the line in the log, the count, and the mark
//! in the access log.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};

use balancer_access_log::{AccessLog, Format, Guard, Settings, Target};
use balancer_proxy::ProxyLimits;
use balancer_state::faults::WorkerFault;
use serde_json::Value;
use shared_testkit::eventually;
use tempfile::TempDir;

use crate::harness::{Relay, status};

/// All that this process has logged, a JSON object a line. There is one log for all
/// tests, which run side by side, so each asks for a path of its own.
static LOG: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).init();
    lines
});

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A relay whose log, counters and access log are looked at.
pub struct Witness {
    pub relay: Relay,
    path: String,
    directory: TempDir,
    _guard: Guard,
}

impl Witness {
    /// `name` is of this test alone; its requests go to `/name`.
    pub fn start(name: &str, upstreams: &[SocketAddr], limits: ProxyLimits) -> Self {
        LazyLock::force(&LOG);
        let directory = tempfile::tempdir().unwrap();
        let target = Target::File(directory.path().join("access.log"));
        let settings = Settings { target, format: Format::Json };
        let (log, guard) = AccessLog::open(&settings, Arc::default()).unwrap();
        let relay = Relay::logged(upstreams, limits, log);
        Self { relay, path: format!("/{name}"), directory, _guard: guard }
    }

    /// The answer to a request, until the relay closes the connection.
    pub fn ask(&self, method: &str) -> String {
        self.relay.ask(self.request(method).as_bytes())
    }

    /// The status of the answer to a request.
    pub fn status(&self, method: &str) -> u16 {
        status(&self.ask(method))
    }

    pub fn request(&self, method: &str) -> String {
        format!("{method} {}?secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", self.path)
    }

    /// The warnings about this test's requests, with the fault that they name.
    pub fn warnings(&self) -> Vec<Value> {
        let text = String::from_utf8(LOG.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line: &Value| line["path"] == self.path.as_str() && line["level"] == "WARN")
            .collect()
    }

    /// The only warning, once it is there.
    pub fn warning(&self) -> Value {
        let warnings = eventually("it is said", || Some(self.warnings()).filter(|lines| !lines.is_empty()));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        warnings[0].clone()
    }

    /// How often each kind of fault was counted, of all workers together.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let slots = self.relay.counters.slots();
        WorkerFault::ALL
            .into_iter()
            .map(|fault| (fault.name(), slots.iter().filter_map(|slot| slot.faults.get(&fault)).sum()))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// The lines of the access log once there are `count`.
    pub fn access_lines(&self, count: usize) -> Vec<Value> {
        let path = self.directory.path().join("access.log");
        eventually("the requests are logged", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Status and mark of the only request in the access log.
    pub fn logged(&self) -> (u64, Option<String>) {
        let line = self.access_lines(1).remove(0);
        (line["status"].as_u64().unwrap(), line["fault"].as_str().map(str::to_owned))
    }
}
