use super::*;

const LIMITS: Limits = Limits {
    startup: Duration::from_secs(30),
    drain: Duration::from_secs(20),
    kill: Duration::from_secs(5),
    fall: 3,
    rise: 1,
};
const DEATH: Event = Event::Exited { jitter: 0.0 };
const HEALTHY: Event = Event::Probe { healthy: true };
const MISSED: Event = Event::Probe { healthy: false };

/// A slot with a clock that the test moves.
struct Life {
    slot: Slot,
    now: Instant,
}

impl Life {
    fn begin() -> Self {
        let now = Instant::now();
        Self { slot: Slot::new(WorkerId(1), LIMITS, now), now }
    }

    fn online() -> Self {
        let mut life = Self::begin();
        assert_eq!(life.send(HEALTHY), [Action::Publish]);
        life
    }

    fn candidate() -> Self {
        let now = Instant::now();
        Self { slot: Slot::candidate(WorkerId(1), LIMITS, now), now }
    }

    fn send(&mut self, event: Event) -> Vec<Action> {
        self.slot.handle(event, self.now)
    }

    fn after(&mut self, wait: Duration) -> &mut Self {
        self.now += wait;
        self
    }

    fn at_due(&mut self) -> Vec<Action> {
        self.now = self.slot.due().expect("something is due");
        self.send(Event::Due)
    }
}

#[test]
fn a_worker_gets_requests_only_after_it_answered_a_probe() {
    let mut life = Life::begin();
    assert_eq!(life.slot.state(), WorkerState::Starting);
    assert_eq!(life.send(MISSED), []);
    assert_eq!(life.slot.state(), WorkerState::Starting);
    assert_eq!(life.send(HEALTHY), [Action::Publish]);
    assert_eq!(life.slot.state(), WorkerState::Online);
    assert_eq!(life.send(HEALTHY), [], "published once");
}

#[test]
fn rise_asks_for_answers_in_a_row() {
    let now = Instant::now();
    let mut slot = Slot::new(WorkerId(1), Limits { rise: 2, ..LIMITS }, now);
    let mut send = |event| slot.handle(event, now);
    assert_eq!(send(HEALTHY), []);
    assert_eq!(send(MISSED), []);
    assert_eq!(send(HEALTHY), []);
    assert_eq!(send(HEALTHY), [Action::Publish]);
}

#[test]
fn first_death_restarts_at_once_and_further_ones_wait() {
    let mut life = Life::online();
    assert_eq!(life.send(DEATH), [Action::Withdraw, Action::Launch]);
    assert_eq!(life.slot.history().restarts, 1);
    assert_eq!(life.send(DEATH), [Action::Withdraw]);
    assert_eq!(life.slot.state(), WorkerState::Backoff);
    assert_eq!(life.send(Event::Due), [], "not before it is due");
    assert_eq!(life.at_due(), [Action::Launch]);
    assert_eq!(life.slot.history().restarts, 2);
}

#[test]
fn a_launch_that_fails_counts_as_a_death() {
    let mut life = Life::begin();
    assert_eq!(life.send(Event::LaunchFailed { jitter: 0.0 }), [Action::Withdraw, Action::Launch]);
    assert_eq!(life.send(Event::LaunchFailed { jitter: 0.0 }), [Action::Withdraw]);
    assert_eq!(life.slot.state(), WorkerState::Backoff);
}

#[test]
fn a_slow_start_is_terminated_then_killed_then_tried_again() {
    let mut life = Life::begin();
    assert_eq!(life.at_due(), [Action::Withdraw, Action::Terminate]);
    assert_eq!(life.at_due(), [Action::Kill]);
    assert_eq!(life.slot.due(), None, "killed once");
    assert_eq!(life.send(DEATH), [Action::Withdraw, Action::Launch]);
}

#[test]
fn missed_probes_make_a_suspect_and_one_answer_clears_it() {
    let mut life = Life::online();
    for _ in 0..2 {
        assert_eq!(life.send(MISSED), []);
    }
    assert!(!life.slot.is_suspect() && !life.slot.is_answering());
    life.send(MISSED);
    assert!(life.slot.is_suspect());
    life.send(HEALTHY);
    assert!(!life.slot.is_suspect() && life.slot.is_answering());
}

#[test]
fn an_ejected_worker_is_withdrawn_terminated_killed_and_replaced() {
    let mut life = Life::online();
    life.after(Duration::from_secs(10));
    assert_eq!(life.send(Event::Eject), [Action::Withdraw, Action::Terminate]);
    assert_eq!(life.slot.state(), WorkerState::Unhealthy);
    assert_eq!(life.send(HEALTHY), [], "an answer that comes too late changes nothing");
    assert_eq!(life.at_due(), [Action::Kill]);
    assert_eq!(life.send(DEATH), [Action::Withdraw, Action::Launch]);
}

#[test]
fn stop_ends_every_state_without_a_new_start() {
    let mut online = Life::online();
    assert_eq!(online.send(Event::Stop), [Action::Withdraw, Action::Terminate]);
    assert_eq!(online.slot.state(), WorkerState::Draining);
    assert_eq!(online.send(DEATH), [Action::Withdraw]);
    assert!(online.slot.is_stopped());

    let mut starting = Life::begin();
    assert_eq!(starting.send(Event::Stop), [Action::Withdraw, Action::Terminate]);
    assert_eq!(starting.at_due(), [Action::Kill]);
    starting.send(DEATH);
    assert!(starting.slot.is_stopped());

    let mut ejected = Life::online();
    ejected.send(Event::Eject);
    assert_eq!(ejected.send(Event::Stop), []);
    ejected.send(DEATH);
    assert!(ejected.slot.is_stopped(), "an ejected worker is not replaced during shutdown");

    let mut waiting = Life::begin();
    waiting.send(DEATH);
    waiting.send(DEATH);
    assert_eq!(waiting.send(Event::Stop), []);
    assert!(waiting.slot.is_stopped());
}

#[test]
fn kill_does_not_wait() {
    let mut life = Life::online();
    assert_eq!(life.send(Event::Kill), [Action::Withdraw, Action::Terminate, Action::Kill]);
    let mut stopping = Life::online();
    stopping.send(Event::Stop);
    assert_eq!(stopping.send(Event::Kill), [Action::Kill]);
    assert_eq!(stopping.slot.due(), None);
}

#[test]
fn a_suspect_goes_while_another_worker_answers() {
    let suspect = |id| {
        let mut life = Life::online();
        life.slot.id = WorkerId(id);
        (0..3).for_each(|_| drop(life.send(MISSED)));
        life.slot
    };
    let healthy = |id| {
        let mut life = Life::online();
        life.send(HEALTHY);
        life.slot.id = WorkerId(id);
        life.slot
    };
    assert!(may_eject([suspect(1), suspect(2), healthy(3)].iter(), WorkerId(1)));
    assert!(may_eject([suspect(1)].iter(), WorkerId(1)), "a single hung worker is replaced");
}

#[test]
fn when_all_miss_their_probes_they_go_one_at_a_time() {
    let now = Instant::now();
    let mut slots: Vec<Slot> = (1..=3)
        .map(|id| {
            let mut slot = Slot::new(WorkerId(id), LIMITS, now);
            slot.handle(HEALTHY, now);
            (0..3).for_each(|_| drop(slot.handle(MISSED, now)));
            slot
        })
        .collect();
    assert!(may_eject(slots.iter(), WorkerId(1)));
    slots[0].handle(Event::Eject, now);
    assert!(!may_eject(slots.iter(), WorkerId(2)), "while the first is being stopped");
    slots[0].handle(DEATH, now);
    assert!(!may_eject(slots.iter(), WorkerId(2)), "while its replacement starts");
    slots[0].handle(HEALTHY, now);
    assert!(may_eject(slots.iter(), WorkerId(2)), "once the replacement answers");
}

#[test]
fn a_candidate_stands_by_until_it_is_promoted() {
    let mut life = Life::candidate();
    assert_eq!(life.send(HEALTHY), [], "no requests yet");
    assert!(life.slot.is_standby());
    assert_eq!(life.slot.due(), None, "it may wait for others");
    let history = History { restarts: 7, last_reason: Some(Reason::Hang) };
    assert_eq!(life.slot.promote(Some(history), life.now), [Action::Publish]);
    assert_eq!(life.slot.state(), WorkerState::Online);
    assert_eq!(life.slot.history(), history);
    assert_eq!(life.send(DEATH), [Action::Withdraw, Action::Launch], "from now on it is kept running");
    assert_eq!(life.slot.history().restarts, 8);
}

#[test]
fn a_candidate_that_fails_is_not_tried_again() {
    let mut died = Life::candidate();
    assert_eq!(died.send(DEATH), [Action::Withdraw]);
    assert!(died.slot.is_stopped());

    let mut slow = Life::candidate();
    assert_eq!(slow.at_due(), [Action::Withdraw, Action::Terminate]);
    assert!(slow.slot.is_ending());
    assert_eq!(slow.at_due(), [Action::Kill]);
    slow.send(DEATH);
    assert!(slow.slot.is_stopped());

    let mut died_waiting = Life::candidate();
    died_waiting.send(HEALTHY);
    died_waiting.send(DEATH);
    assert!(died_waiting.slot.is_stopped());

    let mut could_not = Life::candidate();
    could_not.send(Event::LaunchFailed { jitter: 0.0 });
    assert!(could_not.slot.is_stopped());
}

#[test]
fn a_retired_worker_finishes_what_it_has() {
    let mut life = Life::online();
    assert_eq!(life.send(Event::Retire), [Action::Withdraw]);
    assert_eq!(life.slot.state(), WorkerState::Draining);
    assert_eq!(life.send(MISSED), [], "nobody ejects it now");
    assert!(!life.slot.is_suspect());
    assert_eq!(life.send(Event::Idle), [Action::Withdraw, Action::Terminate]);
    assert_eq!(life.send(DEATH), [Action::Withdraw]);
    assert!(life.slot.is_stopped());
}

#[test]
fn draining_is_bounded() {
    let mut life = Life::online();
    let retired = life.now;
    life.send(Event::Retire);
    assert_eq!(life.at_due(), [Action::Withdraw, Action::Terminate]);
    assert_eq!(life.now, retired + LIMITS.drain);
    assert_eq!(life.at_due(), [Action::Kill]);
    assert_eq!(life.now, retired + LIMITS.drain + LIMITS.kill);
}

#[test]
fn what_is_not_online_retires_at_once() {
    let mut starting = Life::begin();
    assert_eq!(starting.send(Event::Retire), [Action::Withdraw, Action::Terminate]);
    starting.send(DEATH);
    assert!(starting.slot.is_stopped());

    let mut waiting = Life::begin();
    waiting.send(DEATH);
    waiting.send(DEATH);
    assert_eq!(waiting.send(Event::Retire), []);
    assert!(waiting.slot.is_stopped());

    let mut died = Life::online();
    died.send(Event::Retire);
    assert_eq!(died.send(DEATH), [Action::Withdraw], "whatever it died of");
    assert!(died.slot.is_stopped());
}

#[test]
fn a_worker_that_leaves_by_itself_gets_no_more_and_is_replaced_when_it_is_gone() {
    let mut life = Life::online();
    assert_eq!(life.send(Event::Leaving), [Action::Withdraw]);
    assert_eq!(life.slot.due(), Some(life.now + LIMITS.drain + LIMITS.kill));
    assert_eq!(life.send(Event::Leaving), [], "once");
    assert_eq!(life.send(DEATH), [Action::Withdraw, Action::Launch]);
    let mut told = Life::online();
    told.send(Event::Stop);
    assert_eq!(told.send(Event::Leaving), [], "it was told to");
}

#[test]
fn a_stolen_port_means_another_try() {
    for mut life in [Life::begin(), Life::candidate()] {
        assert_eq!(life.send(Event::PortTaken), [Action::Withdraw, Action::Terminate]);
        assert!(!life.slot.is_given_up());
        assert_eq!(life.send(DEATH), [Action::Withdraw, Action::Launch]);
        assert_eq!(life.slot.history().last_reason, Some(Reason::PortTaken));
    }
}
