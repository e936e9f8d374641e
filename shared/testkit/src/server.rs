//! A server whose every byte the test decides, with a thread for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What has happened so far.
#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

pub struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    over: Arc<AtomicBool>,
}

/// One connection, as the handler sees it.
pub struct Connection {
    reader: BufReader<TcpStream>,
    counts: Arc<Counts>,
    /// From 0, in the order of acceptance.
    pub number: u64,
}

/// A request that has been read whole.
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
    /// From 0, over all connections.
    pub number: u64,
}

impl Server {
    /// `handle` has each connection to itself and closes it by returning.
    pub fn start(handle: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (counts, over) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let (handle, counts2, over2) = (Arc::new(handle), Arc::clone(&counts), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over2.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                let number = counts2.connections.fetch_add(1, Ordering::Relaxed);
                let connection =
                    Connection { reader: BufReader::new(stream), counts: Arc::clone(&counts2), number };
                let handle = Arc::clone(&handle);
                std::thread::spawn(move || handle(connection));
            }
        });
        Self { address, counts, over }
    }

    /// Answers every request with what `answer` returns, on kept connections.
    pub fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |mut connection| {
            while let Some(request) = connection.read() {
                if !connection.write(&answer(&request)) {
                    return;
                }
            }
        })
    }

    /// A cluster of `workers` workers that are chosen strictly in turn.
    pub fn round_robin(workers: u64) -> Self {
        Self::answering(move |request| worker_answer(request.number % workers + 1))
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Connection {
    /// The head of the next request, its body left unread.
    pub fn read_head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let before = head.len();
            match self.reader.read_line(&mut head) {
                Ok(0) | Err(_) => return None,
                Ok(_) if head.len() == before + 2 => return Some(head),
                Ok(_) => {}
            }
        }
    }

    /// The next request; `None` when the client has closed.
    pub fn read(&mut self) -> Option<Request> {
        let head = self.read_head()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.reader.read_exact(&mut body).ok()?;
        let number = self.counts.requests.fetch_add(1, Ordering::Relaxed);
        Some(Request { head, body, number })
    }

    /// False when the client has gone.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.reader.get_mut().write_all(bytes).is_ok()
    }

    /// Closes with a reset, whatever is still to be sent or read.
    pub fn reset(self) {
        let now = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(self.reader.get_ref(), now).unwrap();
    }
}

pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub fn ok(body: &str) -> Vec<u8> {
    answer("200 OK", "", body)
}

pub fn worker_answer(id: u64) -> Vec<u8> {
    answer("200 OK", &format!("x-worker-id: {id}\r\n"), &format!("{{\"worker\":{{\"id\":{id}}}}}"))
}
