//! The log of a program, read while it comes.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

/// All lines so far. They are read until the program has ended, so that it never
/// waits for a reader.
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Log {
    pub fn follow(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let (stream, lines) = (BufReader::new(stream), Arc::clone(&lines));
            move || stream.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
        });
        Self { lines, reader: Some(reader) }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The lines, which are JSON where standard error is not a terminal. Another
    /// line becomes `{"not json": LINE}`.
    pub fn events(&self) -> Vec<Value> {
        let event = |line: String| serde_json::from_str(&line).unwrap_or_else(|_| json!({"not json": line}));
        self.lines().into_iter().map(event).collect()
    }

    /// Where a cluster listens, or a single process, which says its URL.
    pub fn address(&self) -> Option<SocketAddr> {
        let events = self.events();
        let url = |event: &Value| event["url"].as_str()?.strip_prefix("http://")?.parse().ok();
        let address = events.iter().find_map(|event| event["address"].as_str()?.parse().ok());
        address.or(events.iter().find_map(url))
    }

    /// Waits for the last line, when the program has ended.
    pub fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
