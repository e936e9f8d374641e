//! What is in the log.

use shared_protocol::{Generation, ReloadMode};
use tracing::{debug, error, info, warn};

use super::notice::joined;
use super::{back_in_turn, cut_short, hung, limit, millis, scale};
use crate::mixed::failure;
use crate::running::RunningProcess;
use balancer_fleet::{ClusterEvent, PortChoice, RolloutKind};
use balancer_state::registry::Reason;

/// Writes the line for this fact, if it is worth one.
pub(super) fn write<'a>(
    event: &ClusterEvent,
    reason: Option<&Reason>,
    who: impl Fn(&Generation) -> Option<&'a RunningProcess>,
    stopping: bool,
) {
    let pid = |generation: &Generation| who(generation).and_then(RunningProcess::own_pid);
    if let Some(reason) = reason
        && write_reason(event, reason, &who)
    {
        return;
    }
    match event {
        ClusterEvent::Started { worker, generation, .. } => {
            debug!(%worker, pid = pid(generation), %generation, "started");
        }
        ClusterEvent::LaunchFailed { worker, why } => error!(%worker, err = why, "could not be started"),
        ClusterEvent::CouldNotStart { worker, why, .. } => error!(%worker, "could not start: {why}"),
        ClusterEvent::Online { worker, generation, after, .. } => {
            let address = who(generation).and_then(|running| Some(running.worker.as_ref()?.address));
            let port = address.map(|address| address.port());
            info!(%worker, pid = pid(generation), port, after_ms = millis(*after), "online");
        }
        ClusterEvent::StandsBy { worker, generation, after } => {
            debug!(%worker, pid = pid(generation), after_ms = millis(*after), "waits to take over");
        }
        ClusterEvent::NotReadyYet { worker, why, .. } => debug!(%worker, "not ready yet: {why}"),
        ClusterEvent::ProbeMissed { worker, why, .. } => debug!(%worker, "missed a health probe: {why}"),
        ClusterEvent::NotProbed { worker, why, .. } => warn!(%worker, "could not be probed: {why}"),
        ClusterEvent::PortTaken { worker, .. } => {
            warn!(%worker, "another program answers on its port: tried again on a new one");
        }
        ClusterEvent::NotReadyInTime { worker, within, why, .. } => {
            warn!(%worker, "not ready within {within:?}: {why}");
        }
        ClusterEvent::OutOfTurn { worker, generation, misses } => {
            let pid = pid(generation);
            warn!(%worker, pid, misses, "misses its health probes: gets no requests until it answers one");
        }
        ClusterEvent::BackInTurn { worker, generation, answered } => {
            info!(%worker, pid = pid(generation), "in turn again: {}", back_in_turn(*answered));
        }
        ClusterEvent::Hung { worker, generation, hang } => {
            warn!(%worker, pid = pid(generation), "is hung and is replaced: {}", hung(hang));
        }
        ClusterEvent::TakenDown { worker, generation, place, of, .. } => {
            let pid = generation.as_ref().and_then(pid);
            debug!(%worker, pid, "{place} of {of}: its successor starts after its end");
        }
        ClusterEvent::DrainCutShort { worker, generation } => {
            info!(%worker, pid = pid(generation), "{}", cut_short());
        }
        ClusterEvent::Killed { worker, generation } if !stopping => {
            warn!(%worker, pid = pid(generation), "did not stop in time: killed");
        }
        ClusterEvent::Exited { worker, generation, exit, expected, .. } => {
            let (pid, how) = (pid(generation), &exit.how);
            if *expected && exit.orderly {
                debug!(%worker, pid, "stopped: {how}");
            } else {
                warn!(%worker, pid, "ended: {how}");
            }
        }
        ClusterEvent::BackingOff { worker, wait } => {
            warn!(%worker, wait_ms = millis(*wait), "keeps ending: waits before its next start");
        }
        ClusterEvent::PortPolicyChanged { worker, next } if reason.is_some() => {
            let next = match next {
                PortChoice::Reserved => "a reserved port",
                PortChoice::Free | PortChoice::Own => "one that is not reserved",
            };
            info!(%worker, "may not have been able to use its port: the next start has {next}");
        }
        ClusterEvent::LimitReached { worker, generation, reached } => {
            let (pid, reason) = (pid(generation), reached.reason);
            info!(%worker, pid, %reason, "has reached a limit: is replaced: {}", limit(reached));
        }
        ClusterEvent::LimitTooLow { worker, generation, reached, wait } => {
            let (pid, wait_s) = (pid(generation), wait.as_secs());
            warn!(%worker, pid, wait_s, "reaches its limit as soon as it serves: {}; \
                it is kept for now (raise --max-memory)", limit(reached));
        }
        _ => write_of_cluster(event),
    }
}

/// Writes the line for a worker that is not ready, with what it has printed last. `false`
/// where that is not what happened.
fn write_reason<'a>(
    event: &ClusterEvent,
    reason: &Reason,
    who: impl Fn(&Generation) -> Option<&'a RunningProcess>,
) -> bool {
    let lines = joined(reason).map(tracing::field::display);
    match event {
        ClusterEvent::NotReadyInTime { worker, generation, .. }
        | ClusterEvent::Exited { worker, generation, .. } => {
            let pid = who(generation).and_then(RunningProcess::own_pid);
            warn!(%worker, pid, lastLines = lines, "{}", reason.text);
        }
        ClusterEvent::CouldNotStart { worker, .. } => error!(%worker, lastLines = lines, "{}", reason.text),
        ClusterEvent::GaveUp { .. } => error!(lastLines = lines, "giving up: {}", reason.text),
        ClusterEvent::RolloutFailed { kind, left, why, .. } => {
            warn!(lastLines = lines, "{}", failure(*kind, left, why));
        }
        _ => return false,
    }
    true
}

/// Writes the line for a fact that concerns all workers.
fn write_of_cluster(event: &ClusterEvent) {
    match event {
        ClusterEvent::Ready { online, workers, after } if online == workers => {
            info!(workers, after_ms = millis(*after), "cluster ready");
        }
        ClusterEvent::Ready { online, workers, after } => {
            let after_ms = millis(*after);
            warn!(online, workers, after_ms, "cluster serves, but not all workers could be started");
        }
        ClusterEvent::ReloadQueued => info!("reload asked for during another change: follows after it"),
        ClusterEvent::ScaleQueued => {
            info!("change of the number of workers asked for during another change: follows after it");
        }
        ClusterEvent::ReloadRefused { why } | ClusterEvent::ReleaseNotOpened { why } => {
            warn!("no reload: {why}");
        }
        ClusterEvent::Autoscaled { from, to, reason } => {
            info!(from, to, "{}", scale::step(*from, *to, reason));
        }
        ClusterEvent::ScaleRefused { workers, why } => warn!("number of workers stays {workers}: {why}"),
        ClusterEvent::RolloutBegan { kind: RolloutKind::Reload, mode: ReloadMode::OneByOne, workers } => {
            info!(workers, "reload begins, one by one");
        }
        ClusterEvent::RolloutBegan { kind: RolloutKind::Reload, workers, .. } => {
            info!(workers, "reload begins");
        }
        ClusterEvent::ReleaseChanged { changes } => {
            let summary = changes.summary();
            if !summary.is_empty() {
                info!("the new workers have another environment: {summary}");
            }
            changes.notes.iter().for_each(|note| warn!("{note}"));
        }
        ClusterEvent::RolloutBegan {
            kind: RolloutKind::Grow { to } | RolloutKind::Shrink { to },
            workers: from,
            ..
        } => info!(from, to, "scaling"),
        ClusterEvent::RolloutDone { kind, workers, after, .. } => {
            let after_ms = millis(*after);
            match kind {
                RolloutKind::Reload => info!(workers, after_ms, "reload done"),
                RolloutKind::Grow { .. } | RolloutKind::Shrink { .. } => info!(workers, after_ms, "scaled"),
                RolloutKind::Recycle(reason) => info!(%reason, after_ms, "worker replaced"),
            }
        }
        ClusterEvent::RolloutFailed { kind, left, why, .. } => warn!("{}", failure(*kind, left, why)),
        _ => {}
    }
}
