//! Changes of the whole cluster, carried out one at a time: reload, scale, and
//! the replacement of workers that have reached a limit. What is to happen is in
//! [`plan`](super::plan); here processes follow it.
//!
//! A change that starts workers switches over only when all of them are ready,
//! so until then it can fail without a trace. It is over when the last worker
//! that it has retired is gone: never are there more than two of a slot.

use std::time::Instant;

use shared_protocol::WorkerId;
use tracing::{info, warn};

use super::executable::Executable;
use super::plan::{Plan, Purpose};
use super::process::Program;
use super::recycle;
use super::seat::Seat;
use super::slot::Event;
use super::{Inbox, ProgressSender, ScaleTo, Supervisor, millis};
use crate::notify;
use balancer_state::counters::ReloadOutcome;
use balancer_state::registry::Role;
use shared_process::tree::{self as processes, Processes};
use shared_protocol::EventKind as Kind;
use shared_protocol::Progress;
use shared_protocol::RestartReason as Reason;

/// The change that is under way, and those that wait for it.
#[derive(Debug, Default)]
pub struct Change {
    running: Option<Running>,
    /// Asked for by a signal, to which nobody expects an answer.
    reload_again: bool,
    scale_by: isize,
    /// When workers are next compared with their limits.
    limits_from: Option<Instant>,
    memory_from: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    purpose: Purpose,
    /// Until the switch; after it retired workers drain.
    plan: Option<Plan>,
    /// Where the candidates are started from.
    executable: Option<Executable>,
    reply: Option<ProgressSender>,
    began: Instant,
}

impl Change {
    pub fn tell(&self, progress: Progress) {
        if let Some(reply) = self.running.as_ref().and_then(|running| running.reply.as_ref()) {
            answer(reply, progress);
        }
    }

    /// Where the candidates of this change are started from, if it matters.
    pub fn executable(&self) -> Option<&Executable> {
        self.running.as_ref()?.executable.as_ref()
    }

    /// How many workers there will be when this change has succeeded.
    pub fn workers_after(&self) -> Option<usize> {
        match self.running.as_ref()?.purpose {
            Purpose::Grow { to } => Some(to),
            Purpose::Reload | Purpose::Shrink | Purpose::Recycle(_) => None,
        }
    }
}

/// Fails only when whoever asked does not wait for the answer any more.
fn answer(reply: &ProgressSender, progress: Progress) {
    let _ = reply.try_send(progress);
}

impl Supervisor {
    pub(super) fn order_reload(&mut self, reply: Option<ProgressSender>) {
        match (self.refusal(), reply) {
            (None, reply) => self.begin_reload(reply),
            (Some(why), Some(reply)) => answer(&reply, Progress::Failed { reason: why.to_owned() }),
            (Some(why), None) if self.stopping => warn!("no reload: {why}"),
            (Some(_), None) => {
                info!("reload asked for during another change: follows after it");
                self.change.reload_again = true;
            }
        }
    }

    pub(super) fn order_scale(&mut self, to: ScaleTo, reply: Option<ProgressSender>, inbox: &Inbox) {
        match (self.refusal(), reply) {
            (None, reply) => self.begin_scale(to, reply, inbox),
            (Some(why), Some(reply)) => answer(&reply, Progress::Failed { reason: why.to_owned() }),
            (Some(why), None) => match to {
                _ if self.stopping => warn!("no change of the number of workers: {why}"),
                ScaleTo::More(more) => {
                    self.change.scale_by = self.change.scale_by.saturating_add_unsigned(more)
                }
                ScaleTo::Fewer(fewer) => {
                    self.change.scale_by = self.change.scale_by.saturating_sub_unsigned(fewer);
                }
                ScaleTo::Exactly(_) => {}
            },
        }
    }

    /// Why no change can begin now.
    fn refusal(&self) -> Option<&'static str> {
        if self.stopping {
            return Some("the cluster is stopping");
        }
        Some(match self.change.running.as_ref()?.purpose {
            Purpose::Reload => "a reload is under way; try again when it is done",
            Purpose::Grow { .. } | Purpose::Shrink => {
                "the cluster is being scaled; try again when that is done"
            }
            Purpose::Recycle(_) => "a worker is being replaced; try again in a moment",
        })
    }

    fn begin_reload(&mut self, reply: Option<ProgressSender>) {
        let executable = match self.launcher.program {
            Program::Bundled => match self.executable.installed_now() {
                Ok(executable) => Some(executable),
                Err(err) => {
                    warn!(%err, "no reload");
                    self.state.counters.reloaded(ReloadOutcome::RolledBack);
                    if let Some(reply) = reply {
                        answer(&reply, Progress::Failed { reason: err.to_string() });
                    }
                    return;
                }
            },
            Program::Command(_) => None,
        };
        info!(workers = self.workers(), "reload begins");
        self.state.events.note(Kind::Reload, None, None, "reload begins");
        notify::reloading();
        let ids: Vec<_> = self.current_slots().map(|slot| slot.id).collect();
        let plan = Plan::new(Purpose::Reload, ids, self.settings.reload_parallel);
        self.run_plan(plan, executable, reply);
    }

    fn begin_scale(&mut self, to: ScaleTo, reply: Option<ProgressSender>, inbox: &Inbox) {
        let now = self.workers();
        let most = self.settings.most_workers;
        let to = match to {
            ScaleTo::Exactly(to) => to,
            ScaleTo::More(more) => now + more,
            ScaleTo::Fewer(fewer) => now.saturating_sub(fewer),
        };
        let refusal = match to {
            0 => Some("a cluster has at least one worker".to_owned()),
            to if to > most => Some(format!("{to} workers find no room; {most} is the most")),
            _ => None,
        };
        if let Some(reason) = refusal {
            warn!("number of workers stays {now}: {reason}");
            if let Some(reply) = reply {
                answer(&reply, Progress::Failed { reason });
            }
            return;
        }
        info!(from = now, to, "scaling");
        self.state.events.note(Kind::Scale, None, None, format!("from {now} to {to} workers"));
        if to > now {
            let new = (1..).map(WorkerId).skip(now).take(to - now);
            return self.run_plan(Plan::new(Purpose::Grow { to }, new, to), None, reply);
        }
        self.change.running = Some(Running {
            purpose: Purpose::Shrink,
            plan: None,
            executable: None,
            reply,
            began: Instant::now(),
        });
        for index in 0..self.seats.len() {
            let seat = &self.seats[index];
            if seat.role == Role::Current && seat.slot.id.0 as usize > to {
                self.retire(index, inbox);
            }
        }
    }

    fn run_plan(&mut self, plan: Plan, executable: Option<Executable>, reply: Option<ProgressSender>) {
        let (purpose, began) = (plan.purpose, Instant::now());
        self.change.running = Some(Running { purpose, plan: Some(plan), executable, reply, began });
    }

    /// Looks how far the change is, and does what is next.
    pub(super) fn advance(&mut self, inbox: &Inbox) {
        while let Some(Running { plan: Some(plan), .. }) = &mut self.change.running {
            let mut candidates = self.seats.iter().filter(|seat| seat.role == Role::Candidate);
            if let Some(failed) = candidates.clone().find(|seat| seat.slot.is_given_up()) {
                let why =
                    failed.failure.clone().unwrap_or_else(|| "ended while it waited for the others".into());
                let reason = format!("worker {}: {why}", failed.slot.id);
                self.abandon_change(&reason, inbox);
                break;
            }
            let ready = candidates.find(|seat| seat.slot.is_standby() && plan.stands_by(seat.slot.id));
            if let Some((id, post)) = ready.and_then(|seat| Some((seat.slot.id, seat.post.as_ref()?))) {
                let (pid, after_ms) = (post.pid, millis(post.launched.elapsed()));
                let detail = format!("after {after_ms} ms, waits to take over");
                self.state.events.note(Kind::Ready, Some(id), Some(pid), detail);
                self.change.tell(Progress::Ready { worker: id, pid, after_ms });
            } else if let Some(id) = plan.start_next() {
                self.start_candidate(id, inbox);
            } else if plan.is_complete() {
                self.switch(inbox);
            } else {
                break;
            }
        }
        self.seats.retain(|seat| !seat.is_over());
        let retiring = self.seats.iter().any(|seat| seat.role == Role::Retiring && !seat.abandoned);
        if self.change.running.as_ref().is_some_and(|running| running.plan.is_none()) && !retiring {
            self.finish();
        }
        if self.change.running.is_none() && !self.stopping {
            self.begin_next(inbox);
            self.look_at_limits();
            if self.change.running.is_some() {
                // Nothing else may happen for a while that would bring us here.
                self.advance(inbox);
            }
        }
    }

    fn start_candidate(&mut self, id: WorkerId, inbox: &Inbox) {
        self.seats.push(Seat::candidate(id, self.settings.limits, Instant::now()));
        let index = self.seats.len() - 1;
        self.launch(index, inbox);
        if let Some(pid) = self.seats[index].pid() {
            self.change.tell(Progress::Started { worker: id, pid });
        }
    }

    /// All candidates are ready: each takes over, and its predecessor retires.
    fn switch(&mut self, inbox: &Inbox) {
        let Some(running) = &mut self.change.running else { return };
        running.plan = None;
        if let Some(executable) = running.executable.take() {
            self.executable = executable;
        }
        let reason = match running.purpose {
            Purpose::Reload => Some(Reason::Reload),
            Purpose::Recycle(reason) => Some(reason),
            Purpose::Grow { .. } | Purpose::Shrink => None,
        };
        let kind = running.purpose.kind();
        let candidates: Vec<_> =
            (0..self.seats.len()).filter(|&index| self.seats[index].role == Role::Candidate).collect();
        self.change.tell(Progress::Switched { workers: candidates.len() });
        let detail = format!("new workers take over: {}", candidates.len());
        self.state.events.note(kind, None, None, detail);
        for index in candidates {
            let id = self.seats[index].slot.id;
            let old = self.seats.iter().position(|seat| seat.role == Role::Current && seat.slot.id == id);
            let history = old.map(|old| self.seats[old].slot.history());
            let seat = &mut self.seats[index];
            seat.role = Role::Current;
            let actions = seat.slot.promote(history, Instant::now());
            self.carry_out(index, actions, inbox);
            if let Some(old) = old {
                self.retire(old, inbox);
            }
            if let Some(reason) = reason {
                self.state.counters.replaced(id, reason);
            }
        }
    }

    fn retire(&mut self, index: usize, inbox: &Inbox) {
        let seat = &mut self.seats[index];
        seat.role = Role::Retiring;
        let (worker, pid) = (seat.slot.id, seat.pid());
        if let Some(pid) = pid {
            self.change.tell(Progress::Draining { worker, pid });
            self.state.events.note(Kind::Draining, Some(worker), Some(pid), "gets no further requests");
        }
        self.send(index, Event::Retire, inbox);
    }

    /// Undoes what has been begun; nothing of it was to be seen from outside.
    pub(super) fn abandon_change(&mut self, reason: &str, inbox: &Inbox) {
        for index in 0..self.seats.len() {
            if self.seats[index].role == Role::Candidate {
                self.seats[index].role = Role::Retiring;
                self.seats[index].abandoned = true;
                self.send(index, Event::Stop, inbox);
            }
        }
        let Some(running) = self.change.running.take() else { return };
        let what = match running.purpose {
            Purpose::Reload => {
                self.state.counters.reloaded(ReloadOutcome::RolledBack);
                notify::ready("a reload failed; the workers from before it serve");
                "reload given up, the old workers stay"
            }
            Purpose::Recycle(_) => {
                self.change.limits_from = Some(Instant::now() + recycle::RETRY);
                "replacement given up, the old worker stays"
            }
            Purpose::Grow { .. } | Purpose::Shrink => "scaling given up",
        };
        warn!("{what}: {reason}");
        self.state.events.note(running.purpose.kind(), None, None, format!("{what}: {reason}"));
        if let Some(reply) = running.reply {
            answer(&reply, Progress::Failed { reason: reason.to_owned() });
        }
    }

    fn finish(&mut self) {
        let Some(running) = self.change.running.take() else { return };
        let (workers, after) = (self.workers(), running.began.elapsed());
        let after_ms = millis(after);
        let done = match running.purpose {
            Purpose::Reload => "reload done",
            Purpose::Grow { .. } | Purpose::Shrink => "scaled",
            Purpose::Recycle(_) => "worker replaced",
        };
        let detail = format!("{done} after {after_ms} ms: {workers} workers");
        self.state.events.note(running.purpose.kind(), None, None, detail);
        match running.purpose {
            Purpose::Reload => {
                self.state.counters.reloaded(ReloadOutcome::Done);
                notify::ready(&format!("{workers} workers, reloaded"));
                info!(workers, after_ms, "reload done");
            }
            Purpose::Grow { .. } | Purpose::Shrink => info!(workers, after_ms, "scaled"),
            Purpose::Recycle(reason) => {
                info!(%reason, after_ms, "worker replaced");
                // The next one may be waiting for its turn.
                self.change.limits_from = None;
            }
        }
        if let Some(reply) = running.reply {
            answer(&reply, Progress::done(workers, after));
        }
    }

    /// Begins what signals have asked for in the meantime.
    fn begin_next(&mut self, inbox: &Inbox) {
        let by = std::mem::take(&mut self.change.scale_by);
        if by != 0 {
            let to =
                if by > 0 { ScaleTo::More(by.unsigned_abs()) } else { ScaleTo::Fewer(by.unsigned_abs()) };
            self.begin_scale(to, None, inbox);
        } else if std::mem::take(&mut self.change.reload_again) {
            self.begin_reload(None);
        }
    }

    /// Replaces a worker that has reached a limit, if no change is under way.
    pub(super) fn look_at_limits(&mut self) {
        let now = Instant::now();
        if self.settings.recycling.is_off() || self.change.limits_from.is_some_and(|from| now < from) {
            return;
        }
        self.change.limits_from = Some(now + recycle::LOOK);
        if self.settings.recycling.max_memory.is_some()
            && self.change.memory_from.is_none_or(|from| now >= from)
        {
            self.change.memory_from = Some(now + recycle::MEMORY_LOOK);
            self.note_memory();
        }
        if self.refusal().is_some() {
            return;
        }
        let reached = self.seats.iter().filter(|seat| seat.role == Role::Current).find_map(|seat| {
            let post = seat.post.as_ref()?;
            let requests = post.worker.as_ref()?.requests();
            Some((seat.slot.id, post.pid, post.budget?.reached(requests, now)?))
        });
        if let Some((id, pid, reason)) = reached {
            info!(worker = %id, pid, %reason, "has reached a limit: is replaced");
            self.state.events.note(Kind::Limit, Some(id), Some(pid), format!("has reached {reason}"));
            self.run_plan(Plan::new(Purpose::Recycle(reason), [id], 1), None, None);
        }
    }

    fn note_memory(&mut self) {
        let processes = match self.launcher.program {
            Program::Bundled => None,
            Program::Command(_) => Some(Processes::now()),
        };
        for post in self.seats.iter_mut().filter_map(|seat| seat.post.as_mut()) {
            let resident = match &processes {
                None => processes::usage(post.pid).map_or(0, |usage| usage.resident),
                Some(processes) => processes.usage_below(post.process.child).resident,
            };
            if let Some(budget) = &mut post.budget {
                budget.note_memory(resident);
            }
        }
    }
}
