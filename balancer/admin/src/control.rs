//! The control socket: HTTP over a Unix socket that only the cluster's own user
//! can open. What the admin listener answers is answered here as well; what
//! changes the cluster is answered nowhere else.

mod socket;

pub use socket::{ControlSocket, Place, Places, Prepared, SocketError, SocketInUse};

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use rustix::process::{Pid, Signal};
use shared_protocol::problem::Problem;
use shared_protocol::{Progress, Scale, Status, Stopping, Upgrade};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::http::{Acceptor, Handler, LINES, Reply, Server};
use crate::logs;
use crate::maintenance;
use crate::read;
use balancer_state::ClusterState;
use balancer_state::registry::Registry;
use balancer_state::response::Response;
use balancer_state::samples::Samples;
use balancer_supervisor::{Command, Handle, ScaleTo};

/// Steps of a change that may wait for the client: more than the largest has.
const STEPS: usize = 4096;
/// A body of a request to the control socket has fewer bytes.
const BODY_LIMIT: usize = 4096;

/// A command line is shorter: it may have 2 MiB where the stack has its usual limit (execve(2)),
/// which JSON makes at most four times as long where it is text.
const UPGRADE_LIMIT: usize = 8 * 1024 * 1024;

/// Somebody asks that another cluster succeed this one.
#[derive(Debug)]
pub struct UpgradeRequest {
    pub upgrade: Upgrade,
    /// None when a signal asks.
    pub progress: Option<mpsc::Sender<Progress>>,
}

/// Answers on the control socket until dropped.
#[derive(Debug, Clone)]
pub struct Control {
    pub state: ClusterState,
    pub samples: Arc<Samples>,
    pub supervisor: Handle,
    /// Has room for none when an upgrade is in progress.
    pub upgrades: mpsc::Sender<UpgradeRequest>,
    /// Where clients connect.
    pub address: String,
    /// All of these places, as URLs.
    pub listeners: Vec<String>,
    pub admin: Option<String>,
    pub started: Instant,
}

impl Control {
    /// Answers for ever, on another socket when the file of this one is gone.
    ///
    /// # Errors
    /// When the system does not let it listen.
    pub async fn serve(self, mut socket: ControlSocket, places: &Places) -> io::Result<()> {
        let server = Server::default();
        loop {
            let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
            let renewed = tokio::select! {
                () = server.run("control socket", listener, self.clone()) => return Ok(()),
                renewed = socket.renewed(places) => renewed,
            };
            socket = renewed;
        }
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.clone(),
            listeners: self.listeners.clone(),
            admin: self.admin.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            health: self.state.registry.health(),
            shutdown: self.state.registry.shutdown(Instant::now()),
            maintenance: maintenance::now(&self.state.registry),
            range: self.state.registry.range(),
            sample: self.samples.last(),
            certificates: self.state.certificates.all().to_vec(),
            list: self.state.registry.worker_list(Instant::now()),
        }
    }

    /// Passes on a command and streams what becomes of it; with `?wait=true` up to the end
    /// of those workers that it has retired.
    async fn command(&self, uri: &Uri, command: impl FnOnce(balancer_supervisor::Reply) -> Command) -> Reply {
        if self.state.registry.is_shutting_down() {
            return stopping();
        }
        let (progress, steps) = mpsc::channel(STEPS);
        let awaits_drain = query(uri, "wait") == Some("true");
        let reply = balancer_supervisor::Reply { progress, awaits_drain };
        if self.supervisor.send(command(reply)).await.is_err() {
            return stopping();
        }
        Self::stream(steps)
    }

    /// Asks for a successor and streams what becomes of it.
    async fn upgrade(&self, upgrade: Upgrade) -> Reply {
        if self.state.registry.is_shutting_down() {
            return stopping();
        }
        let (progress, steps) = mpsc::channel(STEPS);
        let request = UpgradeRequest { upgrade, progress: Some(progress) };
        match self.upgrades.try_send(request) {
            Ok(()) => Self::stream(steps),
            Err(TrySendError::Full(_)) => {
                Response::problem(Problem::new(409, "another upgrade is in progress")).into()
            }
            Err(TrySendError::Closed(_)) => stopping(),
        }
    }

    fn stream(mut steps: mpsc::Receiver<Progress>) -> Reply {
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
        let (user, peer) = (rustix::process::getuid().as_raw(), stream.peer_cred());
        Ok(peer.is_ok_and(|peer| peer.uid() == user || peer.uid() == 0).then_some(stream))
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
            (&Method::POST, "/reload") => {
                let mode = query(&head.uri, "mode").map(str::parse).transpose();
                match mode {
                    Ok(mode) => {
                        self.command(&head.uri, |reply| Command::Reload { mode, reply: Some(reply) }).await
                    }
                    Err(err) => {
                        Response::problem(Problem::new(400, format!("the mode of a reload: {err}"))).into()
                    }
                }
            }
            (&Method::POST, "/upgrade") => {
                let Ok(body) = Limited::new(body, UPGRADE_LIMIT).collect().await else {
                    let detail = format!("a command line has fewer than {UPGRADE_LIMIT} bytes");
                    return Response::problem(Problem::new(413, detail)).into();
                };
                match serde_json::from_slice(&body.to_bytes()) {
                    Ok(upgrade) => self.upgrade(upgrade).await,
                    Err(err) => {
                        let detail =
                            format!("the body must be like {{\"arguments\":[\"--workers\",\"4\"]}}: {err}");
                        Response::problem(Problem::new(400, detail)).into()
                    }
                }
            }
            (&Method::POST, "/stop") => stop(&self.state.registry).into(),
            (&Method::POST, "/scale") => {
                let body = Limited::new(body, BODY_LIMIT).collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                match scale(&body) {
                    Ok(to) => {
                        self.command(&head.uri, |reply| Command::Scale { to, reply: Some(reply) }).await
                    }
                    Err(detail) => Response::problem(Problem::new(400, detail)).into(),
                }
            }
            (&Method::POST, "/maintenance") => {
                let body = Limited::new(body, BODY_LIMIT).collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                maintenance::begin(&self.state, &body).into()
            }
            (&Method::DELETE, "/maintenance") => maintenance::end(&self.state).into(),
            (_, "/maintenance") => Response::not_allowed(path, method.as_str(), "POST, DELETE").into(),
            (_, "/status" | "/logs") => Response::not_allowed(path, method.as_str(), "GET").into(),
            (_, "/reload" | "/scale" | "/stop" | "/upgrade") => {
                Response::not_allowed(path, method.as_str(), "POST").into()
            }
            _ => read(&self.state, method, path, &head.headers).into(),
        }
    }
}

/// Nothing is changed any more.
fn stopping() -> Reply {
    Response::problem(Problem::new(503, "the cluster is stopping")).into()
}

/// The value of `name` in the query.
fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// How many workers the body of a request asks for.
fn scale(body: &[u8]) -> Result<ScaleTo, String> {
    let form = "the body must be like {\"workers\":4}, {\"add\":1} or {\"add\":-1}";
    match serde_json::from_slice(body) {
        Ok(Scale::Workers(workers)) => Ok(ScaleTo::Exactly(workers as usize)),
        Ok(Scale::Add(0)) => Err(format!("{form}: 0 changes nothing")),
        Ok(Scale::Add(by)) if by > 0 => Ok(ScaleTo::More(by.unsigned_abs() as usize)),
        Ok(Scale::Add(by)) => Ok(ScaleTo::Fewer(by.unsigned_abs() as usize)),
        Err(err) => Err(format!("{form}: {err}")),
    }
}

/// As a SIGTERM from outside would. Where another process is about to succeed this one, or has,
/// both end.
fn stop(registry: &Registry) -> Response {
    registry.ask_stop();
    let (own, successor) = (rustix::process::getpid(), registry.successor());
    let succeeded = registry.is_succeeded();
    // This one ends already once it is succeeded. The successor is its child, which it keeps from
    // being reaped until then.
    let told = match successor.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        Some(successor) if succeeded => successor,
        _ => own,
    };
    match rustix::process::kill_process(told, Signal::TERM) {
        Ok(()) => {
            let stopping = Stopping { pid: std::process::id(), successor, succeeded };
            Response::json(202, &stopping)
        }
        Err(err) => Response::problem(Problem::new(500, format!("could not begin to stop: {err}"))),
    }
}
