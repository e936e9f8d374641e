//! The only place where a fact becomes known: as a log line, an event, a count, a
//! notice to the service manager and progress to whoever asked for it.

mod event;
mod log;
mod notice;
mod scale;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balancer_state::ClusterState;
use balancer_state::counters::{Counters, ReloadOutcome};
use balancer_state::events::Events;
use balancer_state::registry::Reason;
use shared_protocol::{Generation, Progress, RestartReason};

use crate::handle::{ProgressSender, Reply};
use crate::{mixed, notify};
pub(crate) use notice::Notice;

use crate::running::{RunningProcess, RunningProcesses};
use balancer_fleet::{ClusterEvent, Hang, Left, Mixed, Reached, RequestId, Requester, RolloutKind};

/// Tells everybody concerned what has happened to the cluster.
#[derive(Debug)]
pub(crate) struct Announcer {
    events: Arc<Events>,
    counters: Arc<Counters>,
    requesters: BTreeMap<RequestId, ProgressSender>,
    /// Requesters so far.
    requests: u64,
    /// Starts of programs whose own pid their shims have yet to tell.
    starts: BTreeMap<Generation, (ClusterEvent, Option<RequestId>)>,
}

impl Announcer {
    pub(crate) fn new(state: &ClusterState) -> Self {
        let (events, counters) = (Arc::clone(&state.events), Arc::clone(&state.counters));
        Self { events, counters, requesters: BTreeMap::new(), requests: 0, starts: BTreeMap::new() }
    }

    /// A name for whoever waits for progress, if somebody does.
    pub(crate) fn requester(&mut self, reply: Option<Reply>) -> Option<Requester> {
        let Reply { progress, awaits_drain } = reply?;
        self.requests += 1;
        let id = RequestId(self.requests);
        self.requesters.insert(id, progress);
        Some(Requester { id, awaits_drain })
    }

    /// Announces `event`; `reason` is why a worker is not ready, if that is what it is about.
    /// The processes that it is about are still among `running`. The start of a program
    /// waits until its pid is known, as it is the one that operators use.
    pub(crate) fn announce(
        &mut self,
        event: ClusterEvent,
        reason: Option<&Reason>,
        requester: Option<RequestId>,
        running: &RunningProcesses,
        stopping: bool,
    ) {
        if let ClusterEvent::Started { generation, .. } = event
            && running.get(&generation).is_some_and(|process| process.own_pid().is_none())
        {
            self.starts.insert(generation, (event, requester));
            return;
        }
        self.tell_all(event, reason, requester, running, stopping);
    }

    /// Announces the start of this process, if that has waited for its pid: it is known
    /// now, or the process has ended.
    pub(crate) fn announce_start(
        &mut self,
        generation: Generation,
        running: &RunningProcesses,
        stopping: bool,
    ) {
        if let Some((event, requester)) = self.starts.remove(&generation) {
            self.tell_all(event, None, requester, running, stopping);
        }
    }

    fn tell_all(
        &mut self,
        event: ClusterEvent,
        reason: Option<&Reason>,
        requester: Option<RequestId>,
        running: &RunningProcesses,
        stopping: bool,
    ) {
        let who = |generation: &Generation| running.get(generation);
        log::write(&event, reason, who, stopping);
        if let Some(event::Entry { kind, worker, pid, detail }) = event::entry(&event, reason, who) {
            self.events.note(kind, worker, pid, detail);
        }
        self.count(&event);
        notify_manager(&event, stopping);
        if let Some(requester) = requester {
            self.tell(requester, event, reason, who);
        }
    }

    /// Tells what was noticed about workers that the fleet does not decide on.
    pub(crate) fn notice(&self, notice: &Notice<'_>, requester: Option<RequestId>) {
        notice.log();
        if let Some((kind, worker, pid, detail)) = notice.event() {
            self.events.note(kind, worker, pid, detail);
        }
        if let Some(sender) = requester.and_then(|requester| self.requesters.get(&requester)) {
            // As for all progress: whoever is far behind may miss something.
            let _ = sender.try_send(Progress::Warning { reason: notice.to_string() });
        }
    }

    fn count(&self, event: &ClusterEvent) {
        match *event {
            ClusterEvent::RolloutFailed {
                kind: RolloutKind::Reload,
                left: Left::Mixed(Mixed { ref new, .. }),
                ..
            } if !new.is_empty() => self.counters.reloaded(ReloadOutcome::Partial),
            ClusterEvent::Restarting { worker, reason, .. }
            | ClusterEvent::Online { worker, replaces: Some(reason), .. } => {
                self.counters.replaced(worker, reason);
            }
            ClusterEvent::RolloutDone { kind: RolloutKind::Reload, .. } => {
                self.counters.reloaded(ReloadOutcome::Done);
            }
            ClusterEvent::RolloutFailed { kind: RolloutKind::Reload, .. }
            | ClusterEvent::ReleaseNotOpened { .. } => self.counters.reloaded(ReloadOutcome::RolledBack),
            _ => {}
        }
    }

    /// Sends progress. This fails when the requester does not listen any more, or is
    /// so far behind that it misses something.
    fn tell<'a>(
        &mut self,
        requester: RequestId,
        event: ClusterEvent,
        reason: Option<&Reason>,
        who: impl Fn(&Generation) -> Option<&'a RunningProcess>,
    ) {
        let is_final = event.is_final();
        if let (Some(sender), Some(progress)) =
            (self.requesters.get(&requester), progress(event, reason, who))
        {
            let _ = sender.try_send(progress);
        }
        if is_final {
            self.requesters.remove(&requester);
        }
    }
}

/// What a requester learns from this event, if anything.
fn progress<'a>(
    event: ClusterEvent,
    reason: Option<&Reason>,
    who: impl Fn(&Generation) -> Option<&'a RunningProcess>,
) -> Option<Progress> {
    let pid = |generation: Generation| who(&generation)?.own_pid();
    Some(match event {
        ClusterEvent::Started { worker, generation, .. } => {
            Progress::Started { worker, pid: pid(generation)? }
        }
        ClusterEvent::StandsBy { worker, generation, after }
        | ClusterEvent::Online { worker, generation, after, .. } => {
            Progress::Ready { worker, pid: pid(generation)?, after_ms: millis(after) }
        }
        ClusterEvent::ScaleQueued => Progress::Waiting,
        ClusterEvent::ReleaseChanged { changes } => Progress::Changes(changes),
        ClusterEvent::Switched { candidates, .. } => Progress::Switched { workers: candidates },
        ClusterEvent::Draining { worker, generation } => {
            Progress::Draining { worker, pid: pid(generation)?, turn: None }
        }
        ClusterEvent::TakenDown { worker, generation, place, of, within, .. } => {
            let process = who(&generation?)?;
            let turn = Some(mixed::turn(process, place, of, within));
            Progress::Draining { worker, pid: process.own_pid()?, turn }
        }
        ClusterEvent::Exited { worker, generation, retired: true, .. } => {
            Progress::Stopped { worker, pid: pid(generation)? }
        }
        ClusterEvent::RolloutDone { workers, retired, after, .. } => {
            let workers_left = retired.iter().filter_map(|left| who(left)?.worker.as_ref());
            let left = workers_left.map(|worker| (worker.workload().requests, worker.long_lived()));
            let (requests, long_lived) = left.fold((0, 0), |sum, left| (sum.0 + left.0, sum.1 + left.1));
            Progress::Done { workers, after_ms: millis(after), requests, long_lived }
        }
        ClusterEvent::DrainDone { workers, after, .. } => {
            Progress::Done { workers, after_ms: millis(after), requests: 0, long_lived: 0 }
        }
        ClusterEvent::RolloutFailed { kind, left, why, .. } => {
            let last_lines = reason.map(|reason| reason.last_lines.clone()).unwrap_or_default();
            Progress::Failed { reason: mixed::with_left(why, kind, &left), last_lines }
        }
        ClusterEvent::ReloadRefused { why }
        | ClusterEvent::ScaleRefused { why, .. }
        | ClusterEvent::ReleaseNotOpened { why } => {
            let last_lines = reason.map(|reason| reason.last_lines.clone()).unwrap_or_default();
            Progress::Failed { reason: why, last_lines }
        }
        _ => return None,
    })
}

fn notify_manager(event: &ClusterEvent, stopping: bool) {
    match event {
        ClusterEvent::Ready { online, workers, .. } => {
            notify::ready(&format!("{online} of {workers} workers online"));
        }
        ClusterEvent::RolloutBegan { kind: RolloutKind::Reload, .. } => notify::reloading(),
        ClusterEvent::RolloutDone { kind: RolloutKind::Reload, workers, .. } => {
            notify::ready(&format!("{workers} workers, reloaded"));
        }
        ClusterEvent::RolloutFailed { kind: RolloutKind::Reload, left, .. } if !stopping => {
            notify::ready(mixed::notice(left));
        }
        _ => {}
    }
}

/// Why a worker is taken for hung.
fn hung(hang: &Hang) -> String {
    match hang {
        Hang::Idle(time) => {
            format!("has answered no health probe for {} s, with nothing in hand", time.as_secs())
        }
        Hang::Stalled(time) => {
            format!("none of its requests has moved for {} s (--hang-timeout)", time.as_secs())
        }
    }
}

/// What becomes of a worker that drains when its successor is replaced as well.
fn cut_short() -> &'static str {
    "is told to end before its drain timeout: its successor is replaced as well"
}

/// Why a worker gets requests again.
fn back_in_turn(answered: bool) -> &'static str {
    if answered { "it has answered a probe" } else { "no other worker answers its probes either" }
}

/// A limit and what was used, in units for people.
fn limit(reached: &Reached) -> String {
    let Reached { reason, used, limit } = *reached;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    match reason {
        RestartReason::MaxMemory => {
            format!("{reason}: {:.1} MiB of {:.1} MiB", mebibytes(used), mebibytes(limit))
        }
        RestartReason::MaxLifetime => {
            let time = |millis| humantime::format_duration(Duration::from_secs(millis / 1_000));
            format!("{reason}: {} of {}", time(used), time(limit))
        }
        _ => format!("{reason}: {used} of {limit}"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
