//! What is known of workers that are not ready, by their slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balancer_fleet::{Limits, Member, Role};
use balancer_state::registry::Reason;
use shared_protocol::{Generation, WorkerId};

use crate::exposure::Exposure;
use crate::probe::{Check, Probing};

/// What is known of workers that are not ready, and what was said of those that are.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) startup_timeout: Duration,
    pub(crate) check: Check,
    /// Of each slot, until it is ready.
    pub(crate) reasons: BTreeMap<WorkerId, (Option<Generation>, Arc<Reason>)>,
    pub(crate) exposure: Exposure,
    /// It was said that the health path is not there.
    pub(crate) told_not_found: bool,
    /// It was said that nobody serves while the only worker is replaced.
    pub(crate) told_gap: bool,
    /// Why the cluster gives up.
    pub(crate) gave_up: Option<Reason>,
}

impl Readiness {
    pub(crate) fn new(limits: &Limits, probing: Probing) -> Self {
        Self {
            startup_timeout: limits.startup,
            check: probing.check,
            reasons: BTreeMap::new(),
            exposure: Exposure::default(),
            told_not_found: false,
            told_gap: false,
            gave_up: None,
        }
    }

    /// Why this member is not ready, if that is known: of its own process, or of the one
    /// before while the next one has yet to show.
    pub(crate) fn reason_of(&self, member: &Member) -> Option<Arc<Reason>> {
        let (of, reason) = self.reasons.get(&member.id)?;
        let is_own = of.is_some() && *of == member.generation();
        let is_shown = is_own || (member.role == Role::Current && !member.phase.is_online());
        is_shown.then(|| Arc::clone(reason))
    }

    /// A rollout has failed: what is known of its candidates is of no use any more.
    pub(crate) fn forget_candidates(&mut self, members: &[Member]) {
        self.reasons.retain(|id, _| {
            let is_it = |member: &&Member| member.id == *id && member.role == Role::Current;
            members.iter().find(is_it).is_some_and(|member| !member.phase.is_online())
        });
    }
}
