//! What the world tells the fleet.

use std::time::Duration;

use shared_protocol::{Generation, ReleaseChanges, ReloadMode};

use super::{Load, ScaleStep};

/// Names a requester who waits for the progress of a rollout and its final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Who waits for a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Requester {
    pub id: RequestId,
    /// Also for the end of those that it has retired.
    pub awaits_drain: bool,
}

/// How many workers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleTo {
    Exactly(usize),
    More(usize),
    Fewer(usize),
}

impl ScaleTo {
    /// The number of workers that is wanted where there are `now`.
    pub fn resolve(self, now: usize) -> usize {
        match self {
            Self::Exactly(to) => to,
            Self::More(more) => now.saturating_add(more),
            Self::Fewer(fewer) => now.saturating_sub(fewer),
        }
    }
}

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A process that the fleet had launched has something to report.
    Process { generation: Generation, report: Report },
    /// Answers [`Effect::OpenRelease`](super::Effect::OpenRelease) with what differs from
    /// the release that runs, or why there is none.
    ReleaseOpened(Result<ReleaseChanges, String>),
    /// Answers [`Effect::Measure`](super::Effect::Measure).
    Measured(Vec<Measurement>),
    /// Answers [`Effect::MeasureStarts`](super::Effect::MeasureStarts): do the processes
    /// that are starting keep the processors busy?
    StartsMeasured { busy: bool },
    /// Every worker is to be replaced; in the mode that is configured, if none is asked for.
    /// Without a requester, a reload that is asked for during another rollout follows it;
    /// with one it is refused.
    Reload { mode: Option<ReloadMode>, requester: Option<Requester> },
    /// The number of workers is to change; a requester matters as in [`Self::Reload`].
    Scale { to: ScaleTo, requester: Option<Requester> },
    /// Another cluster is to succeed this one. Answered by
    /// [`Effect::BeginUpgrade`](super::Effect::BeginUpgrade); if it may, [`Self::EndUpgrade`]
    /// follows unless this one ends.
    BeginUpgrade,
    /// Nothing has come of it.
    EndUpgrade,
    /// The load asks for another number of workers.
    Autoscale(ScaleStep),
    /// All workers are to stop. Their long-lived connections end within this time, and what
    /// else they have ends now; the kill timeout follows. Those that do not handle SIGTERM are
    /// told last.
    Stop { long_lived: Duration, told_last: Vec<Generation> },
    /// All workers are to be killed.
    Kill,
    /// [`Fleet::next_deadline`](super::Fleet::next_deadline) has passed.
    Tick,
}

/// What became of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Report {
    /// It was started. Answers [`Effect::Launch`](super::Effect::Launch).
    Launched { jitter: Jitter },
    /// It could not be started. Answers [`Effect::Launch`](super::Effect::Launch),
    /// and nothing more follows from this process.
    LaunchFailed { why: String, jitter: Jitter },
    /// It runs, and its port is known.
    Up,
    /// It says itself that it cannot start; its exit follows.
    CouldNotStart { why: String },
    /// It says that it is about to stop, though nobody here told it to.
    Leaving,
    /// A health probe has ended, or is overdue, while the process had this in hand.
    Probed { result: ProbeResult, load: Load },
    /// Answers [`Effect::Examine`](super::Effect::Examine).
    Examined(Load),
    /// It was withdrawn, and has only long-lived connections. One that does not handle SIGTERM
    /// would cut them all at once, so it is told last.
    OnlyLongLived { handles_terminate: bool },
    /// It was withdrawn, and has nothing in flight.
    Drained,
    /// It is gone and reaped. Reported exactly once and last.
    Exited(Exit),
}

/// What a health probe found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProbeResult {
    Healthy,
    Missed {
        why: String,
    },
    /// Another program answers on the port that the process was given.
    PortTaken,
    /// No probe could be made, through no fault of the worker.
    Unknown {
        why: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exit {
    /// For people, such as `exit status: 1`.
    pub how: String,
    /// It ended as a process does that was asked to stop.
    pub orderly: bool,
    /// What it means that it ended before it was ready, for people, if more is known.
    pub cause: Option<String>,
}

/// What a process had used when it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measurement {
    pub generation: Generation,
    /// Requests that it was ever handed.
    pub requests: u64,
    /// Bytes of memory; `None` when memory was not measured.
    pub memory: Option<u64>,
}

/// A random number that each process draws at its launch, so that processes which
/// started together do not wait or reach their limits together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Jitter(u16);

impl Jitter {
    /// Takes nothing off.
    pub(crate) const NONE: Self = Self(0);

    /// From a uniformly distributed number.
    pub fn new(random: u16) -> Self {
        Self(random)
    }

    /// As a share, uniform in 0.0…1.0.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(u16::MAX)
    }
}
