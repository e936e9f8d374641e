//! The side of an upgrade that succeeds.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use balancer_state::events::Events;
use balancer_state::registry::{Registry, Role};
use balancer_supervisor::notify;
use shared_protocol::{Handover, SuccessorMessage, TAKE_OVER, WorkerState};
use tracing::{info, warn};

use super::channel::{self, Channel};
use super::last_words;

/// For the predecessor's first line, which it sends at once.
const HANDOVER: Duration = Duration::from_secs(5);

/// A program that was started to succeed another one.
#[derive(Debug)]
pub(crate) struct Successor {
    stream: UnixStream,
    pub(crate) handover: Handover,
}

/// What a successor looks at while its workers start.
pub(crate) struct Start {
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
    pub(crate) workers: usize,
    /// After which a worker that does not get ready is given up.
    pub(crate) startup: Duration,
}

impl Successor {
    /// Reads the predecessor's first line.
    ///
    /// # Errors
    /// When there is none, or it is not understood.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(HANDOVER))?;
        // Nothing more comes until this side has spoken.
        let (line, stderr) = last_words::receive(&stream, channel::LONGEST)?;
        let handover: Handover = serde_json::from_slice(&line)?;
        if let (Some(pipe), Some(stderr)) = (handover.stderr_pipe, stderr) {
            last_words::leave(pipe, stderr)?;
        }
        notify::set_main(false);
        Ok(Self { handover, stream })
    }

    /// Tells the predecessor, if it is still there, that nothing comes of it.
    pub(crate) fn fail(&self, reason: String) {
        fail(&self.stream, reason);
    }

    /// Another descriptor for [`fail`], for what goes wrong later.
    pub(crate) fn reporter(&self) -> Option<UnixStream> {
        self.stream.try_clone().ok()
    }

    /// Tells the predecessor how the start goes, and calls `take_over` when it is time: when
    /// the predecessor says so, or is gone. That returns what it has of the predecessor's files.
    pub(crate) async fn run(self, start: Start, take_over: impl FnOnce() -> Vec<String>) {
        let Self { stream, handover } = self;
        let pid = handover.pid;
        let mut channel = match Channel::new(stream) {
            Ok(channel) => channel,
            Err(err) => {
                warn!(%err, "the predecessor, pid {pid}, cannot be talked to");
                return;
            }
        };
        match tell(&mut channel, &start).await {
            Ok(()) => info!("took over from pid {pid}, version {}", handover.version),
            Err(_) => warn!("the predecessor, pid {pid}, is gone: taking over"),
        }
        let keeps = Some(take_over());
        notify::set_main(true);
        // In vain when it is gone.
        let _ = channel.send(&SuccessorMessage::Serving { keeps }).await;
    }
}

/// Returns when the predecessor says that it is time.
///
/// # Errors
/// When it is gone.
async fn tell(channel: &mut Channel, start: &Start) -> io::Result<()> {
    let Start { registry, events, workers, startup } = start;
    let startup_ms = u64::try_from(startup.as_millis()).unwrap_or(u64::MAX);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    channel.send(&SuccessorMessage::Configured { version, workers: *workers, startup_ms }).await?;
    let mut happened = events.watch();
    let mut told = None;
    let mut is_ready = false;
    loop {
        happened.mark_unchanged();
        if !is_ready {
            let counts = registry.health().workers;
            if let Some((reason, last_lines)) = failed_start(registry) {
                channel.send(&SuccessorMessage::Failed { reason, last_lines }).await?;
            } else if told != Some(counts.online) {
                told = Some(counts.online);
                let (online, workers) = (counts.online, counts.desired);
                channel.send(&SuccessorMessage::Online { online, workers }).await?;
                is_ready = online == workers;
                if is_ready {
                    channel.send(&SuccessorMessage::Ready).await?;
                }
            }
        }
        tokio::select! {
            word = channel.receive::<String>() => match word? {
                Some(word) if word == TAKE_OVER => return Ok(()),
                Some(_) => {}
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            },
            _ = happened.changed() => {}
        }
    }
}

/// Why a worker has not got ready, once one has ended.
fn failed_start(registry: &Registry) -> Option<(String, Vec<String>)> {
    let entries = registry.entries();
    let current = entries.iter().filter(|entry| entry.role == Role::Current);
    let failed = current.clone().find(|entry| {
        matches!(entry.state, WorkerState::Backoff | WorkerState::Failed) || entry.restarts > 0
    })?;
    let (why, last_lines) = match &failed.reason {
        Some(reason) => (reason.text.clone(), reason.last_lines.clone()),
        None => ("it ended before it was ready".to_owned(), Vec::new()),
    };
    Some((format!("worker {} of the new balancer: {why}", failed.id), last_lines))
}

/// Tells the predecessor on `stream` that nothing comes of it.
pub(crate) fn fail(mut stream: &UnixStream, reason: String) {
    let message = SuccessorMessage::Failed { reason, last_lines: Vec::new() };
    // In vain when it is gone.
    let _ = stream.write_all(&channel::line(&message));
}
