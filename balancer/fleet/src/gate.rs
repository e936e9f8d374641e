//! The gate that all starts pass: the first ones, restarts, candidates of a reload and
//! of more workers.
//!
//! Starts that need the processors only delay one another, so in the beginning as many
//! go through as there are processors. Starts that wait for something else must not wait
//! for each other as well: as long as those that are starting leave the processors idle,
//! twice as many go through at each look, and each that was ready soon makes room for
//! one more. After a start that has missed its time it is as many as there are
//! processors, until one succeeds.

use std::time::{Duration, Instant};

/// Between two looks at what starting processes use, while others wait.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// A start that takes no longer makes room for one more.
const SOON: Duration = Duration::from_millis(500);

/// How many processes may be starting at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StartPolicy {
    /// At most so many, if somebody has chosen a number.
    pub parallel: Option<usize>,
    /// Processors that the cluster may use.
    pub processors: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Gate {
    policy: StartPolicy,
    /// Processes that may be starting at the same time now.
    pub(super) allowance: usize,
    /// A start has missed its time, and none has succeeded since.
    pub(super) is_strict: bool,
    /// While somebody waits: when to look next.
    pub(super) next_look: Option<Instant>,
}

impl Gate {
    pub(crate) fn new(policy: StartPolicy) -> Self {
        Self { policy, allowance: policy.processors.max(1), is_strict: false, next_look: None }
    }

    /// May one more start while so many do?
    pub(crate) fn admits(&self, starting: usize) -> bool {
        starting < self.policy.parallel.unwrap_or(usize::MAX).min(self.allowance).max(1)
    }

    /// A process has got ready, so long after its launch.
    pub(crate) fn got_ready(&mut self, took: Duration) {
        self.is_strict = false;
        if took <= SOON {
            self.allowance = self.allowance.saturating_add(1);
        }
    }

    /// A process was not ready in time.
    pub(crate) fn missed_its_time(&mut self) {
        self.is_strict = true;
        self.allowance = self.policy.processors.max(1);
    }

    /// Somebody waits, or nobody does any more, while so many are `starting`.
    pub(crate) fn has_queue(&mut self, waits: bool, starting: usize, now: Instant) {
        if waits {
            self.next_look.get_or_insert(now + LOOK);
        } else {
            self.next_look = None;
            if starting == 0 && !self.is_strict {
                self.allowance = self.policy.processors.max(1);
            }
        }
    }

    /// Says whether it is time to look.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let is_due = self.next_look.is_some_and(|next| next <= now);
        if is_due {
            self.next_look = Some(now + LOOK);
        }
        is_due
    }

    /// Those that are starting keep the processors busy, or they do not.
    pub(crate) fn looked(&mut self, busy: bool, starting: usize) {
        if !busy && !self.is_strict {
            self.allowance = self.allowance.max(starting.saturating_mul(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(parallel: Option<usize>) -> Gate {
        Gate::new(StartPolicy { parallel, processors: 2 })
    }

    /// How many go through while none gets ready, with a look after each round.
    fn rounds(gate: &mut Gate, busy: bool) -> [usize; 4] {
        let mut starting = 0;
        std::array::from_fn(|_| {
            while gate.admits(starting) {
                starting += 1;
            }
            gate.looked(busy, starting);
            starting
        })
    }

    #[test]
    fn starts_that_need_the_processors_go_as_many_at_a_time_as_there_are() {
        assert_eq!(rounds(&mut gate(None), true), [2, 2, 2, 2]);
    }

    #[test]
    fn starts_that_wait_for_something_else_do_not_wait_for_one_another() {
        assert_eq!(rounds(&mut gate(None), false), [2, 4, 8, 16]);
        assert_eq!(rounds(&mut gate(Some(3)), false), [2, 3, 3, 3]);
        assert_eq!(rounds(&mut gate(Some(1)), false), [1, 1, 1, 1]);
        assert_eq!(rounds(&mut gate(Some(0)), false), [1, 1, 1, 1], "none at all would be for ever");
    }

    #[test]
    fn each_that_was_ready_soon_makes_room_for_one_more() {
        let mut gate = gate(None);
        gate.got_ready(SOON);
        assert!(gate.admits(2) && !gate.admits(3));
        gate.got_ready(2 * SOON);
        assert!(!gate.admits(3));
    }

    #[test]
    fn after_a_start_that_took_too_long_it_is_strict_until_one_succeeds() {
        let mut gate = gate(None);
        rounds(&mut gate, false);
        gate.missed_its_time();
        assert_eq!(rounds(&mut gate, false), [2, 2, 2, 2]);
        gate.got_ready(10 * SOON);
        assert_eq!(rounds(&mut gate, false), [2, 4, 8, 16]);
    }

    #[test]
    fn it_looks_only_while_somebody_waits_and_forgets_when_all_is_quiet() {
        let (mut gate, now) = (gate(None), Instant::now());
        rounds(&mut gate, false);
        gate.has_queue(true, 2, now);
        assert!(!gate.tick(now) && gate.tick(now + LOOK) && !gate.tick(now + LOOK));
        gate.has_queue(false, 2, now);
        assert!(!gate.tick(now + 10 * LOOK) && gate.admits(2));
        gate.has_queue(false, 0, now);
        assert!(!gate.admits(2));
    }
}
