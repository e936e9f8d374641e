//! Another cluster is about to succeed this one: meanwhile nothing changes here but what has
//! to, which is the replacement of workers that have failed.
//!
//! | when an upgrade is asked for | it |
//! |---|---|
//! | workers start, or start again after a failure | begins: it may be the cure |
//! | a reload is under way, in either mode | is refused |
//! | the number of workers changes, as asked for or with the load | is refused |
//! | a worker is replaced at a limit | is refused |
//! | the cluster stops | is refused |
//! | another upgrade is under way | is refused |
//!
//! | while it is under way | happens |
//! |---|---|
//! | a reload or a change of the number is asked for | it is refused |
//! | a worker reaches a limit, or the load asks for another number | nothing, until it is over |
//! | each start has failed often enough to give up | nothing, until it is over |
//! | a stop | as always |

use super::seeded::{Bug, seeded};
use super::{Effect, Fleet, Role};

/// Why nothing changes.
pub(crate) const UPGRADING: &str = "an upgrade is in progress; try again when it is over";

impl Fleet {
    pub(super) fn begin_upgrade(&mut self) {
        let is_free = || self.members.iter().all(|member| member.role != Role::Candidate);
        let looks_for_candidates = seeded(Bug::UpgradesDuringTurns) && !self.turns_all_down();
        let refusal = self.refusal().filter(|_| !(looks_for_candidates && is_free()));
        self.is_upgrading |= refusal.is_none();
        self.effects.push(Effect::BeginUpgrade(refusal.map_or(Ok(()), Err)));
    }

    pub(super) fn end_upgrade(&mut self) {
        self.is_upgrading = false;
    }
}
