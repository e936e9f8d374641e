//! How the rest of the program asks the supervisor for something.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared_protocol::{Progress, ReloadMode};
use tokio::sync::mpsc;
use tracing::warn;

use balancer_fleet::ScaleTo;

/// Commands that may wait for the supervisor; more make their senders wait.
const QUEUED_COMMANDS: usize = 16;

const UPGRADING: &str = "an upgrade is in progress; try again when it is over";

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
    /// Stop all workers, whose long-lived connections end within this time. Each has the
    /// kill timeout after that.
    Stop { long_lived: Duration },
    /// Stop all workers at once.
    Kill,
}

/// Sends commands to the supervisor. Cloning it is cheap.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    before_reload: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Another cluster is about to succeed this one, so nothing may be changed.
    is_upgrading: Arc<AtomicBool>,
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
        let (before_reload, is_upgrading) = (Arc::new(before_reload), Arc::default());
        (Self { commands, before_reload, is_upgrading }, received)
    }

    /// Says whether an upgrade is in progress: reloads and changes of the number of workers are
    /// turned down meanwhile.
    pub fn set_upgrading(&self, is_upgrading: bool) {
        self.is_upgrading.store(is_upgrading, Ordering::Relaxed);
    }

    /// Turns `command` down if it may not be carried out now, and says so.
    fn turns_down(&self, command: &Command) -> bool {
        let (Command::Reload { reply, .. } | Command::Scale { reply, .. }) = command else { return false };
        if !self.is_upgrading.load(Ordering::Relaxed) {
            return false;
        }
        match reply {
            Some(Reply { progress, .. }) => {
                // In vain when the requester is gone.
                let _ = progress
                    .try_send(Progress::Failed { reason: UPGRADING.to_owned(), last_lines: Vec::new() });
            }
            None => warn!("a change that a signal asked for is turned down: {UPGRADING}"),
        }
        true
    }

    /// Sends `command`, and waits for room if there is none.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn send(&self, command: Command) -> Result<(), NotTaken> {
        self.prepare(&command);
        if self.turns_down(&command) {
            return Ok(());
        }
        self.commands.send(command).await.map_err(|_| NotTaken)
    }

    /// As [`Self::send`], without waiting.
    ///
    /// # Errors
    /// When the supervisor has ended, or too many commands wait for it.
    pub fn try_send(&self, command: Command) -> Result<(), NotTaken> {
        self.prepare(&command);
        if self.turns_down(&command) {
            return Ok(());
        }
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
