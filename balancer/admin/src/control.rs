//! The control socket: HTTP over a Unix socket that only the cluster's own user
//! can open. What the admin listener answers is answered here as well; what
//! changes the cluster is answered nowhere else.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use rustix::fs::Mode;
use rustix::process::Signal;
use shared_protocol::problem::Problem;
use shared_protocol::{Progress, Scale, Status};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::http::{Acceptor, Handler, Reply, Server};
use crate::logs;
use crate::read;
use balancer_state::ClusterState;
use balancer_state::response::Response;
use balancer_state::samples::Samples;
use balancer_supervisor::{Command, Handle, ScaleTo};

/// Steps of a change that may wait for the client: more than the largest has.
const STEPS: usize = 4096;
/// A body of a request to the control socket has fewer bytes.
const BODY_LIMIT: usize = 4096;
/// How a change's steps are sent, and lines of workers: one JSON object per line.
pub(crate) const LINES: &str = "application/x-ndjson";

#[derive(Debug, thiserror::Error)]
#[error("could not make the control socket {}: {reason} (set --control or CLUSTER_CONTROL)", path.display())]
pub struct SocketError {
    path: PathBuf,
    reason: io::Error,
}

/// The bound socket; its file goes away with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: StdUnixListener,
    pub path: PathBuf,
}

impl ControlSocket {
    /// Binds `path`, for the own user only. What a cluster that was killed has
    /// left there is replaced.
    ///
    /// # Errors
    /// When something else lies there, another cluster listens, or it cannot be made.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let attempt = || -> io::Result<StdUnixListener> {
            remove_stale(path)?;
            // The file must never be open to others, not even for a moment. Nothing
            // else makes files now: no other thread has begun its work.
            let before = rustix::process::umask(Mode::from_raw_mode(0o177));
            let bound = StdUnixListener::bind(path);
            rustix::process::umask(before);
            let listener = bound?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = attempt().map_err(|reason| SocketError { path: path.to_owned(), reason })?;
        // Independent of any working directory.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { listener, path })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Nothing can be done about it, and the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::other("there is a file that is no socket"))
        }
        Ok(_) if StdUnixStream::connect(path).is_ok() => {
            Err(io::Error::other("another cluster listens on it"))
        }
        Ok(_) => std::fs::remove_file(path),
    }
}

/// Answers on the control socket until dropped.
#[derive(Debug, Clone)]
pub struct Control {
    pub state: ClusterState,
    pub samples: Arc<Samples>,
    pub supervisor: Handle,
    /// Where clients connect.
    pub address: String,
    pub admin: Option<String>,
    pub started: Instant,
}

impl Control {
    pub async fn serve(self, socket: &ControlSocket) -> io::Result<()> {
        let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
        Server::default().run("control socket", listener, self).await;
        Ok(())
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.clone(),
            admin: self.admin.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            health: self.state.registry.health(),
            sample: self.samples.last(),
            list: self.state.registry.worker_list(Instant::now()),
        }
    }

    /// Passes on a command and streams what becomes of it.
    async fn command(&self, command: impl FnOnce(mpsc::Sender<Progress>) -> Command) -> Reply {
        let (reply, mut steps) = mpsc::channel(STEPS);
        if self.supervisor.send(command(reply)).await.is_err() {
            return Response::problem(Problem::new(503, "the cluster is stopping")).into();
        }
        let (lines, parts) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(step) = steps.recv().await {
                let mut line = serde_json::to_vec(&step).expect("steps are structs that always serialise");
                line.push(b'\n');
                if lines.send(Bytes::from(line)).await.is_err() {
                    return;
                }
            }
        });
        Reply::stream(LINES, parts)
    }
}

impl Acceptor for UnixListener {
    type Stream = UnixStream;

    /// Turns other users down; the file's mode does the same, but not all systems
    /// heed it (unix(7)).
    async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = Self::accept(self).await?;
        let (user, peer) = (rustix::process::getuid(), rustix::net::sockopt::socket_peercred(stream.as_fd()));
        Ok(peer.is_ok_and(|peer| peer.uid == user || peer.uid.is_root()).then_some(stream))
    }
}

impl Handler for Control {
    async fn answer<B: Body<Data = Bytes> + Send + 'static>(self, request: Request<B>) -> Reply
    where
        B::Error: std::error::Error + Send + Sync,
    {
        let (head, body) = request.into_parts();
        let (method, path) = (&head.method, head.uri.path());
        match (method, path) {
            (&Method::GET, "/status") => Response::json(200, &self.status()).into(),
            (&Method::GET, "/logs") => logs::reply(&self.state.output, head.uri.query().unwrap_or_default()),
            (&Method::POST, "/reload") => self.command(|reply| Command::Reload { reply: Some(reply) }).await,
            (&Method::POST, "/stop") => stop().into(),
            (&Method::POST, "/scale") => {
                let body = Limited::new(body, BODY_LIMIT).collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                match serde_json::from_slice::<Scale>(&body) {
                    Ok(Scale { workers }) => {
                        let to = ScaleTo::Exactly(workers as usize);
                        self.command(|reply| Command::Scale { to, reply: Some(reply) }).await
                    }
                    Err(err) => {
                        let detail = format!("the body must be like {{\"workers\":4}}: {err}");
                        Response::problem(Problem::new(400, detail)).into()
                    }
                }
            }
            (_, "/status" | "/logs") => Response::not_allowed(path, method.as_str(), "GET").into(),
            (_, "/reload" | "/scale" | "/stop") => {
                Response::not_allowed(path, method.as_str(), "POST").into()
            }
            _ => read(&self.state, method, path).into(),
        }
    }
}

/// As a SIGTERM from outside would.
fn stop() -> Response {
    match rustix::process::kill_process(rustix::process::getpid(), Signal::TERM) {
        Ok(()) => Response::json(202, &serde_json::json!({ "pid": std::process::id() })),
        Err(err) => Response::problem(Problem::new(500, format!("could not begin to stop: {err}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_socket_is_private_and_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = ControlSocket::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(second.contains("another cluster listens on it"), "{second}");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_cluster_left_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(ControlSocket::bind(&path).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(ControlSocket::bind(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
