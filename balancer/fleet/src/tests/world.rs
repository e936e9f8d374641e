//! The world as the fleet meets it: processes that its effects have started, answers
//! that are due, requesters who wait. It offers every next step that is possible,
//! takes one, carries out the effects and checks what must always hold.

mod effects;
mod replacing;
mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::mem::Discriminant;
use std::time::{Duration, Instant};

use shared_protocol::{Generation, ReleaseChanges, ReleaseId, ReloadMode, WorkerId};

use super::replacing::Replacing;
use super::time::normalise;
use crate::{
    ClusterEvent, DrainSignal, Effect, Exit, Fleet, Input, Jitter, Limits, Load, Measurement, PortPolicy,
    ProbeResult, RecyclePolicy, Report, RequestId, Requester, Role, ScaleReason, ScaleStep, ScaleTo,
    Settings, StartPolicy,
};

/// In steps of the shortest wait of a slot, so that few times are told apart.
pub(super) const LIMITS: Limits = Limits {
    startup: Duration::from_millis(400),
    drain: Duration::from_millis(200),
    stream_drain: None,
    drain_signal: DrainSignal::Terminate,
    kill: Duration::from_millis(100),
    hang: Duration::from_millis(200),
    fall: 1,
    rise: 1,
};

pub(super) fn settings(workers: usize) -> Settings {
    Settings {
        workers,
        max_workers: 3,
        mode: ReloadMode::All,
        range: None,
        limits: LIMITS,
        recycle: RecyclePolicy::default(),
        starts: StartPolicy { parallel: Some(1), processors: 1 },
        ports: PortPolicy::TOLD,
        give_up_after: None,
    }
}

/// A process that runs, or whose launch is still to be answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Running {
    pub generation: Generation,
    pub worker: WorkerId,
    pub release: ReleaseId,
    pub up: bool,
    pub probed: bool,
    /// Its last probe was answered.
    pub healthy: bool,
    /// It has answered a probe.
    pub ready: bool,
    /// It was taken for hung.
    pub hung: bool,
    /// What it had in hand when its last probe was missed.
    pub hand: Hand,
    /// Probes in a row that it has missed, up to those that make it hung.
    pub misses: u32,
    /// When it was last heard of: an answer, or a request that moved.
    pub heard: Instant,
    pub published: bool,
    /// It was published and has not been told to go.
    pub serves: bool,
    pub drains: bool,
    /// What it still holds are long-lived connections.
    pub only_long_lived: bool,
    /// Everything that it holds was asked to end.
    pub closed: bool,
    pub retired: bool,
    /// Who waits for its end.
    pub awaited_by: Option<RequestId>,
    pub leaving: bool,
    pub terminated: bool,
    pub killed: bool,
}

/// What a process has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Hand {
    Nothing,
    /// Requests, one of which has just moved.
    Moving,
    /// Requests that wait for their clients.
    Clients,
    /// Requests that have stood still since they were heard of last.
    Still,
    /// As many as it may hold, and they stand still.
    Full,
}

impl Hand {
    pub(super) const ALL: [Self; 5] = [Self::Nothing, Self::Moving, Self::Clients, Self::Still, Self::Full];

    /// `heard` is when a request moved last.
    fn load(self, heard: Instant) -> Load {
        let load = Load { requests: 1, ..Load::none(heard) };
        match self {
            Self::Nothing => Load { requests: 0, ..load },
            // That a client goes on or does not is no move of the worker's.
            Self::Clients => Load { client_waits: 1, moved: heard - LIMITS.hang, ..load },
            Self::Moving | Self::Still => load,
            Self::Full => Load { is_full: true, ..load },
        }
    }
}

impl Running {
    /// It has yet to get ready, and may.
    fn is_starting(&self) -> bool {
        !(self.ready || self.terminated || self.killed || self.leaving)
    }

    /// It does not handle SIGTERM.
    fn dies_of_terminate(&self) -> bool {
        self.worker == WorkerId(2)
    }

    /// At `now` this is found in its hand.
    fn hold(&mut self, hand: Hand, now: Instant) {
        self.hand = hand;
        if matches!(hand, Hand::Moving | Hand::Clients) {
            self.heard = now;
        }
    }

    fn load(&self) -> Load {
        self.hand.load(self.heard)
    }
}

/// What the fleet has asked for and is to be told before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Launch(Generation),
    Open,
    Measure,
    Starts,
    Examine(Generation),
}

/// What a requester waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nobody does.
    None,
    AtSwitch,
    /// For the end of those that are retired as well.
    AfterDrain,
}

impl Reply {
    pub(super) const ALL: [Self; 3] = [Self::None, Self::AtSwitch, Self::AfterDrain];
}

/// One step of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The question that has waited longest is answered: well, or not.
    Answer(bool),
    Up(Generation),
    Healthy(Generation),
    Missed(Generation, Hand),
    PortTaken(Generation),
    NotProbed(Generation),
    CouldNotStart(Generation),
    Leaving(Generation),
    OnlyLongLived(Generation),
    Drained(Generation),
    Exited(Generation),
    Reload(Option<ReloadMode>, Reply),
    Scale(ScaleTo, Reply),
    /// Long-lived connections end within this time.
    Stop(Duration),
    Kill,
    /// The load asks for so many workers.
    Autoscale(usize),
    /// Another cluster is to succeed this one.
    BeginUpgrade,
    /// Nothing has come of it.
    EndUpgrade,
    /// Time passes until the next deadline.
    Deadline,
    /// So much time passes, and no deadline with it.
    Pass(Duration),
}

impl Step {
    fn subject(self) -> Option<Generation> {
        match self {
            Self::Up(of)
            | Self::Healthy(of)
            | Self::Missed(of, _)
            | Self::PortTaken(of)
            | Self::NotProbed(of)
            | Self::CouldNotStart(of)
            | Self::Leaving(of)
            | Self::OnlyLongLived(of)
            | Self::Drained(of)
            | Self::Exited(of) => Some(of),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub fleet: Fleet,
    pub now: Instant,
    pub running: Vec<Running>,
    pub questions: VecDeque<Question>,
    /// Requesters who have no final answer yet.
    pub waiting: Vec<Requester>,
    /// What those of them have asked for who want more workers or fewer.
    asked: Vec<(RequestId, ScaleTo)>,
    /// Reloads that were accepted and have not begun yet.
    reload_queued: bool,
    /// Releases that are open.
    releases: Vec<ReleaseId>,
    /// The one that is being opened, or was opened last.
    last_release: ReleaseId,
    replacing: Replacing,
    /// The opened release differs from the one that runs, which is to be told.
    changes_untold: bool,
    /// Slots whose hung worker is being replaced.
    ejected: Vec<WorkerId>,
    /// An upgrade was allowed, and is not over.
    pub is_upgrading: bool,
    /// A worker has been ready.
    any_ready: bool,
    /// How often starts of each slot have failed, up to those after which it gives up.
    failures: BTreeMap<WorkerId, u32>,
    /// Commands that may still be given.
    pub commands: u8,
    /// The kinds of events that were announced so far.
    pub heard: Vec<Discriminant<ClusterEvent>>,
}

impl World {
    pub(super) fn new(settings: Settings, now: Instant, commands: u8) -> Self {
        let (fleet, effects) = Fleet::new(settings, now);
        let mut world = Self {
            fleet,
            now,
            running: Vec::new(),
            questions: VecDeque::new(),
            waiting: Vec::new(),
            asked: Vec::new(),
            reload_queued: false,
            releases: vec![ReleaseId::FIRST],
            last_release: ReleaseId::FIRST,
            replacing: Replacing::default(),
            changes_untold: false,
            ejected: Vec::new(),
            is_upgrading: false,
            any_ready: false,
            failures: BTreeMap::new(),
            commands,
            heard: Vec::new(),
        };
        for effect in &effects {
            world.carry_out(effect, None).expect("the first launches are in order");
        }
        world
    }

    /// Forgets when it is, what processes are called and what was heard.
    pub(super) fn normalised(mut self, base: Instant) -> Self {
        self.running.sort_unstable_by_key(|running| running.generation);
        let known: Vec<_> = self.running.iter().map(|running| running.generation).collect();
        let rename = |old: Generation| {
            let place = known.iter().position(|&known| known == old);
            place.map_or(old, |place| Generation(place as u64 + 1))
        };
        let known_releases = self.rename_releases();
        normalise(&mut self.fleet, self.now, base, &rename);
        self.fleet.generations = known.len() as u64;
        let before = std::mem::replace(&mut self.now, base);
        self.heard.clear();
        for running in &mut self.running {
            running.generation = rename(running.generation);
            let age = before.saturating_duration_since(running.heard).min(LIMITS.hang);
            running.heard = base.checked_sub(age).expect("ages are short");
        }
        self.replacing.normalise(&known_releases);
        for question in &mut self.questions {
            if let Question::Launch(generation) | Question::Examine(generation) = question {
                *generation = rename(*generation);
            }
        }
        self
    }

    /// All that may happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        if !self.questions.is_empty() {
            return vec![Step::Answer(true), Step::Answer(false)];
        }
        let mut steps = Vec::new();
        for running in &self.running {
            let of = running.generation;
            steps.push(Step::Exited(of));
            if running.drains && !running.killed {
                steps.push(Step::Drained(of));
            }
            if running.terminated || running.killed {
                continue;
            }
            if !running.up {
                steps.push(Step::Up(of));
            }
            if running.probed {
                steps.push(Step::Healthy(of));
                let hands = if running.serves { Hand::ALL.as_slice() } else { &Hand::ALL[..1] };
                steps.extend(hands.iter().map(|&hand| Step::Missed(of, hand)));
                if !running.healthy {
                    steps.push(Step::PortTaken(of));
                }
            }
            if !running.leaving {
                steps.push(Step::Leaving(of));
            }
            if running.drains && !running.only_long_lived {
                steps.push(Step::OnlyLongLived(of));
            }
        }
        if self.fleet.next_deadline().is_some() {
            steps.push(Step::Deadline);
        }
        if self.is_upgrading {
            steps.push(Step::EndUpgrade);
        }
        if self.commands > 0 && !self.fleet.is_stopped() {
            for reply in Reply::ALL {
                steps.push(Step::Reload(None, reply));
                steps.extend((1..=3).map(|to| Step::Scale(ScaleTo::Exactly(to), reply)));
            }
            let other = match self.fleet.settings.mode {
                ReloadMode::All => ReloadMode::OneByOne,
                ReloadMode::OneByOne => ReloadMode::All,
            };
            steps.push(Step::Reload(Some(other), Reply::AtSwitch));
            steps.push(Step::Scale(ScaleTo::More(1), Reply::AtSwitch));
            steps.push(Step::Scale(ScaleTo::More(1), Reply::None));
            steps.push(Step::Scale(ScaleTo::Fewer(1), Reply::None));
            steps.push(Step::Scale(ScaleTo::Exactly(9), Reply::AtSwitch));
            if self.fleet.settings.range.is_some() {
                steps.extend((0..=3).map(Step::Autoscale));
            }
            steps.push(Step::BeginUpgrade);
            steps.extend([Step::Stop(Duration::ZERO), Step::Stop(LIMITS.drain), Step::Kill]);
        }
        steps
    }

    /// Takes this step.
    ///
    /// # Errors
    /// When something is broken that must always hold; says what.
    pub(super) fn take(&mut self, step: Step) -> Result<(), String> {
        let looked_at = match (step, self.questions.front()) {
            (Step::Answer(_), Some(&Question::Examine(of))) | (Step::Missed(of, _), _) => Some(of),
            _ => None,
        };
        self.count_failure(step);
        let Some(input) = self.input(step) else { return Ok(()) };
        let published = self.published();
        let stopping = matches!(step, Step::Stop(_) | Step::Kill);
        let before = self.fleet.rollout.as_ref().map(|rollout| rollout.kind);
        if stopping {
            self.reload_queued = false;
        }
        self.is_upgrading &= !(stopping || step == Step::EndUpgrade);
        self.replacing.mode = self.mode();
        let effects = self.fleet.handle(input, self.now);
        if let Step::Exited(of) = step {
            // Whoever is published from here on without being there is a mistake.
            if let Some(index) = self.running.iter().position(|running| running.generation == of) {
                let gone = self.running.remove(index);
                let withdrawn = effects.contains(&Effect::Withdraw(of));
                if gone.published && !withdrawn {
                    return Err(format!("process {of} has ended and stays published"));
                }
            }
        }
        for effect in &effects {
            self.carry_out(effect, Some(step))?;
        }
        self.check_step(before, &effects)?;
        self.check_withdrawals(step, &effects)?;
        self.check_drains(step, &effects)?;
        self.check_stop(step)?;
        self.check_failures(step, &effects, &published)?;
        let current = self.fleet.members().iter().filter(|member| member.role == Role::Current);
        let ids: Vec<_> = current.map(|member| member.id).collect();
        self.ejected.retain(|id| ids.contains(id));
        self.failures.retain(|id, _| ids.contains(id));
        self.check_replacing(step, &effects, &ids)?;
        self.check_state()?;
        looked_at.map_or(Ok(()), |of| self.check_stalled(of))
    }

    /// Processes that would die of SIGTERM: those of the second worker.
    fn told_last(&self) -> Vec<Generation> {
        let dying = self.running.iter().filter(|running| running.dies_of_terminate());
        dying.map(|running| running.generation).collect()
    }

    fn input(&mut self, step: Step) -> Option<Input> {
        let report = |generation, report| Some(Input::Process { generation, report });
        let why = || "it does not".to_owned();
        let now = self.now;
        if let Step::Exited(of) | Step::Leaving(of) = step {
            self.lost(of);
        }
        if let Some(of) = step.subject() {
            let running = self.running.iter_mut().find(|running| running.generation == of)?;
            match step {
                Step::Up(_) => running.up = true,
                Step::Healthy(_) => {
                    self.any_ready |= running.is_starting();
                    (running.healthy, running.ready) = (true, true);
                    (running.misses, running.heard) = (0, now);
                }
                Step::Missed(_, hand) => {
                    running.healthy = false;
                    running.misses = (running.misses + 1).min(LIMITS.fall);
                    running.hold(hand, now);
                }
                Step::PortTaken(_) => running.healthy = false,
                Step::Leaving(_) => (running.leaving, running.serves) = (true, false),
                Step::OnlyLongLived(_) => running.only_long_lived = true,
                Step::Drained(_) => running.drains = false,
                _ => {}
            }
        }
        let loads: Vec<_> = self.running.iter().map(|running| (running.generation, running.load())).collect();
        let probed = |of, result| {
            let load = loads.iter().find(|(generation, _)| *generation == of).map(|&(_, load)| load)?;
            report(of, Report::Probed { result, load })
        };
        match step {
            Step::Answer(well) => self.answer(well),
            Step::Up(of) => report(of, Report::Up),
            Step::Healthy(of) => probed(of, ProbeResult::Healthy),
            Step::Missed(of, _) => probed(of, ProbeResult::Missed { why: why() }),
            Step::PortTaken(of) => probed(of, ProbeResult::PortTaken),
            Step::NotProbed(of) => probed(of, ProbeResult::Unknown { why: why() }),
            Step::CouldNotStart(of) => report(of, Report::CouldNotStart { why: why() }),
            Step::Leaving(of) => report(of, Report::Leaving),
            Step::OnlyLongLived(of) => {
                let handles_terminate = !self.told_last().contains(&of);
                report(of, Report::OnlyLongLived { handles_terminate })
            }
            Step::Drained(of) => report(of, Report::Drained),
            Step::Exited(of) => report(of, Report::Exited(Exit { how: why(), orderly: false, cause: None })),
            Step::Reload(mode, reply) => Some(Input::Reload { mode, requester: self.requester(reply) }),
            Step::Scale(to, reply) => {
                let requester = self.requester(reply);
                let relative = requester.filter(|_| !matches!(to, ScaleTo::Exactly(_)));
                self.asked.extend(relative.map(|requester| (requester.id, to)));
                Some(Input::Scale { to, requester })
            }
            Step::Autoscale(to) => {
                self.commands = self.commands.saturating_sub(1);
                let reason = ScaleReason::Busy { percent: 90, over: LIMITS.kill };
                Some(Input::Autoscale(ScaleStep { to, reason }))
            }
            Step::Stop(long_lived) => {
                self.commands = self.commands.saturating_sub(1);
                Some(Input::Stop { long_lived, told_last: self.told_last() })
            }
            Step::Kill => {
                self.commands = self.commands.saturating_sub(1);
                Some(Input::Kill)
            }
            Step::BeginUpgrade => {
                self.commands = self.commands.saturating_sub(1);
                Some(Input::BeginUpgrade)
            }
            Step::EndUpgrade => Some(Input::EndUpgrade),
            Step::Deadline => {
                self.now = self.now.max(self.fleet.next_deadline()?);
                Some(Input::Tick)
            }
            Step::Pass(time) => {
                let until = self.now + time;
                self.now = self.fleet.next_deadline().map_or(until, |deadline| until.min(deadline));
                None
            }
        }
    }

    fn answer(&mut self, well: bool) -> Option<Input> {
        let why = || "it is broken".to_owned();
        Some(match self.questions.pop_front()? {
            Question::Open => {
                self.changes_untold = well;
                if well {
                    self.releases.push(self.last_release);
                }
                let notes = vec!["it differs".to_owned()];
                let changes = ReleaseChanges { notes, ..ReleaseChanges::default() };
                Input::ReleaseOpened(if well { Ok(changes) } else { Err(why()) })
            }
            Question::Launch(generation) => {
                let jitter = Jitter::NONE;
                let report = if well {
                    Report::Launched { jitter }
                } else {
                    self.lost(generation);
                    self.running.retain(|running| running.generation != generation);
                    Report::LaunchFailed { why: why(), jitter }
                };
                Input::Process { generation, report }
            }
            Question::Measure => {
                // Well: nobody has had too many requests. Else the first has.
                let mut published = self.running.iter().filter(|running| running.published);
                let over = if well { None } else { published.next().map(|running| running.generation) };
                let measure = |generation| Measurement { generation, requests: u64::MAX, memory: None };
                Input::Measured(over.into_iter().map(measure).collect())
            }
            // Well: there is room for more.
            Question::Starts => Input::StartsMeasured { busy: !well },
            Question::Examine(generation) => {
                let now = self.now;
                let running = self.running.iter_mut().find(|running| running.generation == generation)?;
                // Well: a request has moved. Else none has.
                let hand = match running.hand {
                    Hand::Moving if !well => Hand::Still,
                    Hand::Still if well => Hand::Moving,
                    hand => hand,
                };
                running.hold(hand, now);
                let report = Report::Examined(running.load());
                Input::Process { generation, report }
            }
        })
    }

    fn requester(&mut self, reply: Reply) -> Option<Requester> {
        self.commands = self.commands.saturating_sub(1);
        if reply == Reply::None {
            return None;
        }
        let awaits_drain = reply == Reply::AfterDrain;
        let id = (0..).map(RequestId).find(|&id| !self.waiting.iter().any(|waiting| waiting.id == id))?;
        let requester = Requester { id, awaits_drain };
        self.waiting.push(requester);
        Some(requester)
    }

    fn published(&self) -> Vec<Generation> {
        self.running.iter().filter(|running| running.published).map(|running| running.generation).collect()
    }

    /// Every worker serves and nobody waits for anything.
    pub(super) fn is_settled(&self) -> bool {
        let current = self.fleet.members().iter().filter(|member| member.role == Role::Current).count();
        self.fleet.is_settled()
            && self.questions.is_empty()
            && self.waiting.is_empty()
            && !self.reload_queued
            && current == self.running.len()
            && self.running.iter().all(|running| running.published)
    }

    /// For the message of a test.
    pub(super) fn summary(&self) -> String {
        let phases: Vec<_> = self.fleet.members().iter().map(|member| member.phase.worker_state()).collect();
        format!("members are {phases:?}, {} wait for an answer", self.waiting.len())
    }

    /// Nothing is left and nobody waits.
    pub(super) fn is_stopped(&self) -> bool {
        self.fleet.is_stopped() && self.running.is_empty() && self.waiting.is_empty()
    }
}
