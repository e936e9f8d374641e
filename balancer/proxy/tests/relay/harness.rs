//! The request path by itself: a relay in this process, in front of programs
//! that record what reaches them and answer as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use balancer_access_log::AccessLog;
use balancer_pool::{Pool, Worker};
use balancer_proxy::listener::{self, Listener, ListenerOptions, Phase, Serving};
use balancer_proxy::{OpenRequests, Proxy, ProxyLimits};
use balancer_state::counters::Counters;
use shared_protocol::{Generation, WorkerId};
pub use shared_testkit::connection::{read_all, status};
use tokio::sync::{Semaphore, watch};

/// Longest that a test waits for bytes.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A request as it reached the program behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

pub type Behaviour = dyn Fn(&mut TcpStream, &Seen) + Send + Sync;

/// The program behind.
pub struct Upstream {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    /// Answers everything with `ok`.
    pub fn start() -> Self {
        Self::with(|stream, _| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        })
    }

    /// Calls `behaviour` for every request that has come whole.
    pub fn with(behaviour: impl Fn(&mut TcpStream, &Seen) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (seen, behaviour) = (Arc::clone(&seen), Arc::clone(&behaviour));
                    thread::spawn(move || record(stream, &seen, &*behaviour));
                }
            }
        });
        Self { address, seen }
    }

    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn record(stream: TcpStream, seen: &Mutex<Vec<Seen>>, behaviour: &Behaviour) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(line.split_once(": ")?.1.to_owned())
        };
        let mut body = Vec::new();
        if let Some(length) = field("content-length:") {
            // Damaged requests may announce more than there is memory.
            let length: u64 = length.parse().ok()?;
            let count = reader.by_ref().take(length).read_to_end(&mut body).ok()?;
            (count as u64 == length).then_some(())?;
        } else if field("transfer-encoding:").is_some() {
            while read_chunk(&mut reader, &mut body)? {}
        }
        let request = Seen { head, body };
        seen.lock().unwrap().push(request.clone());
        behaviour(&mut writer, &request);
    }
}

/// Appends one chunk, or the trailers, as it is. Says whether another one follows.
fn read_chunk(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<bool> {
    let start = body.len();
    (reader.read_until(b'\n', body).ok()? > 0).then_some(())?;
    let size = std::str::from_utf8(&body[start..]).ok()?.trim_end();
    let size = usize::from_str_radix(size, 16).ok()?;
    if size == 0 {
        while !body.ends_with(b"\r\n\r\n") {
            (reader.read_until(b'\n', body).ok()? > 0).then_some(())?;
        }
        return Some(false);
    }
    let data = body.len();
    body.resize(data + size + 2, 0);
    reader.read_exact(&mut body[data..]).ok()?;
    Some(true)
}

/// A relay in front of `upstreams`, as workers 1, 2, and so on.
pub struct Relay {
    pub address: SocketAddr,
    pub pool: Arc<Pool>,
    pub counters: Arc<Counters>,
    phase: watch::Sender<Phase>,
}

impl Relay {
    pub fn start(upstreams: &[SocketAddr], limits: ProxyLimits) -> Self {
        Self::logged(upstreams, limits, AccessLog::default())
    }

    /// As [`Self::start`], with an access log.
    pub fn logged(upstreams: &[SocketAddr], limits: ProxyLimits, access_log: AccessLog) -> Self {
        Self::with_options(upstreams, limits, access_log, ListenerOptions::default())
    }

    /// As [`Self::start`], with such a listener.
    pub fn on(upstreams: &[SocketAddr], limits: ProxyLimits, options: ListenerOptions) -> Self {
        Self::with_options(upstreams, limits, AccessLog::default(), options)
    }

    /// As [`Self::logged`], on a listener with these options.
    pub fn with_options(
        upstreams: &[SocketAddr],
        limits: ProxyLimits,
        access_log: AccessLog,
        options: ListenerOptions,
    ) -> Self {
        let (pool, counters) = (Arc::new(Pool::default()), Arc::new(Counters::default()));
        for (id, &address) in (1..).zip(upstreams) {
            let traffic = counters.traffic(WorkerId(id));
            pool.publish(Arc::new(Worker::new(
                WorkerId(id),
                id,
                Generation(u64::from(id)),
                address,
                traffic,
            )));
        }
        let open = OpenRequests::default();
        let mut proxy = Proxy::new(Arc::clone(&pool), Arc::default(), Arc::clone(&counters), open, limits);
        proxy.own_routes = false;
        proxy.access_log = access_log;
        let (phase, phase_seen) = watch::channel(Phase::Open);
        let serving = Serving {
            app: Arc::new(proxy),
            phase: phase_seen,
            permits: Arc::new(Semaphore::new(1_000)),
            slots: None,
        };
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.address().unwrap().unwrap();
        listener::serve(vec![listener.with(options)], 1, &serving).unwrap();
        Self { address, pool, counters, phase }
    }

    /// Closes the listeners, as the shutdown of the cluster does first.
    pub fn close(&self) {
        self.phase.send_replace(Phase::Closing);
    }

    /// Sends `bytes` on a connection of their own.
    pub fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// As [`Self::send`]; returns all that comes until the relay closes.
    pub fn ask(&self, bytes: &[u8]) -> String {
        read_all(self.send(bytes))
    }

    /// As [`Self::ask`], by a client that sends no more after `bytes`.
    pub fn ask_and_end(&self, bytes: &[u8]) -> String {
        let stream = self.send(bytes);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(stream)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Ended);
    }
}

/// Reads until `text` has come.
pub fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(text.as_bytes()) {
        match stream.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            other => panic!("{other:?} before {text:?}: {}", String::from_utf8_lossy(&read)),
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}
