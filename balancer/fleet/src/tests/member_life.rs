//! One member's life.

use std::time::{Duration, Instant};

use shared_protocol::{Generation, ReleaseId, RestartReason, WorkerId, WorkerState};

use crate::limits::Limits;
use crate::member::{History, Member, Role, may_eject};
use crate::phase::{AfterExit, Phase, Process};
use crate::recycle::{RecycleBudget, RecyclePolicy};
use crate::{DrainSignal, Effect, Jitter, Load, PortChoice};

pub(super) const LIMITS: Limits = Limits {
    startup: Duration::from_secs(30),
    drain: Duration::from_secs(20),
    stream_drain: None,
    drain_signal: DrainSignal::Terminate,
    kill: Duration::from_secs(5),
    hang: Duration::from_secs(30),
    fall: 3,
    rise: 1,
};

pub(super) const FIRST: Generation = Generation(1);
pub(super) const WITHDRAW: Effect = Effect::Withdraw(FIRST);
pub(super) const TERMINATE: Effect = Effect::Terminate(FIRST);
pub(super) const KILL: Effect = Effect::Kill(FIRST);

/// A member with a clock that the test moves.
pub(super) struct Life {
    pub(super) member: Member,
    pub(super) limits: Limits,
    pub(super) now: Instant,
}

impl Life {
    fn begin_as(id: u32, role: Role) -> Self {
        let now = Instant::now();
        let mut member = Member::new(WorkerId(id), role, ReleaseId::FIRST, now);
        member.start(process(FIRST, now), &LIMITS);
        Self { member, limits: LIMITS, now }
    }

    fn begin() -> Self {
        Self::begin_as(1, Role::Current)
    }

    fn candidate() -> Self {
        Self::begin_as(1, Role::Candidate)
    }

    pub(super) fn online() -> Self {
        let mut life = Self::begin();
        assert_eq!(life.healthy(), [Effect::Publish(FIRST)]);
        life
    }

    fn healthy(&mut self) -> Vec<Effect> {
        let budget = RecycleBudget::draw(&RecyclePolicy::default(), self.now, Jitter::NONE);
        self.member.answered(&Load::none(self.now), &self.limits, budget, self.now)
    }

    /// Misses so many probes with nothing in hand. Is it hung?
    fn miss(&mut self, times: u32) -> bool {
        let load = Load::none(self.now);
        let mut misses =
            (0..times).map(|_| self.member.missed("no answer".to_owned(), &load, &LIMITS, self.now));
        misses.any(|hang| hang.is_some())
    }

    fn promote(&mut self, history: History) -> Vec<Effect> {
        let budget = RecycleBudget::draw(&RecyclePolicy::default(), self.now, Jitter::NONE);
        self.member.promote(Some(history), budget, self.now)
    }

    fn die(&mut self) -> Vec<Effect> {
        self.member.exited(self.now)
    }

    fn stop(&mut self) -> Vec<Effect> {
        self.member.stop(AfterExit::StayDown, &LIMITS, self.now)
    }

    pub(super) fn at_deadline(&mut self) -> Vec<Effect> {
        self.now = self.member.phase.deadline().expect("there is a deadline");
        self.member.tick(&LIMITS, self.now)
    }

    fn state(&self) -> WorkerState {
        self.member.phase.worker_state()
    }

    /// How long it waits for its next start.
    fn wait(&self) -> Option<Duration> {
        match self.member.phase {
            Phase::Backoff { until, .. } => Some(until - self.now),
            _ => None,
        }
    }

    fn restart(&mut self) {
        self.member.queue_at_gate(self.now);
        assert!(self.member.is_at_gate());
        self.member.start(process(FIRST, self.now), &LIMITS);
    }
}

fn process(generation: Generation, now: Instant) -> Process {
    Process { generation, launched: now, port: PortChoice::Own, jitter: Jitter::NONE }
}

#[test]
fn a_worker_gets_requests_only_after_it_answered_a_probe() {
    let mut life = Life::begin();
    assert_eq!(life.state(), WorkerState::Starting);
    life.miss(1);
    assert_eq!(life.state(), WorkerState::Starting);
    assert_eq!(life.healthy(), [Effect::Publish(FIRST)]);
    assert_eq!(life.state(), WorkerState::Online);
    assert_eq!(life.healthy(), [], "published once");
}

#[test]
fn rise_asks_for_answers_in_a_row() {
    let mut life = Life { limits: Limits { rise: 2, ..LIMITS }, ..Life::begin() };
    assert_eq!(life.healthy(), []);
    life.miss(1);
    assert_eq!(life.healthy(), []);
    assert_eq!(life.healthy(), [Effect::Publish(FIRST)]);
}

#[test]
fn first_death_restarts_at_once_and_further_ones_wait() {
    let mut life = Life::online();
    assert_eq!(life.die(), [WITHDRAW]);
    assert_eq!(life.wait(), Some(Duration::ZERO));
    life.restart();
    assert_eq!(life.member.history.restarts, 1);
    assert_eq!(life.die(), []);
    assert_eq!(life.state(), WorkerState::Backoff);
    assert_eq!(life.wait(), Some(Duration::from_millis(100)));
    assert_eq!(life.at_deadline(), [], "the fleet launches it");
    life.restart();
    assert_eq!(life.member.history.restarts, 2);
}

#[test]
fn a_slow_start_is_terminated_then_killed_then_tried_again() {
    let mut life = Life::begin();
    assert_eq!(life.member.tick(&LIMITS, life.now), [], "not before its deadline");
    assert_eq!(life.at_deadline(), [TERMINATE]);
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.member.phase.deadline(), None, "killed once");
    life.die();
    assert_eq!(life.wait(), Some(Duration::ZERO));
    assert_eq!(life.member.history.last_reason, Some(RestartReason::SlowStart));
}

#[test]
fn missed_probes_make_a_suspect_and_one_answer_clears_it() {
    let mut life = Life::online();
    assert!(!life.miss(2));
    assert!(!life.member.is_suspect(&LIMITS) && !life.member.is_answering());
    assert!(!life.miss(1));
    assert!(life.member.is_suspect(&LIMITS));
    life.healthy();
    assert!(!life.member.is_suspect(&LIMITS) && life.member.is_answering());
}

#[test]
fn out_of_turn_it_gets_no_requests_until_it_is_back() {
    let mut life = Life::online();
    life.miss(3);
    assert_eq!(life.member.set_turn(false), [WITHDRAW]);
    assert_eq!(life.state(), WorkerState::Unhealthy);
    assert_eq!(life.member.set_turn(false), [], "once");
    assert_eq!(life.member.set_turn(true), [Effect::Publish(FIRST)]);
    assert_eq!(life.state(), WorkerState::Online);
    life.member.set_turn(false);
    assert_eq!(life.stop(), [TERMINATE], "it was withdrawn before");
}

#[test]
fn an_ejected_worker_is_withdrawn_terminated_killed_and_replaced() {
    let mut life = Life::online();
    life.now += Duration::from_secs(10);
    assert_eq!(life.member.eject(&LIMITS, life.now), [WITHDRAW, TERMINATE]);
    assert_eq!(life.state(), WorkerState::Hung);
    assert_eq!(life.healthy(), [], "an answer that comes too late changes nothing");
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.die(), []);
    assert_eq!(life.wait(), Some(Duration::ZERO));
}

#[test]
fn stop_ends_every_phase_without_a_new_start() {
    let mut online = Life::online();
    assert_eq!(online.stop(), [WITHDRAW, TERMINATE]);
    assert_eq!(online.state(), WorkerState::Draining);
    online.die();
    assert!(online.member.phase.is_stopped());

    let mut starting = Life::begin();
    assert_eq!(starting.stop(), [TERMINATE]);
    assert_eq!(starting.at_deadline(), [KILL]);
    starting.die();
    assert!(starting.member.phase.is_stopped());

    let mut ejected = Life::online();
    ejected.member.eject(&LIMITS, ejected.now);
    assert_eq!(ejected.stop(), []);
    ejected.die();
    assert!(ejected.member.phase.is_stopped(), "an ejected worker is not replaced during shutdown");

    let mut waiting = Life::begin();
    waiting.die();
    assert_eq!(waiting.stop(), []);
    assert!(waiting.member.phase.is_stopped());
}

#[test]
fn kill_does_not_wait() {
    let mut life = Life::online();
    assert_eq!(life.member.kill(&LIMITS, life.now), [WITHDRAW, TERMINATE, KILL]);
    let mut stopping = Life::online();
    stopping.stop();
    assert_eq!(stopping.member.kill(&LIMITS, stopping.now), [KILL]);
    assert_eq!(stopping.member.phase.deadline(), None);
}

#[test]
fn a_suspect_goes_while_another_worker_answers() {
    let member = |id, misses| {
        let mut life = Life::begin_as(id, Role::Current);
        life.healthy();
        life.miss(misses);
        life.member
    };
    let (suspects, healthy) = ([member(1, 3), member(2, 3)], member(3, 0));
    assert!(may_eject(suspects.iter().chain([&healthy]), WorkerId(1)));
    assert!(may_eject([member(1, 3)].iter(), WorkerId(1)), "a single hung worker is replaced");
}

#[test]
fn when_all_miss_their_probes_they_go_one_at_a_time() {
    let now = Instant::now();
    let mut members: Vec<Member> = (1..=3)
        .map(|id| {
            let mut life = Life::begin_as(id, Role::Current);
            life.healthy();
            life.miss(3);
            life.member
        })
        .collect();
    assert!(may_eject(members.iter(), WorkerId(1)));
    members[0].eject(&LIMITS, now);
    assert!(!may_eject(members.iter(), WorkerId(2)), "while the first is being stopped");
    members[0].exited(now);
    assert!(!may_eject(members.iter(), WorkerId(2)), "while it waits for its next start");
    members[0].queue_at_gate(now);
    assert!(!may_eject(members.iter(), WorkerId(2)), "while it waits at the gate");
    members[0].start(process(FIRST, now), &LIMITS);
    assert!(!may_eject(members.iter(), WorkerId(2)), "while its replacement starts");
    let budget = RecycleBudget::draw(&RecyclePolicy::default(), now, Jitter::NONE);
    members[0].answered(&Load::none(now), &LIMITS, budget, now);
    assert!(may_eject(members.iter(), WorkerId(2)), "once the replacement answers");
}

#[test]
fn a_candidate_stands_by_until_it_is_promoted() {
    let mut life = Life::candidate();
    assert_eq!(life.healthy(), [], "no requests yet");
    assert!(matches!(life.member.phase, Phase::Standby { .. }));
    assert_eq!(life.member.phase.deadline(), None, "it may wait for others");
    let history = History { restarts: 7, last_reason: Some(RestartReason::Hang) };
    assert_eq!(life.promote(history), [Effect::Publish(FIRST)]);
    assert_eq!((life.state(), life.member.history), (WorkerState::Online, history));
    assert_eq!(life.die(), [WITHDRAW]);
    assert!(life.wait().is_some(), "from now on it is kept running");
}

#[test]
fn a_candidate_that_fails_is_not_tried_again() {
    let mut died = Life::candidate();
    assert_eq!(died.die(), []);
    assert!(died.member.phase.is_stopped());

    let mut slow = Life::candidate();
    assert_eq!(slow.at_deadline(), [TERMINATE]);
    assert!(slow.member.phase.is_given_up());
    assert_eq!(slow.at_deadline(), [KILL]);
    slow.die();
    assert!(slow.member.phase.is_stopped());

    let mut died_waiting = Life::candidate();
    died_waiting.healthy();
    died_waiting.die();
    assert!(died_waiting.member.phase.is_stopped());

    let mut silent = Life::candidate();
    silent.healthy();
    assert!(!silent.miss(2) && silent.miss(1));
    silent.member.eject(&LIMITS, silent.now);
    assert!(silent.member.phase.is_given_up());
}

#[test]
fn a_retired_worker_finishes_what_it_has() {
    let mut life = Life::online();
    assert_eq!(life.member.retire(&LIMITS, life.now), [WITHDRAW, Effect::AwaitDrain(FIRST)]);
    assert_eq!(life.state(), WorkerState::Draining);
    assert!(!life.miss(9), "nobody ejects it now");
    assert_eq!(life.member.drained(&LIMITS, life.now), [TERMINATE]);
    assert_eq!(life.member.drained(&LIMITS, life.now), [], "once");
    life.die();
    assert!(life.member.phase.is_stopped());
}

#[test]
fn draining_is_bounded() {
    let mut life = Life::online();
    let retired = life.now;
    life.member.retire(&LIMITS, life.now);
    assert_eq!(life.at_deadline(), [TERMINATE, close(None)]);
    assert_eq!(life.now, retired + LIMITS.drain);
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.now, retired + LIMITS.drain + LIMITS.kill);
}

pub(super) fn close(over: Option<Duration>) -> Effect {
    Effect::Close { generation: FIRST, over }
}

#[test]
fn what_is_not_online_retires_at_once() {
    let mut starting = Life::begin();
    assert_eq!(starting.member.retire(&LIMITS, starting.now), [TERMINATE]);
    starting.die();
    assert!(starting.member.phase.is_stopped());

    let mut waiting = Life::begin();
    waiting.die();
    assert_eq!(waiting.member.retire(&LIMITS, waiting.now), []);
    assert!(waiting.member.phase.is_stopped());

    let mut died = Life::online();
    died.member.retire(&LIMITS, died.now);
    assert_eq!(died.die(), [], "whatever it died of");
    assert!(died.member.phase.is_stopped());
}

#[test]
fn a_worker_that_leaves_by_itself_gets_no_more_and_is_replaced_when_it_is_gone() {
    let mut life = Life::online();
    assert_eq!(life.member.leaving(&LIMITS, life.now), [WITHDRAW]);
    assert_eq!(life.member.phase.deadline(), Some(life.now + LIMITS.drain + LIMITS.kill));
    assert_eq!(life.member.leaving(&LIMITS, life.now), [], "once");
    life.die();
    assert_eq!(life.wait(), Some(Duration::ZERO));
    let mut told = Life::online();
    told.stop();
    assert_eq!(told.member.leaving(&LIMITS, told.now), [], "it was told to");
}

#[test]
fn a_worker_that_is_replaced_finishes_ends_and_starts_again_without_a_wait() {
    let mut life = Life::online();
    life.now += Duration::from_secs(1);
    assert_eq!(life.member.replace(&LIMITS, life.now), [WITHDRAW, Effect::AwaitDrain(FIRST)]);
    assert_eq!(life.state(), WorkerState::Draining);
    assert_eq!(life.member.drained(&LIMITS, life.now), [TERMINATE]);
    assert!(!life.member.is_at_gate(), "not before it has ended");
    life.die();
    assert!(life.member.is_at_gate());
    life.restart();
    assert_eq!(life.member.history, History::default(), "as planned, it is no restart");

    let mut slow = Life::online();
    slow.member.replace(&LIMITS, slow.now);
    assert_eq!(slow.at_deadline(), [TERMINATE, close(None)]);
    assert_eq!(slow.at_deadline(), [KILL]);
    slow.die();
    assert!(slow.member.is_at_gate());

    let mut stopped = Life::online();
    stopped.member.replace(&LIMITS, stopped.now);
    stopped.stop();
    stopped.die();
    assert!(stopped.member.phase.is_stopped());
}

#[test]
fn what_is_not_online_is_replaced_at_once() {
    let mut starting = Life::begin();
    assert_eq!(starting.member.replace(&LIMITS, starting.now), [TERMINATE]);
    starting.die();
    assert!(starting.member.is_at_gate());
    assert_eq!(starting.member.replace(&LIMITS, starting.now), []);
    assert!(starting.member.is_at_gate(), "it is on its way");

    let mut waiting = Life::online();
    waiting.die();
    waiting.restart();
    waiting.die();
    assert_eq!(waiting.member.replace(&LIMITS, waiting.now), []);
    assert!(waiting.member.is_at_gate(), "it waits no longer");

    let mut hung = Life::online();
    hung.member.eject(&LIMITS, hung.now);
    assert_eq!(hung.member.replace(&LIMITS, hung.now), []);
    assert_eq!(hung.at_deadline(), [KILL], "it has no more time than before");
    hung.die();
    assert!(hung.member.is_at_gate());
}

#[test]
fn a_stolen_port_means_another_try() {
    for mut life in [Life::begin(), Life::candidate()] {
        assert_eq!(life.member.port_taken(&LIMITS, life.now), [TERMINATE]);
        assert!(!life.member.phase.is_given_up());
        life.die();
        assert_eq!(life.wait(), Some(Duration::ZERO));
        assert_eq!(life.member.history.last_reason, Some(RestartReason::PortTaken));
    }
    let mut online = Life::online();
    assert_eq!(online.member.port_taken(&LIMITS, online.now), [], "it had the port before");
}
