//! The event loop: takes in what happens, one thing at a time, asks the fleet what is
//! to be done about it, and shows the others how things stand.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use balancer_pool::{Worker, Workload};
use balancer_state::ClusterState;
use balancer_state::registry::{self, Entry, Reason};
use rustix::process::Signal;
use shared_protocol::Generation;
use tokio::sync::{mpsc, oneshot};

use crate::announce::Announcer;
use crate::clock::{self, Clock};
use crate::handle::{Command, Upgrade};
use crate::handles::Experience;
use crate::load_watch::LoadWatch;
use crate::look::Look;
use crate::measure::StartUsage;
use crate::notify;
use crate::oom::OomWatch;
use crate::probe::{Outcome, Probing};
use crate::process::ProcessReport;
use crate::reasons::Readiness;
use crate::running::{RunningProcess, RunningProcesses};
use crate::system::{Looks, Outcomes, Reports, System};
use balancer_fleet::{Effect, Exit, Fleet, Input, Load, Member, ProbeResult, Report, Role, Settings};

/// Reports that may wait for the supervisor; more make their senders wait.
const QUEUED_REPORTS: usize = 256;

/// Owns the processes of a cluster.
#[derive(Debug)]
pub struct Supervisor<S> {
    pub(crate) fleet: Fleet,
    pub(crate) system: S,
    pub(crate) state: ClusterState,
    pub(crate) running: RunningProcesses,
    pub(crate) announcer: Announcer,
    pub(crate) clock: Clock,
    oom: OomWatch,
    /// The processor time of those that are starting, when it was measured last.
    pub(crate) starts: StartUsage,
    /// Looks at the load, where that chooses the number of workers.
    pub(crate) load_watch: Option<LoadWatch>,
    /// Who asks whether an upgrade may begin.
    pub(crate) upgrade_asked: Option<Upgrade>,
    /// Ready when the upgrade is over that is under way.
    pub(crate) upgrade: Option<oneshot::Receiver<Infallible>>,
    /// What is to be carried out before the first thing happens.
    first: Vec<Effect>,
    /// What the fleet is told next, in this order.
    pub(crate) inputs: VecDeque<Input>,
    pub(crate) reports: Reports,
    reported: mpsc::Receiver<(Generation, ProcessReport)>,
    pub(crate) outcomes: Outcomes,
    probed: mpsc::Receiver<(Generation, Outcome)>,
    pub(crate) looks: Looks,
    looked: mpsc::Receiver<(Generation, Look)>,
    pub(crate) readiness: Readiness,
    pub(crate) experience: Experience,
}

/// How a cluster has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As it was told to.
    Stopped,
    /// No worker was ever ready; says why, with what the program has printed last.
    GaveUp(Reason),
}

impl<S: System> Supervisor<S> {
    /// Shows its slots from the beginning, so that requests which come before
    /// [`Self::run`] wait for the first worker.
    pub fn new(settings: Settings, probing: Probing, system: S, state: ClusterState) -> Self {
        let clock = Clock::default();
        let readiness = Readiness::new(&settings.limits, probing);
        let (fleet, first) = Fleet::new(settings, clock.now());
        let (reports, reported) = mpsc::channel(QUEUED_REPORTS);
        let (outcomes, probed) = mpsc::channel(QUEUED_REPORTS);
        let (looks, looked) = mpsc::channel(QUEUED_REPORTS);
        let supervisor = Self {
            fleet,
            system,
            announcer: Announcer::new(&state),
            clock,
            oom: OomWatch::new(),
            starts: StartUsage::default(),
            state,
            running: RunningProcesses::new(),
            load_watch: None,
            upgrade_asked: None,
            upgrade: None,
            first,
            inputs: VecDeque::new(),
            reports,
            reported,
            outcomes,
            probed,
            looks,
            looked,
            readiness,
            experience: Experience::default(),
        };
        supervisor.publish();
        supervisor
    }

    /// Starts the workers and looks after them until told to stop, and then until the
    /// last of them is reaped. When nobody can send `commands` any more, all workers
    /// are killed.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Ended {
        let mut watchdog = notify::watchdog();
        let first = std::mem::take(&mut self.first);
        first.into_iter().for_each(|effect| self.carry_out(effect));
        let mut commanded = true;
        loop {
            self.handle_inputs();
            self.system.tidy();
            self.publish();
            if self.fleet.is_stopped() {
                break;
            }
            // Reports come before deadlines, so that a process which has ended in time
            // is not found late, and both before probes, of which there are many.
            tokio::select! {
                biased;
                command = commands.recv(), if commanded => {
                    commanded = command.is_some();
                    self.on_command(command.unwrap_or(Command::Kill));
                }
                Some((generation, report)) = self.reported.recv() => self.on_report(generation, report),
                true = self.clock.reaches(self.fleet.next_deadline()) => self.inputs.push_back(Input::Tick),
                Some((generation, outcome)) = self.probed.recv() => self.on_outcome(generation, outcome),
                Some((generation, look)) = self.looked.recv() => self.on_look(generation, look),
                () = LoadWatch::tick(&mut self.load_watch) => self.on_load(),
                () = upgrade_over(&mut self.upgrade) => {
                    self.upgrade = None;
                    self.inputs.push_back(Input::EndUpgrade);
                }
                () = watchdog.tick() => {}
            }
        }
        self.system.last_words().await;
        self.readiness.gave_up.map_or(Ended::Stopped, Ended::GaveUp)
    }

    /// Tells the fleet what has happened, and then what answers its effects.
    fn handle_inputs(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            let ended = match &input {
                Input::Process { generation, report: Report::Exited(_) } => Some(*generation),
                _ => None,
            };
            for effect in self.fleet.handle(input, self.clock.now()) {
                self.carry_out(effect);
            }
            if let Some(generation) = ended {
                self.running.remove(&generation);
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        self.inputs.push_back(match command {
            Command::Reload { mode, reply } => {
                Input::Reload { mode, requester: self.announcer.requester(reply) }
            }
            Command::Scale { to, reply } => Input::Scale { to, requester: self.announcer.requester(reply) },
            Command::Upgrade(upgrade) => {
                // One at a time: who carries upgrades out asks again when the last one is over.
                self.upgrade_asked = Some(upgrade);
                Input::BeginUpgrade
            }
            Command::Stop { long_lived } => Input::Stop { long_lived, told_last: self.told_last() },
            Command::Kill => Input::Kill,
        });
    }

    fn on_report(&mut self, generation: Generation, report: ProcessReport) {
        let Some(running) = self.running.get_mut(&generation) else { return };
        let report = match report {
            ProcessReport::Up { pid, port } => {
                let members = self.fleet.members();
                let member = members.iter().find(|member| member.generation() == Some(generation));
                let Some(Member { id, .. }) = member else { return };
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let traffic = self.state.counters.traffic(*id);
                running.pid = pid;
                running.worker = Some(Arc::new(Worker::new(*id, pid, generation, address, traffic)));
                self.watch_start(generation, Some(address));
                self.announce_start(generation);
                Report::Up
            }
            ProcessReport::CouldNotStart { reason } => {
                running.start.has_reported = true;
                Report::CouldNotStart { why: reason }
            }
            ProcessReport::Traffic(traffic) => {
                if let Some(worker) = &running.worker {
                    worker.report(&traffic);
                }
                return;
            }
            ProcessReport::Leaving => Report::Leaving,
            ProcessReport::OnlyLongLived { may_handle_terminate } => {
                let Some(handles_terminate) = self.handles_terminate(generation, may_handle_terminate) else {
                    return;
                };
                Report::OnlyLongLived { handles_terminate }
            }
            ProcessReport::Drained => Report::Drained,
            ProcessReport::Exited { status, left } => {
                self.announce_start(generation);
                let mut exit = exit(status.as_ref().ok());
                let code = status.as_ref().ok().and_then(ExitStatus::code);
                let by_terminate =
                    status.as_ref().is_ok_and(|status| status.signal() == Some(Signal::TERM.as_raw()));
                self.note_end(generation, by_terminate);
                let by_kill = status.is_ok_and(|status| status.signal() == Some(Signal::KILL.as_raw()));
                if by_kill && self.oom.claim() {
                    exit.how.push_str(", probably out of memory");
                }
                exit.cause = self.early_end(generation, &exit.how, code, left.as_ref());
                Report::Exited(exit)
            }
        };
        self.inputs.push_back(Input::Process { generation, report });
    }

    fn announce_start(&mut self, generation: Generation) {
        self.announcer.announce_start(generation, &self.running, self.fleet.is_stopping());
    }

    fn on_outcome(&mut self, generation: Generation, outcome: Outcome) {
        let result = match outcome {
            Outcome::Healthy(healthy) => {
                self.on_healthy(generation, healthy);
                ProbeResult::Healthy
            }
            Outcome::Missed(miss) => ProbeResult::Missed { why: self.missed(generation, &miss) },
            Outcome::PortTaken => ProbeResult::PortTaken,
            Outcome::Unknown { why } => ProbeResult::Unknown { why },
        };
        let report = Report::Probed { result, load: self.load(generation) };
        self.inputs.push_back(Input::Process { generation, report });
    }

    /// What this process has in hand.
    pub(crate) fn load(&self, generation: Generation) -> Load {
        let worker = self.running.get(&generation).and_then(|running| running.worker.as_ref());
        let Some(worker) = worker else { return Load::none(self.clock.now()) };
        let Workload { requests, client_waits, moved, abandoned } = worker.workload();
        let (moved, is_full) = (self.clock.fleets(moved), self.state.pool.is_full(worker));
        Load { requests, client_waits, moved, abandoned, is_full }
    }

    /// Shows the request path and operators how things stand.
    fn publish(&self) {
        let next_start = self.fleet.next_start().map(|start| self.clock.machines(start));
        self.state.pool.set_next_start(next_start.map(Into::into));
        let mut entries: Vec<_> = self.fleet.members().iter().map(|member| self.entry(member)).collect();
        entries.sort_by_key(|entry| entry.id);
        if let Some(slots) = &self.state.slots {
            slots.retain(|id| entries.iter().any(|entry| entry.id == id));
        }
        self.state.registry.publish(entries);
    }

    fn entry(&self, member: &Member) -> Entry {
        let running = member.generation().and_then(|generation| self.running.get(&generation));
        Entry {
            id: member.id,
            role: match member.role {
                Role::Current => registry::Role::Current,
                Role::Candidate => registry::Role::Candidate,
                Role::Retiring | Role::Abandoned => registry::Role::Retiring,
            },
            state: member.phase.worker_state(),
            since: clock::now(),
            pid: running.map(|running| running.pid),
            shim: running.and_then(RunningProcess::shim),
            worker: running.and_then(|running| running.worker.clone()),
            online_since: member.phase.online_since().map(|since| self.clock.machines(since)),
            restarts: member.history.restarts,
            last_reason: member.history.last_reason,
            release: member.release,
            store: running.and_then(|running| running.store.clone()),
            reason: self.readiness.reason_of(member),
        }
    }
}

/// Returns when the upgrade that is under way has come to nothing.
async fn upgrade_over(upgrade: &mut Option<oneshot::Receiver<Infallible>>) {
    match upgrade {
        // Nothing is ever sent: whoever has asked for it has let go.
        Some(over) => drop(over.await),
        None => std::future::pending().await,
    }
}

/// Exit code of a program whose end by SIGTERM is told by a shell, or by a runtime that
/// handles the signal, as Java's does: 128 and the signal's number.
const TERMINATED: i32 = 128 + Signal::TERM.as_raw();

/// Programs that do not handle the signal that they are stopped by end by it.
fn exit(status: Option<&ExitStatus>) -> Exit {
    let orderly = |status: &ExitStatus| {
        matches!(status.code(), Some(0 | TERMINATED)) || status.signal() == Some(Signal::TERM.as_raw())
    };
    Exit {
        how: status.map_or_else(|| "in an unknown way".to_owned(), |status| status.to_string()),
        orderly: status.is_some_and(orderly),
        cause: None,
    }
}

#[cfg(test)]
mod tests;
