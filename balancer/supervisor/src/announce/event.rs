//! What operators find among the last events.

use shared_protocol::{EventKind, Generation, ReloadMode, WorkerId};

use super::notice::with_last_lines;
use super::{back_in_turn, cut_short, hung, limit, millis, scale};
use crate::mixed::failure;
use crate::running::RunningProcess;
use balancer_fleet::{ClusterEvent, RolloutKind};
use balancer_state::registry::Reason;

/// One event, without its number and time.
pub(super) struct Entry {
    pub(super) kind: EventKind,
    pub(super) worker: Option<WorkerId>,
    pub(super) pid: Option<u32>,
    pub(super) detail: String,
}

/// The event for this fact, if it is worth one.
pub(super) fn entry<'a>(
    event: &ClusterEvent,
    reason: Option<&Reason>,
    who: impl Fn(&Generation) -> Option<&'a RunningProcess>,
) -> Option<Entry> {
    let pid = |generation: &Generation| who(generation)?.own_pid();
    let of_worker = |kind, worker: &WorkerId, pid, detail: String| {
        Some(Entry { kind, worker: Some(*worker), pid, detail })
    };
    let why = |text: String| reason.map_or(text, with_last_lines);
    match event {
        ClusterEvent::Started { worker, generation, on_trial } => {
            let what = if *on_trial { "on trial" } else { "not ready yet" };
            of_worker(EventKind::Started, worker, pid(generation), what.to_owned())
        }
        ClusterEvent::LaunchFailed { worker, why: err } => {
            of_worker(EventKind::NotReady, worker, None, why(format!("could not be started: {err}")))
        }
        ClusterEvent::CouldNotStart { worker, generation, why: err } => {
            of_worker(EventKind::NotReady, worker, pid(generation), why(format!("could not start: {err}")))
        }
        ClusterEvent::Online { worker, generation, after, .. } => {
            let address = who(generation).and_then(|running| Some(running.worker.as_ref()?.address));
            let port = address.map_or(0, |address| address.port());
            let detail = format!("online after {} ms on port {port}", millis(*after));
            of_worker(EventKind::Ready, worker, pid(generation), detail)
        }
        ClusterEvent::StandsBy { worker, generation, after } => {
            let detail = format!("after {} ms, waits to take over", millis(*after));
            of_worker(EventKind::Ready, worker, pid(generation), detail)
        }
        ClusterEvent::PortTaken { worker, .. } => {
            of_worker(EventKind::PortTaken, worker, None, "another program has its port".to_owned())
        }
        ClusterEvent::NotReadyInTime { worker, generation, within, why: last } => {
            let text = format!("not ready within {within:?}: {last}");
            of_worker(EventKind::NotReady, worker, pid(generation), why(text))
        }
        ClusterEvent::OutOfTurn { worker, generation, misses } => {
            let detail = format!("missed {misses} health probes: gets no requests until it answers one");
            of_worker(EventKind::OutOfTurn, worker, pid(generation), detail)
        }
        ClusterEvent::BackInTurn { worker, generation, answered } => {
            of_worker(EventKind::InTurn, worker, pid(generation), back_in_turn(*answered).to_owned())
        }
        ClusterEvent::Hung { worker, generation, hang } => {
            of_worker(EventKind::Hung, worker, pid(generation), hung(hang))
        }
        ClusterEvent::Draining { worker, generation } => {
            of_worker(EventKind::Draining, worker, pid(generation), "gets no further requests".to_owned())
        }
        ClusterEvent::TakenDown { worker, generation, place, of, .. } => {
            let detail =
                format!("{place} of {of}: gets no further requests, its successor starts after its end");
            of_worker(EventKind::Draining, worker, generation.as_ref().and_then(pid), detail)
        }
        ClusterEvent::DrainCutShort { worker, generation } => {
            of_worker(EventKind::Draining, worker, pid(generation), cut_short().to_owned())
        }
        ClusterEvent::Exited { worker, generation, exit, expected, .. } => {
            let kind = if *expected { EventKind::Stopped } else { EventKind::Crashed };
            of_worker(kind, worker, pid(generation), why(exit.how.clone()))
        }
        ClusterEvent::BackingOff { worker, wait } => {
            of_worker(EventKind::Backoff, worker, None, format!("next start in {} ms", millis(*wait)))
        }
        ClusterEvent::Restarting { worker, reason, restarts } => of_worker(
            EventKind::Restarted,
            worker,
            None,
            format!("because of {reason}, restart number {restarts}"),
        ),
        ClusterEvent::LimitReached { worker, generation, reached } => {
            of_worker(EventKind::Limit, worker, pid(generation), format!("has reached {}", limit(reached)))
        }
        ClusterEvent::LimitTooLow { worker, generation, reached, wait } => {
            let detail = format!("{} at once; next replacement in {wait:?} at the earliest", limit(reached));
            of_worker(EventKind::Limit, worker, pid(generation), detail)
        }
        _ => of_cluster(event),
    }
}

/// The event for a fact that concerns all workers.
fn of_cluster(event: &ClusterEvent) -> Option<Entry> {
    let (kind, detail) = match event {
        ClusterEvent::ReloadRefused { why } | ClusterEvent::ReleaseNotOpened { why } => {
            (EventKind::Reload, format!("no reload: {why}"))
        }
        ClusterEvent::GaveUp { .. } => {
            (EventKind::Shutdown, "gives up: no worker has ever been ready".to_owned())
        }
        ClusterEvent::Autoscaled { from, to, reason } => (EventKind::Scale, scale::step(*from, *to, reason)),
        ClusterEvent::ScaleRefused { workers, why } => {
            (EventKind::Scale, format!("number of workers stays {workers}: {why}"))
        }
        ClusterEvent::ReleaseChanged { changes } => {
            let summary = Some(changes.summary()).filter(|summary| !summary.is_empty());
            let told: Vec<_> = summary.into_iter().chain(changes.notes.iter().cloned()).collect();
            (EventKind::Reload, told.join("; "))
        }
        ClusterEvent::RolloutBegan { kind: RolloutKind::Reload, mode, .. } => {
            let how = if *mode == ReloadMode::OneByOne { ", one by one" } else { "" };
            (EventKind::Reload, format!("reload begins{how}"))
        }
        ClusterEvent::RolloutBegan {
            kind: RolloutKind::Grow { to } | RolloutKind::Shrink { to },
            workers,
            ..
        } => (EventKind::Scale, format!("from {workers} to {to} workers")),
        ClusterEvent::Switched { kind, candidates } => {
            (event_kind(*kind), format!("new workers take over: {candidates}"))
        }
        ClusterEvent::RolloutDone { kind, workers, after, .. } => {
            let done = match kind {
                RolloutKind::Reload => "reload done",
                RolloutKind::Grow { .. } | RolloutKind::Shrink { .. } => "scaled",
                RolloutKind::Recycle(_) => "worker replaced",
            };
            (event_kind(*kind), format!("{done} after {} ms: {workers} workers", millis(*after)))
        }
        ClusterEvent::RolloutFailed { kind, left, why, .. } => (event_kind(*kind), failure(*kind, left, why)),
        _ => return None,
    };
    Some(Entry { kind, worker: None, pid: None, detail })
}

fn event_kind(kind: RolloutKind) -> EventKind {
    match kind {
        RolloutKind::Reload => EventKind::Reload,
        RolloutKind::Grow { .. } | RolloutKind::Shrink { .. } => EventKind::Scale,
        RolloutKind::Recycle(_) => EventKind::Limit,
    }
}
