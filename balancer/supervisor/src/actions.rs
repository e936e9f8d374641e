//! What is to be done: carries out the actions of the slots.

use std::sync::Arc;
use std::time::Instant;

use shared_protocol::Generation;
use tracing::{debug, error, info, warn};

use super::process::{Program, Start};
use super::recycle::Budget;
use super::seat::Post;
use super::slot::{Action, Event};
use super::{Inbox, Supervisor, millis};
use balancer_state::registry::Role;
use shared_protocol::EventKind as Kind;
use shared_protocol::RestartReason as Reason;

impl Supervisor {
    pub(super) fn send(&mut self, index: usize, event: Event, inbox: &Inbox) {
        let actions = self.seats[index].slot.handle(event, Instant::now());
        self.carry_out(index, actions, inbox);
    }

    pub(super) fn carry_out(&mut self, index: usize, actions: Vec<Action>, inbox: &Inbox) {
        let id = self.seats[index].slot.id;
        for action in actions {
            match (action, &mut self.seats[index].post) {
                (Action::Launch, _) => {
                    let reason = self.seats[index].slot.history().last_reason.unwrap_or(Reason::Crash);
                    self.state.counters.replaced(id, reason);
                    let restarts = self.seats[index].slot.history().restarts;
                    let detail = format!("because of {reason}, restart number {restarts}");
                    self.state.events.note(Kind::Restarted, Some(id), None, detail);
                    self.launch(index, inbox);
                }
                (Action::Publish, Some(post)) => {
                    let Some(worker) = &post.worker else { continue };
                    let recycling = &self.settings.recycling;
                    post.budget = Some(Budget::draw(recycling, Instant::now(), fastrand::f64()));
                    self.state.pool.publish(Arc::clone(worker));
                    let (pid, port, after_ms) =
                        (worker.pid, worker.address.port(), millis(post.launched.elapsed()));
                    info!(worker = %id, pid, port, after_ms, "online");
                    let detail = format!("online after {after_ms} ms on port {port}");
                    self.state.events.note(Kind::Ready, Some(id), Some(pid), detail);
                }
                (Action::Withdraw, Some(post)) => self.state.pool.withdraw(post.process.generation),
                (Action::Terminate, Some(post)) => post.process.terminate(),
                (Action::Kill, Some(post)) => {
                    if !self.stopping {
                        warn!(worker = %id, pid = post.pid, "did not stop in time: killed");
                    }
                    post.process.kill();
                }
                // Nothing runs in this slot.
                (Action::Publish | Action::Withdraw | Action::Terminate | Action::Kill, None) => {}
            }
        }
    }

    pub(super) fn launch(&mut self, index: usize, inbox: &Inbox) {
        self.generations += 1;
        let seat = &self.seats[index];
        let id = seat.slot.id;
        let executable = match seat.role {
            Role::Candidate => self.change.executable().unwrap_or(&self.executable),
            Role::Current | Role::Retiring => &self.executable,
        };
        let workers = self.change.workers_after().unwrap_or_else(|| self.workers());
        let (generation, reserved) = (Generation(self.generations), self.ports.reserves);
        let start = Start { id, generation, workers, executable, reserved };
        let launched = self.launcher.launch(start, inbox.reports.clone(), &mut self.relays);
        let seat = &mut self.seats[index];
        (seat.not_ready, seat.failure) = (None, None);
        match launched {
            Ok(process) => {
                let pid = process.child;
                debug!(worker = %id, pid, generation = self.generations, "started");
                let what = match seat.role {
                    Role::Candidate => "on trial",
                    Role::Current | Role::Retiring => "not ready yet",
                };
                // A program's own process is not known yet, only its keeper.
                let worker = matches!(self.launcher.program, Program::Bundled).then_some(pid);
                self.state.events.note(Kind::Started, Some(id), worker, what);
                seat.post = Some(Post::new(process, Instant::now()));
            }
            Err(err) => {
                error!(worker = %id, %err, "could not be started");
                let failure = format!("could not be started: {err}");
                self.state.events.note(Kind::NotReady, Some(id), None, &failure);
                seat.failure = Some(failure);
                seat.post = None;
                self.send(index, Event::LaunchFailed { jitter: fastrand::f64() }, inbox);
            }
        }
    }
}
