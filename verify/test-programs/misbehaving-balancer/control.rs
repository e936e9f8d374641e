//! The control socket, as far as it says where a balancer listens.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Answers every request on `path` with a status that says `address`.
pub fn serve(path: &Path, address: SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    let body = json!({"address": address}).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // Whoever asks may have gone away.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// Where the balancer behind `path` listens; waits until it says so.
pub fn address(path: &Path) -> SocketAddr {
    loop {
        if let Ok(Some(address)) = ask(path) {
            return address;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn ask(path: &Path) -> io::Result<Option<SocketAddr>> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status: Value = serde_json::from_str(body).unwrap_or_default();
    Ok(status["address"].as_str().and_then(|address| address.parse().ok()))
}
