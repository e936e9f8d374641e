//! The side of an upgrade that is succeeded.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer_admin::control::UpgradeRequest;
use balancer_state::events::Events;
use balancer_state::registry::Registry;
use balancer_supervisor::notify;
use balancer_supervisor::process::Children;
use balancer_supervisor::{Handle, Unchanged};
use shared_process::inherited::Inherited;
use shared_protocol::{EventKind, Progress, SuccessorMessage, TAKE_OVER, Upgraded};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::channel::Channel;
use super::launch::Candidate;
use super::{Estate, Invocation};

/// For a program to read its configuration: whatever does not say that it has done so is none
/// that could succeed this one.
const CONFIGURED: Duration = Duration::from_secs(10);
/// Beyond the time in which a worker that does not get ready is given up.
const MARGIN: Duration = Duration::from_secs(5);
/// For a successor to accept connections, with its workers ready.
const SERVING: Duration = Duration::from_secs(10);
/// For a program that has closed its end of the channel to end.
const ENDING: Duration = Duration::from_secs(1);
/// Programs that end a container when their child has ended.
const INITS: [&str; 5] = ["tini", "dumb-init", "docker-init", "catatonit", "podman-init"];

/// Carries out upgrades.
#[derive(Debug)]
pub(crate) struct Predecessor {
    requests: mpsc::Receiver<UpgradeRequest>,
    parts: Parts,
}

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) invocation: Invocation,
    pub(crate) inherited: Inherited,
    /// Workers have the sockets of clients, which no successor could take over with them.
    pub(crate) is_direct: bool,
    pub(crate) estate: Estate,
    pub(crate) children: Children,
    pub(crate) supervisor: Handle,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
}

/// Who serves from now on.
#[derive(Debug)]
pub(crate) struct Succeeded {
    successor: Candidate,
    /// There is nothing left to change.
    _unchanged: Unchanged,
}

impl Succeeded {
    pub(crate) fn pid(&self) -> u32 {
        self.successor.pid
    }

    /// Asks it to stop, as this process was asked.
    pub(crate) fn stop(&self) {
        info!("pid {}, which has just succeeded this one, is told to stop as well", self.pid());
        self.successor.stop();
    }
}

/// What a successor has said.
#[derive(Debug)]
struct Taken {
    version: String,
    workers: usize,
    /// Of the belongings; all of them if it has not said so.
    kept: Option<Vec<String>>,
}

/// Why an upgrade has failed.
#[derive(Debug)]
struct Failure {
    reason: String,
    last_lines: Vec<String>,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self { reason, last_lines: Vec::new() }
    }
}

impl Predecessor {
    pub(crate) fn new(requests: mpsc::Receiver<UpgradeRequest>, parts: Parts) -> Self {
        Self { requests, parts }
    }

    /// Carries out upgrades until one of them is done. When this process is `stopping`, one that
    /// is under way is abandoned and `None` returned, unless the successor was told already that
    /// it may take over. Dropping the future kills a successor that has not taken over.
    pub(crate) async fn succeeded(&mut self, mut stopping: watch::Receiver<bool>) -> Option<Succeeded> {
        let Self { requests, parts } = self;
        loop {
            let request = tokio::select! {
                () = begun(&mut stopping) => return None,
                Some(request) = requests.recv() => request,
            };
            let UpgradeRequest { upgrade, progress } = request;
            let invocation = Invocation {
                executable: upgrade.executable.map_or_else(
                    || parts.invocation.executable.clone(),
                    |word| PathBuf::from(OsString::from(word)),
                ),
                arguments: upgrade.arguments.map_or_else(
                    || parts.invocation.arguments.clone(),
                    |words| words.into_iter().map(OsString::from).collect(),
                ),
            };
            let tell = Requester::new(progress);
            let attempt = parts.attempt(&invocation, &tell, stopping.clone());
            tokio::pin!(attempt);
            let result = loop {
                tokio::select! {
                    result = &mut attempt => break result,
                    Some(other) = requests.recv() => {
                        Requester::new(other.progress).failed("another upgrade is in progress".to_owned().into());
                    }
                }
            };
            match result {
                Ok((upgraded, successor, unchanged)) => {
                    let pid = upgraded.pid;
                    parts.note(format!("succeeded by pid {pid}, version {}", upgraded.version));
                    let text = format!("taken over by pid {pid}, version {}", upgraded.version);
                    notify::succeeded(pid, &text);
                    tell.done(upgraded);
                    return Some(Succeeded { successor, _unchanged: unchanged });
                }
                Err(failure) => {
                    warn!(lastLines = failure.last_lines.join("\n"), "upgrade failed: {}", failure.reason);
                    parts.note(format!("upgrade failed: {}", failure.reason));
                    tell.failed(failure);
                }
            }
        }
    }

    /// Lets go of the listening sockets, so that they close with the threads that accept.
    pub(crate) fn close(&mut self) {
        self.parts.estate.close();
    }
}

impl Parts {
    fn note(&self, text: String) {
        self.events.note(EventKind::Upgrade, None, None, text);
    }

    async fn attempt(
        &self,
        invocation: &Invocation,
        tell: &Requester,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<(Upgraded, Candidate, Unchanged), Failure> {
        let began = Instant::now();
        if let Some(why) = self.obstacle() {
            return Err(why.into());
        }
        let unchanged = self.supervisor.begin_upgrade().await?;
        info!("upgrade: starting {}", invocation.executable.display());
        let handover = self.estate.handover(&self.registry);
        let sockets = self.estate.sockets().map_err(|err| err.to_string())?;
        let (mut candidate, stream) =
            Candidate::start(invocation, sockets, self.inherited, handover, &self.children)
                .map_err(|err| err.to_string())?;
        let (pid, from_pid) = (candidate.pid, std::process::id());
        self.registry.set_successor(Some(pid));
        tell.send(Progress::Successor { pid });
        let prepared = tokio::select! {
            biased;
            () = begun(&mut stopping) => Err(abandoned(from_pid, pid).into()),
            prepared = prepare(&mut candidate, stream, tell) => prepared,
        };
        let taken = match prepared {
            Ok(prepared) => take_over(&mut candidate, prepared).await,
            Err(failure) => Err(failure),
        };
        match taken {
            Ok(Taken { version, workers, kept }) => {
                candidate.release();
                self.estate.belongings.give_away(kept.as_deref());
                let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let from_version = env!("CARGO_PKG_VERSION").to_owned();
                let upgraded = Upgraded { from_pid, pid, from_version, version, workers, after_ms };
                Ok((upgraded, candidate, unchanged))
            }
            Err(mut failure) => {
                // Nothing of it is left when the failure is told.
                let _ = candidate.end().await;
                self.registry.set_successor(None);
                if failure.last_lines.is_empty() {
                    failure.last_lines = candidate.last_words().await;
                }
                Err(failure)
            }
        }
    }

    /// Why there can be no upgrade of this process; what the cluster does is for its supervisor.
    fn obstacle(&self) -> Option<String> {
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let init = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
        let cure = "replace the container, or use reload";
        if self.is_direct {
            let why = "with --dispatch direct workers have clients' connections, which nobody could take over: use \
                       reload for a new release of the program, and restart for another balancer";
            return Some(why.to_owned());
        }
        if std::process::id() == 1 {
            return Some(format!("as process 1 it cannot end without ending its container; {cure}"));
        }
        if parent == 1 && INITS.contains(&init.trim()) {
            return Some(format!("{} ends the container when this process ends; {cure}", init.trim()));
        }
        // Its workers are still as they were while it only waits for its end to be known.
        self.registry.is_shutting_down().then(|| "the cluster is stopping".to_owned())
    }
}

/// One that is ready to take over.
struct Prepared {
    channel: Channel,
    version: String,
    workers: usize,
}

/// Returns when it is ready.
async fn prepare(
    candidate: &mut Candidate,
    stream: std::os::unix::net::UnixStream,
    tell: &Requester,
) -> Result<Prepared, Failure> {
    let mut channel = Channel::new(stream).map_err(|err| err.to_string())?;
    let first = next(candidate, &mut channel, CONFIGURED, "it had read its configuration").await?;
    let SuccessorMessage::Configured { version, mut workers, startup_ms } = first else {
        return Err("the new balancer is not understood; is it of another version?".to_owned().into());
    };
    let patience = Duration::from_millis(startup_ms).saturating_add(MARGIN);
    loop {
        match next(candidate, &mut channel, patience, "its workers were ready").await? {
            SuccessorMessage::Online { online, workers: of } => {
                workers = of;
                tell.send(Progress::SuccessorOnline { online, workers });
            }
            SuccessorMessage::Ready => return Ok(Prepared { channel, version, workers }),
            _ => {}
        }
    }
}

/// From here on there is no way back: it may serve before it says so.
async fn take_over(candidate: &mut Candidate, prepared: Prepared) -> Result<Taken, Failure> {
    let Prepared { mut channel, version, workers } = prepared;
    candidate.may_take_over();
    let _ = channel.send(&TAKE_OVER).await;
    loop {
        let message = next(candidate, &mut channel, SERVING, "it served").await?;
        if let SuccessorMessage::Serving { keeps: kept } = message {
            return Ok(Taken { version, workers, kept });
        }
    }
}

/// Returns when the stop has begun.
async fn begun(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        // It will not, as nobody can say so any more.
        std::future::pending().await
    }
}

/// What the successor says next, within `limit`, and before what it is to say or do.
async fn next(
    candidate: &mut Candidate,
    channel: &mut Channel,
    limit: Duration,
    before: &str,
) -> Result<SuccessorMessage, Failure> {
    let received = tokio::select! {
        biased;
        received = timeout(limit, channel.receive()) => received,
        // What it has started may have the channel for longer.
        status = candidate.wait() => match timeout(ENDING, channel.receive()).await {
            Ok(Ok(Some(message))) => Ok(Ok(Some(message))),
            _ => return Err(has_ended(status, before).into()),
        },
    };
    match received {
        Err(_) => {
            let seconds = limit.as_secs();
            Err(format!("the new balancer was silent for {seconds} s before {before}: it was killed").into())
        }
        Ok(Ok(Some(SuccessorMessage::Failed { reason, last_lines }))) => Err(Failure { reason, last_lines }),
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Err(err)) if err.kind() == io::ErrorKind::InvalidData => {
            Err(format!("the new balancer is not understood: {err}").into())
        }
        // One that has not read everything resets the connection.
        Ok(Ok(None) | Err(_)) => Err(match timeout(ENDING, candidate.wait()).await {
            Ok(status) => has_ended(status, before),
            Err(_) => format!("the new balancer closed its connection before {before}"),
        }
        .into()),
    }
}

fn has_ended(status: io::Result<ExitStatus>, before: &str) -> String {
    match status {
        Ok(status) if status.code() == Some(127) => {
            format!("the new balancer could not be run ({status})")
        }
        Ok(status) => format!("the new balancer ended with {status} before {before}"),
        Err(err) => format!("the new balancer ended before {before}: {err}"),
    }
}

/// Who is told how an upgrade goes, if anybody is. Whoever has not heard how it has ended when
/// this is dropped hears that the cluster stops.
struct Requester {
    progress: Option<mpsc::Sender<Progress>>,
    has_ended: Cell<bool>,
}

impl Requester {
    fn new(progress: Option<mpsc::Sender<Progress>>) -> Self {
        Self { progress, has_ended: Cell::new(false) }
    }

    fn send(&self, step: Progress) {
        if let Some(sender) = &self.progress {
            // In vain when the requester is gone.
            let _ = sender.try_send(step);
        }
    }

    fn done(&self, upgraded: Upgraded) {
        self.has_ended.set(true);
        self.send(Progress::Upgraded(upgraded));
    }

    fn failed(&self, failure: Failure) {
        self.has_ended.set(true);
        self.send(Progress::Failed { reason: failure.reason, last_lines: failure.last_lines });
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        if !self.has_ended.get() {
            warn!("upgrade abandoned: {STOPS}");
            self.failed(STOPS.to_owned().into());
        }
    }
}

const STOPS: &str = "the cluster stops, and the new balancer is killed";

fn abandoned(own: u32, successor: u32) -> String {
    format!(
        "the upgrade is abandoned, as the cluster stops: the new balancer, pid {successor}, has served \
         nothing and ends, and so does the running one, pid {own}"
    )
}
