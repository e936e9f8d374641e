//! Why workers are not ready, for whoever wants to know: looks and probes come in, and
//! words go out with the announcements and to the registry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use balancer_fleet::{ClusterEvent, Left, Member, RequestId, Role, RolloutKind};
use balancer_pool::Worker;
use balancer_state::registry::Reason;
use shared_protocol::{Generation, LeftRunning, WorkerId};

use crate::announce::Notice;
use crate::diagnosis::{Cause, Facts, ended, last_lines, says_port_in_use};
use crate::look::{Look, Subject};
use crate::mixed::{HINT, says_taken};
use crate::probe::{Check, Healthy, Miss};
use crate::supervisor::Supervisor;
use crate::system::System;

/// Printed lines among which the last words are looked for.
const RECENT_LINES: usize = 60;
/// The status of a program that does not have what it is asked for.
const NOT_FOUND: u16 = 404;

impl<S: System> Supervisor<S> {
    /// Has this process, which is starting, looked at from outside.
    pub(crate) fn watch_start(&mut self, generation: Generation, asked: Option<SocketAddr>) {
        let Some(running) = self.running.get_mut(&generation) else { return };
        running.start.is_over();
        let subject = Subject {
            root: running.handle.child,
            is_shim: running.handle.is_shim,
            asked,
            startup_timeout: self.readiness.startup_timeout,
        };
        running.start.watch = Some(self.system.watch(subject, generation, self.looks.clone()));
    }

    /// A process was seen from outside. Says why it is not ready, if that is news.
    pub(crate) fn on_look(&mut self, generation: Generation, look: Look) {
        let is_it = |member: &&Member| member.generation() == Some(generation) && member.phase.is_starting();
        let Some(member) = self.fleet.members().iter().find(is_it) else { return };
        let (worker, launched) = (member.id, member.phase.process().map(|process| process.launched));
        let is_candidate = member.role == Role::Candidate;
        let Some(running) = self.running.get_mut(&generation) else { return };
        running.start.look = Some(look);
        let Some(cause) = self.cause(generation) else { return };
        let topic = cause.topic();
        let Some(running) = self.running.get_mut(&generation) else { return };
        let is_news = running.start.told.as_ref() != Some(&topic);
        let pid = running.own_pid();
        running.start.told = Some(topic);
        let after = launched.map_or(Duration::ZERO, |at| self.clock.now().saturating_duration_since(at));
        let (after, within) = (after.as_secs(), self.readiness.startup_timeout);
        let text = format!("not ready after {after} s: {cause}; it has {within:?} (--startup-timeout)");
        let reason = self.keep_reason(worker, Some(generation), text);
        if is_news {
            // Whoever waits for a reload is told before it fails.
            let requester = if is_candidate { self.fleet.requester() } else { None };
            self.announcer.notice(&Notice::NotReady { worker, pid, reason: &reason }, requester);
        }
    }

    fn cause(&self, generation: Generation) -> Option<Cause> {
        let running = self.running.get(&generation)?;
        Cause::of(Facts {
            asked: running.worker.as_ref().map(|worker| worker.address),
            check: &self.readiness.check,
            look: running.start.look.as_ref(),
            finding: running.start.finding.as_ref(),
        })
    }

    /// A process has missed a probe. Returns why, in the words of the last look at it while
    /// it has yet to get ready.
    pub(crate) fn missed(&mut self, generation: Generation, miss: &Miss) -> String {
        let Some(running) = self.running.get_mut(&generation) else { return miss.to_string() };
        if running.handle.was_ready.load(Ordering::Relaxed) {
            return miss.to_string();
        }
        running.start.finding = Some(miss.finding());
        let has_look = running.start.look.is_some();
        let cause = if has_look { self.cause(generation) } else { None };
        cause.map_or_else(|| miss.to_string(), |cause| cause.to_string())
    }

    /// A process has answered a probe. With its first one it is known where it listens.
    pub(crate) fn on_healthy(&mut self, generation: Generation, healthy: Healthy) {
        let Some(running) = self.running.get_mut(&generation) else { return };
        let Healthy { address, store, status, bound } = healthy;
        (running.store, running.status) = (store, status.or(running.status));
        if !running.handle.was_ready.swap(true, Ordering::Relaxed) {
            running.start.is_over();
            running.bound = bound;
            if let Some(worker) = running.worker.as_mut().filter(|worker| worker.address != address) {
                let Worker { id, pid, generation, ref traffic, .. } = **worker;
                *worker = Arc::new(Worker::new(id, pid, generation, address, Arc::clone(traffic)));
            }
            if let Some(bound) = bound.filter(|&bound| self.readiness.exposure.is_news(bound)) {
                self.announcer.notice(&Notice::Exposed(bound), None);
            }
        }
        if status == Some(NOT_FOUND)
            && let Check::Http(path) = &self.readiness.check
            && !std::mem::replace(&mut self.readiness.told_not_found, true)
        {
            self.announcer.notice(&Notice::PathNotFound(path), None);
        }
    }

    /// What it means that this process has ended, if it had yet to get ready or went into
    /// the background.
    pub(crate) fn early_end(
        &self,
        generation: Generation,
        how: &str,
        code: Option<i32>,
        left: Option<&LeftRunning>,
    ) -> Option<String> {
        let member = self.fleet.members().iter().find(|member| member.generation() == Some(generation))?;
        let start = &self.running.get(&generation)?.start;
        if start.has_reported || !(member.phase.is_starting() || left.is_some()) {
            return None;
        }
        Some(ended(how, code, left.map(|left| (left.pid, &*left.name)), start.has_listened()))
    }

    /// Tells everybody concerned what has happened, and with it what a worker has printed
    /// last that has failed.
    pub(crate) fn announce(&mut self, mut event: ClusterEvent, requester: Option<RequestId>) {
        let reason = self.reason(&event);
        if let ClusterEvent::RolloutFailed { kind, left: Left::AsBefore, why, .. } = &mut event
            && kind.replaces().is_some()
            && reason.as_deref().is_some_and(says_taken)
        {
            *why = format!("{why}; {HINT}");
        }
        let has_gap = matches!(event, ClusterEvent::TakenDown { alone: true, .. });
        let stopping = self.fleet.is_stopping();
        let worse = self.worse(&event);
        self.announcer.announce(event, reason.as_deref(), requester, &self.running, stopping);
        if has_gap && !std::mem::replace(&mut self.readiness.told_gap, true) {
            self.announcer.notice(&Notice::Gap, requester);
        }
        if let Some((new, old)) = worse
            && let Check::Http(path) = &self.readiness.check
        {
            self.announcer.notice(&Notice::Worse { path, new, old }, requester);
        }
    }

    /// Why a worker is not ready, as this event says it.
    fn reason(&mut self, event: &ClusterEvent) -> Option<Arc<Reason>> {
        match event {
            ClusterEvent::NotReadyInTime { worker, generation, within, why } => {
                if let Some(running) = self.running.get_mut(generation) {
                    running.start.is_over();
                }
                let text = format!("not ready within {within:?} (--startup-timeout): {why}");
                Some(self.keep_reason(*worker, Some(*generation), text))
            }
            ClusterEvent::Exited { worker, generation, exit, .. } => {
                Some(self.keep_reason(*worker, Some(*generation), exit.cause.clone()?))
            }
            ClusterEvent::CouldNotStart { worker, generation, why } => {
                Some(self.keep_reason(*worker, Some(*generation), format!("could not start: {why}")))
            }
            ClusterEvent::LaunchFailed { worker, why } => {
                Some(self.keep_reason(*worker, None, format!("could not be started: {why}")))
            }
            ClusterEvent::PortTaken { worker, generation } => {
                let text = "another program answers on its port".to_owned();
                Some(self.keep_reason(*worker, Some(*generation), text))
            }
            ClusterEvent::Online { worker, .. } | ClusterEvent::StandsBy { worker, .. } => {
                self.readiness.reasons.remove(worker);
                None
            }
            ClusterEvent::RolloutDone { kind: RolloutKind::Reload, .. } => {
                let current = self.fleet.members().iter().filter(|member| member.role == Role::Current);
                let bound = current.filter_map(|member| self.running.get(&member.generation()?)?.bound);
                self.readiness.exposure.retain(bound);
                None
            }
            ClusterEvent::RolloutFailed { culprit, .. } => {
                let mut reasons = self.readiness.reasons.values();
                let failed = reasons.find(|(of, _)| of.is_some() && of == culprit);
                let failed = failed.map(|(_, reason)| Arc::clone(reason));
                self.readiness.forget_candidates(self.fleet.members());
                failed
            }
            // The one of the process that has just ended.
            ClusterEvent::PortPolicyChanged { worker, .. } => {
                let (generation, reason) = self.readiness.reasons.get(worker)?;
                let port = self.running.get(&(*generation)?)?.worker.as_ref()?.address.port();
                says_port_in_use(&reason.last_lines, port).then(|| Arc::clone(reason))
            }
            ClusterEvent::GaveUp { tries, workers } => {
                let reason = self.hopeless(*tries, *workers);
                self.readiness.gave_up = Some(reason.clone());
                Some(Arc::new(reason))
            }
            _ => None,
        }
    }

    /// Why the cluster gives up: as each worker has failed, in the words of the first.
    fn hopeless(&self, tries: u32, workers: usize) -> Reason {
        let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
        let who = if workers == 1 {
            format!("the worker has failed {times}")
        } else {
            format!("each of the {workers} workers has failed {times}")
        };
        let first = self.readiness.reasons.iter().next();
        let (why, last_lines) = first.map_or_else(Default::default, |(id, (_, reason))| {
            (format!("; worker {id}: {}", reason.text), reason.last_lines.clone())
        });
        Reason {
            text: format!("no worker has ever been ready, and {who} (--give-up-after){why}"),
            last_lines,
        }
    }

    fn keep_reason(&mut self, worker: WorkerId, generation: Option<Generation>, text: String) -> Arc<Reason> {
        let lines = generation.map(|generation| self.state.output.last_of(worker, generation, RECENT_LINES));
        let reason = Arc::new(Reason { text, last_lines: last_lines(&lines.unwrap_or_default()) });
        self.readiness.reasons.insert(worker, (generation, Arc::clone(&reason)));
        reason
    }

    /// The statuses of the last probes of a new worker and of the one that it replaces, if
    /// those of this switch are worse: of a class above (RFC 9110, section 15).
    fn worse(&self, event: &ClusterEvent) -> Option<(u16, u16)> {
        let ClusterEvent::Switched { kind, .. } = event else { return None };
        kind.replaces()?;
        let members = self.fleet.members();
        let status = |member: &Member| self.running.get(&member.generation()?)?.status;
        let pairs = members.iter().filter(|member| member.role == Role::Current).filter_map(|new| {
            let is_old = |old: &&Member| old.role == Role::Retiring && old.id == new.id;
            Some((status(new)?, status(members.iter().find(is_old)?)?))
        });
        pairs.filter(|(new, old)| new / 100 > old / 100).max_by_key(|(new, _)| *new)
    }
}
