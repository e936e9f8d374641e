//! The real balancer, behind a proxy that loses requests while it is reloaded or
//! scaled. Requests do not come in pipelines here, so one read begins with each.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::Arguments;
use crate::control;
use crate::process::{beside, guarded};

struct Gate {
    mark: PathBuf,
    every: usize,
    seen: AtomicUsize,
}

impl Gate {
    fn loses(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"GET ")
            && self.mark.exists()
            && (self.seen.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(self.every)
    }
}

/// Serves until the program is killed, with the real balancer behind it. A GET in
/// `every` is lost while the file `mark` is there.
#[expect(clippy::zombie_processes, reason = "this program runs until it is killed, and the balancer with it")]
pub fn run(every: usize, mark: PathBuf, arguments: &Arguments) {
    let control = real_control(&arguments.control);
    let mut command = guarded(beside("balancer"));
    command.args(&arguments.others).arg("--control").arg(&control).stdout(Stdio::null());
    let _balancer = command.spawn().unwrap();
    let target = control::address(&control);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    control::serve(&arguments.control, listener.local_addr().unwrap());
    let gate = Arc::new(Gate { mark, every, seen: AtomicUsize::new(0) });
    for client in listener.incoming().map_while(Result::ok) {
        let gate = Arc::clone(&gate);
        thread::spawn(move || carry(client, target, &gate));
    }
}

/// The control socket of the balancer behind the proxy, which answers on `path`.
fn real_control(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".real");
    path.into()
}

fn carry(mut client: TcpStream, target: SocketAddr, gate: &Gate) {
    let Ok(mut server) = TcpStream::connect(target) else { return };
    let (Ok(mut from), Ok(mut to)) = (server.try_clone(), client.try_clone()) else { return };
    let _ = (server.set_nodelay(true), client.set_nodelay(true));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..count];
        if gate.loses(bytes) {
            let _ = client.shutdown(Shutdown::Both);
            break;
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}
