//! Moves a fleet in time and forgets what it will never look at again, so that
//! states which behave alike from now on are equal.

use std::time::{Duration, Instant};

use shared_protocol::Generation;

use crate::phase::{Escalation, Phase, Process};
use crate::{Fleet, Health, Lifecycle, Limits, Member};

/// Deaths that are told apart.
const DEATHS: u32 = 2;

/// Rewrites the fleet so that what happens at `now` happens at `base`, with every
/// generation renamed.
pub(super) fn normalise(
    fleet: &mut Fleet,
    now: Instant,
    base: Instant,
    rename: &impl Fn(Generation) -> Generation,
) {
    let shift = now.duration_since(base);
    let deadline = |at: &mut Instant| *at = at.checked_sub(shift).map_or(base, |at| at.max(base));
    let limits = fleet.settings.limits;
    let tries = fleet.settings.give_up_after.map_or(1, u64::from);
    for member in &mut fleet.members {
        normalise_member(member, &limits, now, base, &deadline, rename, tries);
    }
    if let Some(rollout) = &mut fleet.rollout {
        rollout.began = base;
    }
    for awaited in &mut fleet.awaited {
        awaited.began = base;
        awaited.retired.iter_mut().for_each(|retired| *retired = rename(*retired));
    }
    if let Lifecycle::Booting { since, .. } = &mut fleet.lifecycle {
        *since = base;
    }
    let most = fleet.settings.max_workers;
    fleet.gate.allowance = fleet.gate.allowance.min(most);
    fleet.gate.next_look.iter_mut().for_each(deadline);
    let recycles = !fleet.settings.recycle.is_off();
    for at in [&mut fleet.recycle.next, &mut fleet.recycle.next_memory] {
        if recycles { deadline(at) } else { *at = base }
    }
}

fn normalise_health(
    health: &mut Health,
    limits: &Limits,
    now: Instant,
    base: Instant,
    deadline: &impl Fn(&mut Instant),
) {
    let age = now.saturating_duration_since(health.heard).min(limits.hang);
    health.heard = base.checked_sub(age).expect("ages are short");
    health.misses = health.misses.min(limits.fall);
    health.look_at.iter_mut().for_each(deadline);
}

fn normalise_member(
    member: &mut Member,
    limits: &Limits,
    now: Instant,
    base: Instant,
    deadline: &impl Fn(&mut Instant),
    rename: &impl Fn(Generation) -> Generation,
    tries: u64,
) {
    member.backoff.forget_beyond(DEATHS);
    let debt = member.backoff.debt();
    // Only whether there was one matters, or how many until the cluster gives up.
    member.history.restarts = member.history.restarts.min(tries);
    let process = |process: &mut Process| {
        process.launched = base;
        process.generation = rename(process.generation);
    };
    match &mut member.phase {
        Phase::Starting { process: found, deadline: at, .. } => {
            process(found);
            deadline(at);
        }
        Phase::Standby { process: found, heard, .. } => {
            process(found);
            *heard = base;
        }
        Phase::AtGate { since, .. } => *since = base,
        Phase::Online { process: found, since, budget, health, .. } => {
            process(found);
            normalise_health(health, limits, now, base, deadline);
            let age: Duration = now.saturating_duration_since(*since).min(debt);
            *since = base.checked_sub(age).expect("ages are short");
            budget.until.iter_mut().for_each(deadline);
        }
        Phase::Draining { process: found, until, .. } => {
            process(found);
            deadline(until);
        }
        Phase::Stopping { process: found, online, escalation, .. } => {
            process(found);
            *online = (*online).min(debt);
            if let Escalation::KillAt(at) = escalation {
                deadline(at);
            }
        }
        Phase::Backoff { until, .. } => deadline(until),
        Phase::Stopped => {}
    }
}
