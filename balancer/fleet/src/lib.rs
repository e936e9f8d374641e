//! What the supervisor decides, as a pure state machine: what happens and a time go
//! in, effects come out. No process, socket or clock is touched here, and nothing
//! is random, so that every order of events can be tried.
//!
//! [`member`] is a slot and its process, `ending` its end, [`health`] the verdicts on it, [`rollout`] a
//! change of many of them; `reports` takes in what became of processes, `starts` lets
//! them through the [`gate`], `turns` says who gets requests, `rolling` carries rollouts
//! along, `one_by_one` those that go from worker to worker (a `succession`), `releases` knows
//! what processes are started from, `give_up` ends a cluster that never gets ready.
//! [`Autoscaler`] judges the load, and `scaling` takes the steps that it asks for. `upgrade` keeps
//! everything as it is while another cluster is about to succeed this one.

mod autoscale;
mod backoff;
mod draining;
mod effect;
mod ending;
mod gate;
mod give_up;
mod health;
mod input;
mod limits;
mod member;
mod one_by_one;
mod phase;
mod port_policy;
mod recycle;
mod releases;
mod reports;
mod rolling;
mod rollout;
mod scaling;
mod seeded;
mod starts;
mod succession;
#[cfg(test)]
mod tests;
mod turns;
mod upgrade;

use std::time::Instant;

use shared_protocol::{ReleaseId, ReloadMode, RestartReason, WorkerId};

pub use autoscale::{Autoscaler, LoadSample, ScaleRange, ScaleReason, ScaleStep, UP_PACE};
pub use effect::{ClusterEvent, Effect, Launch, Left, Mixed};
pub use gate::StartPolicy;
pub use health::{Hang, Health, Load};
pub use input::ScaleTo;
pub use input::{Exit, Input, Jitter, Measurement, ProbeResult, Report, RequestId, Requester};
pub use limits::{DrainSignal, Limits};
pub use member::{Member, Role};
pub use phase::{Phase, Process};
pub use port_policy::{PortChoice, PortPolicy};
pub use recycle::{Reached, RecyclePolicy};
pub use rollout::RolloutKind;

use gate::Gate;
use recycle::{RecycleBudget, RecycleTimer};
use releases::Releases;
use rollout::{ActiveRollout, AwaitedDrain, Queued};
use seeded::{Bug, seeded};

/// Why a rollout cannot begin, or go on.
const STOPPING: &str = "the cluster is stopping";

/// What the fleet goes by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Workers in the beginning.
    pub workers: usize,
    /// More than these find no room.
    pub max_workers: usize,
    /// How workers are replaced as planned.
    pub mode: ReloadMode,
    /// Where the load chooses the number: from which ones. `workers` is one of them, and
    /// `max_workers` not below.
    pub range: Option<ScaleRange>,
    pub limits: Limits,
    pub recycle: RecyclePolicy,
    pub starts: StartPolicy,
    pub ports: PortPolicy,
    /// Failed starts of each slot after which a cluster of which no worker was ever ready
    /// ends; `None` for never.
    pub give_up_after: Option<u32>,
}

/// Where the whole cluster is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lifecycle {
    /// Has not been ready yet.
    Booting {
        since: Instant,
        /// A worker has been ready.
        any_ready: bool,
    },
    Serving,
    Stopping,
}

/// All workers of the cluster, and the rollout that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fleet {
    settings: Settings,
    ports: PortPolicy,
    gate: Gate,
    members: Vec<Member>,
    rollout: Option<ActiveRollout>,
    queued: Queued,
    awaited: Vec<AwaitedDrain>,
    recycle: RecycleTimer,
    releases: Releases,
    lifecycle: Lifecycle,
    /// Another cluster is about to succeed this one.
    is_upgrading: bool,
    /// Processes that were launched so far.
    generations: u64,
    /// What the input that is being handled asks for.
    effects: Vec<Effect>,
}

impl Fleet {
    /// A fleet whose workers are about to be launched: the effects are to be carried
    /// out before anything else.
    pub fn new(settings: Settings, now: Instant) -> (Self, Vec<Effect>) {
        let mut fleet = Self {
            ports: settings.ports,
            gate: Gate::new(settings.starts),
            members: Vec::new(),
            rollout: None,
            queued: Queued::default(),
            awaited: Vec::new(),
            recycle: RecycleTimer::new(now),
            releases: Releases::new(),
            lifecycle: Lifecycle::Booting { since: now, any_ready: false },
            is_upgrading: false,
            generations: 0,
            effects: Vec::new(),
            settings,
        };
        for id in (1..).map(WorkerId).take(fleet.settings.workers) {
            fleet.members.push(Member::new(id, Role::Current, ReleaseId::FIRST, now));
        }
        fleet.start_at_gate(now);
        fleet.watch_gate(now);
        let effects = std::mem::take(&mut fleet.effects);
        (fleet, effects)
    }

    /// Takes in what has happened and says what is to be done about it.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Process { generation, report } => self.on_report(generation, report, now),
            Input::ReleaseOpened(result) => self.on_release_opened(result),
            Input::Measured(measured) => self.on_measured(&measured, now),
            Input::StartsMeasured { busy } => {
                let starting = self.starting();
                self.gate.looked(busy, starting);
            }
            Input::Reload { mode, requester } => self.reload(mode, requester, now),
            Input::Scale { to, requester } => self.scale(to, requester, now),
            Input::BeginUpgrade => self.begin_upgrade(),
            Input::EndUpgrade => self.end_upgrade(),
            Input::Autoscale(step) => self.autoscale(step, now),
            Input::Stop { long_lived, told_last } => self.stop(now, |member, limits| {
                let handles_terminate = member.generation().is_none_or(|own| !told_last.contains(&own));
                member.stop_for_good(long_lived, handles_terminate, limits, now)
            }),
            Input::Kill => self.stop(now, |member, limits| member.kill(limits, now)),
            Input::Tick => self.on_tick(now),
        }
        self.give_up_if_hopeless(now);
        self.start_at_gate(now);
        self.advance(now);
        self.give_up_if_hopeless(now);
        self.watch_gate(now);
        self.settle_turns();
        self.announce_ready(now);
        self.drop_releases();
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Tick`] is to be handled, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let waits = |phase: &&Phase| !(seeded(Bug::BackoffForEver) && matches!(phase, Phase::Backoff { .. }));
        let phases = self.members.iter().map(|member| &member.phase).filter(waits);
        phases.filter_map(Phase::deadline).chain(self.next_check()).chain(self.gate.next_look).min()
    }

    /// When limits are next to be looked at.
    fn next_check(&self) -> Option<Instant> {
        (!self.settings.recycle.is_off() && !self.is_stopping()).then_some(self.recycle.next)
    }

    /// Is this what tells programs that only long-lived connections are left?
    pub fn tells_by(&self, signal: DrainSignal) -> bool {
        self.settings.limits.drain_signal == signal
    }

    /// All members, in no order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The numbers of workers that the load chooses from, where it does.
    pub fn range(&self) -> Option<ScaleRange> {
        self.settings.range
    }

    /// When the next start of a worker begins, or began; that of a worker that is being
    /// replaced with its rollout, as it may begin at any moment.
    pub fn next_start(&self) -> Option<Instant> {
        let replacing = self.rollout.as_ref().filter(|rollout| rollout.down().is_some());
        let replacing = replacing.map(|rollout| rollout.began);
        self.current().filter_map(Member::starts_at).chain(replacing).min()
    }

    pub fn is_stopping(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Stopping)
    }

    /// The cluster was told to stop, and no process is left.
    pub fn is_stopped(&self) -> bool {
        self.is_stopping() && self.members.iter().all(|member| member.phase.is_stopped())
    }

    /// The members that hold their ids.
    fn current(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members.iter().filter(|member| member.role == Role::Current)
    }

    /// How many workers are wanted.
    fn workers(&self) -> usize {
        self.current().count()
    }

    fn announce(&mut self, event: ClusterEvent, requester: Option<RequestId>) {
        self.effects.push(Effect::Announce { event, requester });
    }

    fn on_tick(&mut self, now: Instant) {
        for index in 0..self.members.len() {
            self.tick_member(index, now);
        }
        if self.gate.tick(now) {
            self.effects.push(Effect::MeasureStarts);
        }
        let policy = &self.settings.recycle;
        if !policy.is_off()
            && !self.is_stopping()
            && let Some(memory) = self.recycle.tick(policy, now)
        {
            self.effects.push(Effect::Measure { memory });
        }
    }

    /// Replaces a worker that has reached a limit, if no rollout is under way.
    fn on_measured(&mut self, measured: &[Measurement], now: Instant) {
        let mut first = None;
        let memory_held = self.recycle.is_memory_held(now);
        for measurement in measured {
            let member = self.members.iter_mut().find(|member| {
                member.role == Role::Current && member.generation() == Some(measurement.generation)
            });
            if let Some(Member { id, phase: Phase::Online { budget, since, .. }, .. }) = member
                && let Some(reached) = budget.reached(measurement, now)
                && !(memory_held && reached.reason == RestartReason::MaxMemory)
            {
                let online = now.saturating_duration_since(*since);
                first = first.or(Some((*id, measurement.generation, reached, online)));
            }
        }
        let Some((worker, generation, reached, online)) = first else { return };
        if self.refusal().is_some() || !self.may_recycle(worker) {
            return;
        }
        if reached.reason == RestartReason::MaxMemory
            && let Some(wait) = self.recycle.met_memory_limit(online, now)
        {
            return self.announce(ClusterEvent::LimitTooLow { worker, generation, reached, wait }, None);
        }
        self.announce(ClusterEvent::LimitReached { worker, generation, reached }, None);
        self.recycle(worker, RolloutKind::Recycle(reached.reason), now);
    }

    /// Stops all members, each in the same way.
    fn stop(&mut self, now: Instant, how: impl Fn(&mut Member, &Limits) -> Vec<Effect>) {
        if !self.is_stopping() {
            self.fail_rollout(STOPPING.to_owned(), None, now);
            self.forsake_awaited();
            self.refuse_queued(STOPPING);
            self.lifecycle = Lifecycle::Stopping;
            self.is_upgrading = false;
        }
        for member in &mut self.members {
            self.effects.extend(how(member, &self.settings.limits));
        }
    }

    /// Says once that the cluster serves: when all workers do, or those that can
    /// while others have failed at least once.
    fn announce_ready(&mut self, now: Instant) {
        let Lifecycle::Booting { since, .. } = self.lifecycle else { return };
        let online = self.current().filter(|member| member.phase.is_online()).count();
        let settled = |member: &Member| member.phase.is_online() || member.has_failed();
        if online > 0 && self.current().all(settled) {
            self.lifecycle = Lifecycle::Serving;
            let (workers, after) = (self.workers(), now.saturating_duration_since(since));
            self.announce(ClusterEvent::Ready { online, workers, after }, None);
        }
    }

    /// The limits of this process, in the case that it is online from now on.
    fn budget(&self, index: usize, now: Instant) -> RecycleBudget {
        let jitter = self.members[index].phase.process().map_or(Jitter::NONE, |process| process.jitter);
        RecycleBudget::draw(&self.settings.recycle, now, jitter)
    }
}
