//! What the fleet wants done, and what it has to tell.

use std::time::Duration;

use shared_protocol::{Generation, ReleaseChanges, ReleaseId, ReloadMode, WorkerId};

use super::recycle::Reached;
use super::{Exit, Hang, PortChoice, RequestId, RolloutKind, ScaleReason};
use shared_protocol::RestartReason;

/// One thing to be done. Effects are carried out in their order, and what answers
/// them is handed to the fleet before anything else that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Start a process. Answered by `Report::Launched` or `Report::LaunchFailed`.
    Launch(Launch),
    /// Probe this process's health from now on, until it exits.
    Probe(Generation),
    /// Hand requests to this process.
    Publish(Generation),
    /// Hand no further requests to this process.
    Withdraw(Generation),
    /// Report when this withdrawn process has only long-lived connections, if it has any,
    /// and when it has nothing more in flight.
    AwaitDrain(Generation),
    /// The connections of this process are to end: all of them at once, or the long-lived
    /// ones spread evenly over this time.
    Close { generation: Generation, over: Option<Duration> },
    /// Tell this process that only long-lived connections are left (with the signal that
    /// was chosen in place of SIGTERM).
    SignalDrain { generation: Generation, signal: i32 },
    /// Ask this process to stop (SIGTERM to its group).
    Terminate(Generation),
    /// End this process (SIGKILL to its group).
    Kill(Generation),
    /// Open the release that is installed now under this number, for a reload.
    /// Answered by `Input::ReleaseOpened`.
    OpenRelease(ReleaseId),
    /// This opened release is the one that the cluster runs from now on.
    AdoptRelease(ReleaseId),
    /// Nothing is started from this release any more.
    DropRelease(ReleaseId),
    /// Count what the processes have used; memory up to this limit in bytes, if it is to
    /// be measured. Answered by `Input::Measured`.
    Measure { memory: Option<u64> },
    /// Find out whether the processes that are starting keep the processors busy.
    /// Answered by `Input::StartsMeasured`.
    MeasureStarts,
    /// Find out what this process has in hand. Answered by `Report::Examined`.
    Examine(Generation),
    /// This process has taken over: the kernel is to end it no sooner than any other
    /// worker when memory runs out.
    Protect(Generation),
    /// An upgrade may begin, or why it may not. Answers `Input::BeginUpgrade`.
    BeginUpgrade(Result<(), &'static str>),
    /// Tell everybody concerned what has happened; `requester` is who asked for the
    /// rollout that it belongs to.
    Announce { event: ClusterEvent, requester: Option<RequestId> },
}

/// One start of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Launch {
    pub worker: WorkerId,
    /// It is to stand by for a rollout that may fail.
    pub on_trial: bool,
    pub generation: Generation,
    /// How many workers the cluster wants.
    pub workers: usize,
    /// Which executable, environment and directory it is started from.
    pub release: ReleaseId,
    pub port: PortChoice,
}

/// A fact. It is announced once, and the shell turns it into whatever log line,
/// event, metric, notice and progress it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClusterEvent {
    /// A process was started.
    Started { worker: WorkerId, generation: Generation, on_trial: bool },
    /// A process could not be started.
    LaunchFailed { worker: WorkerId, why: String },
    /// A process said that it could not start.
    CouldNotStart { worker: WorkerId, generation: Generation, why: String },
    /// A process gets requests from now on, `after` its launch, and has taken over
    /// from another for the reason given.
    Online { worker: WorkerId, generation: Generation, after: Duration, replaces: Option<RestartReason> },
    /// A candidate is ready, `after` its launch, and waits to take over.
    StandsBy { worker: WorkerId, generation: Generation, after: Duration },
    /// A process that has yet to get ready did not answer its probe.
    NotReadyYet { worker: WorkerId, generation: Generation, why: String },
    /// A process that was ready did not answer its probe.
    ProbeMissed { worker: WorkerId, generation: Generation, why: String },
    /// A process could not be probed.
    NotProbed { worker: WorkerId, generation: Generation, why: String },
    /// Another program has the port of a process, which is started again.
    PortTaken { worker: WorkerId, generation: Generation },
    /// A process did not get ready within its time.
    NotReadyInTime { worker: WorkerId, generation: Generation, within: Duration, why: String },
    /// A process has missed so many probes in a row that it gets no requests until it
    /// answers one.
    OutOfTurn { worker: WorkerId, generation: Generation, misses: u32 },
    /// A process gets requests again: it has answered a probe, or nobody else is in turn.
    BackInTurn { worker: WorkerId, generation: Generation, answered: bool },
    /// A process is hung, and is replaced.
    Hung { worker: WorkerId, generation: Generation, hang: Hang },
    /// A process gets no further requests and finishes what it has.
    Draining { worker: WorkerId, generation: Generation },
    /// A process gets no further requests, and its successor starts when it has ended.
    TakenDown {
        worker: WorkerId,
        /// `None` where none runs.
        generation: Option<Generation>,
        /// It is the so-manieth one of the rollout, from 1…
        place: usize,
        /// …of so many.
        of: usize,
        /// How long its requests may take, and its long-lived connections if it has nothing else.
        within: (Duration, Duration),
        /// No other worker serves meanwhile.
        alone: bool,
    },
    /// A process that was asked to stop did not do so in time.
    Killed { worker: WorkerId, generation: Generation },
    /// A process has ended. `expected` says that it was told to or had said that it
    /// would, `retired` that a rollout was waiting for it.
    Exited { worker: WorkerId, generation: Generation, exit: Exit, expected: bool, retired: bool },
    /// A slot waits before its next start.
    BackingOff { worker: WorkerId, wait: Duration },
    /// A process is started in place of one that has ended.
    Restarting { worker: WorkerId, reason: RestartReason, restarts: u64 },
    /// Processes get their ports in another way from now on.
    PortPolicyChanged { worker: WorkerId, next: PortChoice },
    /// The cluster serves for the first time, `after` its start.
    Ready { online: usize, workers: usize, after: Duration },
    /// No worker has ever been ready, and each of the slots has failed at least so often:
    /// the cluster stops.
    GaveUp { tries: u32, workers: usize },
    /// A rollout that nobody waits for was asked for during another, and follows it.
    ReloadQueued,
    /// A change of the number of workers was asked for during another rollout, and follows
    /// it; whoever waits for it is told.
    ScaleQueued,
    /// No reload can begin now.
    ReloadRefused { why: String },
    /// The number of workers does not change.
    ScaleRefused { workers: usize, why: String },
    /// There is nothing to reload.
    ReleaseNotOpened { why: String },
    /// The release of the reload that begins differs from the one that runs.
    ReleaseChanged { changes: ReleaseChanges },
    /// A rollout begins, with so many workers.
    RolloutBegan { kind: RolloutKind, mode: ReloadMode, workers: usize },
    /// The load has led to another number of workers: a rollout begins.
    Autoscaled { from: usize, to: usize, reason: ScaleReason },
    /// One worker has reached a limit, and its replacement begins.
    LimitReached { worker: WorkerId, generation: Generation, reached: Reached },
    /// One worker has reached its memory limit as soon as it was online, as the one
    /// before it did. Replacements for this reason wait.
    LimitTooLow { worker: WorkerId, generation: Generation, reached: Reached, wait: Duration },
    /// So many candidates take over.
    Switched { kind: RolloutKind, candidates: usize },
    /// A retired process has less time for what it has, as its slot retires another one.
    DrainCutShort { worker: WorkerId, generation: Generation },
    /// A rollout is complete, `after` its beginning. Those that it has `retired` finish what
    /// they have.
    RolloutDone { kind: RolloutKind, workers: usize, retired: Vec<Generation>, after: Duration },
    /// All that a rollout has retired are gone, `after` its beginning. Only for those who
    /// have waited for it.
    DrainDone { kind: RolloutKind, workers: usize, after: Duration },
    /// A rollout has ended early. `culprit` is the process that has failed, if one has.
    RolloutFailed { kind: RolloutKind, left: Left, why: String, culprit: Option<Generation> },
}

/// What a rollout leaves that has ended early.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Left {
    /// Nothing of it was to be seen.
    AsBefore,
    /// It had switched, and only what it has retired was still waited for.
    Switched,
    /// Workers were replaced one after the other.
    Mixed(Mixed),
}

/// Which workers a rollout that goes from one to the next had got to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mixed {
    /// Those that were replaced.
    pub new: Vec<WorkerId>,
    /// The one that was down: it is started again as it was before.
    pub down: Option<WorkerId>,
    /// Those that are as before.
    pub old: Vec<WorkerId>,
}

impl ClusterEvent {
    /// Nothing more follows for the requester.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::ReloadRefused { .. }
                | Self::ScaleRefused { .. }
                | Self::ReleaseNotOpened { .. }
                | Self::RolloutDone { .. }
                | Self::DrainDone { .. }
                | Self::RolloutFailed { .. }
        )
    }
}
