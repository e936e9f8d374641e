//! How the rest of the program asks the supervisor for something.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use shared_protocol::{Progress, ReloadMode};
use tokio::sync::{mpsc, oneshot};

use balancer_fleet::ScaleTo;

/// Commands that may wait for the supervisor; more make their senders wait.
const QUEUED_COMMANDS: usize = 16;

const ENDED: &str = "the cluster is stopping";

/// Channel on which a requester receives the progress of what it has asked for;
/// messages are dropped when it is full.
pub type ProgressSender = mpsc::Sender<Progress>;

/// Where a requester receives progress, and how long it waits.
#[derive(Debug, Clone)]
pub struct Reply {
    pub progress: ProgressSender,
    /// Until those that a change has retired are gone, not only until the switch.
    pub awaits_drain: bool,
}

/// What the supervisor can be told.
#[derive(Debug)]
pub enum Command {
    /// Replace all workers, in the mode that is configured if none is given. Without a
    /// reply, a reload that is asked for during another rollout follows it.
    Reload { mode: Option<ReloadMode>, reply: Option<Reply> },
    /// Change the number of workers; a reply matters as for a reload.
    Scale { to: ScaleTo, reply: Option<Reply> },
    /// Another cluster is to succeed this one: nothing else changes until `over`.
    Upgrade(Upgrade),
    /// Stop all workers, whose long-lived connections end within this time. Each has the
    /// kill timeout after that.
    Stop { long_lived: Duration },
    /// Stop all workers at once.
    Kill,
}

/// Who wants to succeed the cluster.
#[derive(Debug)]
pub struct Upgrade {
    /// May it begin, or why not?
    pub(crate) answer: oneshot::Sender<Result<(), String>>,
    /// Ready when nothing has come of it.
    pub(crate) over: oneshot::Receiver<Infallible>,
}

/// Nothing of the cluster changes while this lives.
#[derive(Debug)]
pub struct Unchanged {
    _until: oneshot::Sender<Infallible>,
}

/// Sends commands to the supervisor. Cloning it is cheap.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    before_reload: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// The supervisor takes no more commands, because it has ended or, where nobody
/// waits, because too many are waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the supervisor is busy or has ended")]
pub struct NotTaken;

impl Handle {
    /// A handle, and what the supervisor receives from it. `before_reload` runs for
    /// each reload that is asked for, whatever becomes of it: log files that somebody
    /// has moved away must be let go, and certificates are read again. Who has asked for the
    /// reload is told what it returns.
    pub fn new(
        before_reload: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, received) = mpsc::channel(QUEUED_COMMANDS);
        (Self { commands, before_reload: Arc::new(before_reload) }, received)
    }

    /// Has nothing change until what this returns is dropped, so that another cluster can succeed
    /// this one.
    ///
    /// # Errors
    /// Why that may not be now.
    pub async fn begin_upgrade(&self) -> Result<Unchanged, String> {
        let (answer, answered) = oneshot::channel();
        let (unchanged, over) = oneshot::channel();
        let ended = || ENDED.to_owned();
        self.send(Command::Upgrade(Upgrade { answer, over })).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())??;
        Ok(Unchanged { _until: unchanged })
    }

    /// Sends `command`, and waits for room if there is none.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn send(&self, command: Command) -> Result<(), NotTaken> {
        self.prepare(&command);
        self.commands.send(command).await.map_err(|_| NotTaken)
    }

    /// As [`Self::send`], without waiting.
    ///
    /// # Errors
    /// When the supervisor has ended, or too many commands wait for it.
    pub fn try_send(&self, command: Command) -> Result<(), NotTaken> {
        self.prepare(&command);
        self.commands.try_send(command).map_err(|_| NotTaken)
    }

    fn prepare(&self, command: &Command) {
        let Command::Reload { reply, .. } = command else { return };
        for reason in (self.before_reload)() {
            if let Some(reply) = reply {
                // As for all progress: whoever is far behind may miss something.
                let _ = reply.progress.try_send(Progress::Warning { reason });
            }
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
