//! What has come in: reports of processes, outcomes of probes, deadlines.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::Signal;
use shared_protocol::{Generation, WorkerRef};
use tracing::{debug, error, info, warn};

use super::probe::{self, Expected, Outcome, Target};
use super::process::{Program, Report};
use super::slot::{self, Event};
use super::{Inbox, Supervisor, millis};
use balancer_pool::Worker;
use balancer_state::registry::Role;
use shared_protocol::EventKind as Kind;
use shared_protocol::Progress;

impl Supervisor {
    pub(super) fn on_report(&mut self, generation: Generation, report: Report, inbox: &Inbox) {
        let Some(index) = self.index_of(generation) else { return };
        let id = self.seats[index].slot.id;
        match report {
            Report::Up { pid, port } => self.on_up(index, pid, port, inbox),
            Report::CouldNotStart { reason } => {
                error!(worker = %id, "could not start: {reason}");
                self.seats[index].failure = Some(reason);
            }
            Report::Leaving => self.send(index, Event::Leaving, inbox),
            Report::Exited { status } => self.on_exit(index, status.as_ref().ok(), inbox),
        }
    }

    fn on_up(&mut self, index: usize, pid: u32, port: u16, inbox: &Inbox) {
        let seat = &mut self.seats[index];
        let id = seat.slot.id;
        let Some(post) = &mut seat.post else { return };
        let (keeper, generation) = (post.process.child, post.process.generation);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let expected = match self.launcher.program {
            Program::Bundled => Expected::Bundled(WorkerRef::new(id, pid)),
            Program::Command(_) => Expected::Program { keeper },
        };
        post.pid = pid;
        let traffic = self.state.counters.traffic(id);
        post.worker = Some(Arc::new(Worker::new(id, pid, generation, address, traffic)));
        let probing = self.settings.probing.clone();
        let target = Target { address, expected };
        post.probes = Some(tokio::spawn(probe::run(target, generation, probing, inbox.outcomes.clone())));
    }

    fn on_exit(&mut self, index: usize, status: Option<&ExitStatus>, inbox: &Inbox) {
        let seat = &mut self.seats[index];
        let (id, pid) = (seat.slot.id, seat.pid());
        let how = status.map_or_else(|| "in an unknown way".to_owned(), ToString::to_string);
        let expected = self.stopping || seat.slot.is_ending();
        if seat.slot.is_starting() {
            seat.failure.get_or_insert_with(|| format!("ended before it was ready: {how}"));
            let early = seat.post.as_ref().filter(|_| !self.stopping);
            if early.is_some_and(|post| self.ports.ended_early(post.process.reserved)) {
                let next = if self.ports.reserves { "a reserved port" } else { "one that is not reserved" };
                info!(worker = %id, "may not have been able to use its port: the next start has {next}");
            }
        }
        let retired = seat.role == Role::Retiring && !seat.abandoned;
        if let Some(post) = seat.post.take() {
            self.state.pool.withdraw(post.process.generation);
        }
        // Programs that do not handle the signal that we send end by it.
        let orderly =
            |status: &ExitStatus| status.success() || status.signal() == Some(Signal::TERM.as_raw());
        if expected && status.is_some_and(orderly) {
            debug!(worker = %id, pid, "stopped: {how}");
        } else {
            warn!(worker = %id, pid, "ended: {how}");
        }
        let kind = if expected { Kind::Stopped } else { Kind::Crashed };
        self.state.events.note(kind, Some(id), pid, how);
        if let (true, Some(pid)) = (retired, pid) {
            self.change.tell(Progress::Stopped { worker: id, pid });
        }
        self.send(index, Event::Exited { jitter: fastrand::f64() }, inbox);
        if let Some(at) = self.seats[index].slot.starts_at().filter(|&at| at > Instant::now()) {
            let wait_ms = millis(at.saturating_duration_since(Instant::now()));
            warn!(worker = %id, wait_ms, "keeps ending: waits before its next start");
            self.state.events.note(Kind::Backoff, Some(id), None, format!("next start in {wait_ms} ms"));
        }
    }

    pub(super) fn on_probe(&mut self, generation: Generation, outcome: Outcome, inbox: &Inbox) {
        let Some(index) = self.index_of(generation) else { return };
        let seat = &mut self.seats[index];
        let id = seat.slot.id;
        let healthy = match outcome {
            Outcome::Healthy { store } => {
                if let Some(post) = &mut seat.post {
                    self.ports.got_ready(post.process.reserved);
                    post.store = store;
                }
                true
            }
            Outcome::Missed { why } if seat.slot.online_since().is_some() => {
                warn!(worker = %id, "missed a health probe: {why}");
                false
            }
            Outcome::Missed { why } => {
                debug!(worker = %id, "not ready yet: {why}");
                seat.not_ready = Some(why);
                false
            }
            Outcome::PortTaken => {
                warn!(worker = %id, "another program answers on its port: tried again on a new one");
                self.state.events.note(Kind::PortTaken, Some(id), None, "another program has its port");
                return self.send(index, Event::PortTaken, inbox);
            }
            Outcome::Unknown { why } => {
                warn!(worker = %id, "could not be probed: {why}");
                return;
            }
        };
        self.send(index, Event::Probe { healthy }, inbox);
        self.eject_suspects(inbox);
    }

    fn eject_suspects(&mut self, inbox: &Inbox) {
        for index in 0..self.seats.len() {
            let id = self.seats[index].slot.id;
            if self.seats[index].slot.is_suspect() && slot::may_eject(self.current_slots(), id) {
                warn!(worker = %id, "is hung: taken out and replaced");
                let pid = self.seats[index].pid();
                self.state.events.note(Kind::Hung, Some(id), pid, "missed its health probes");
                self.send(index, Event::Eject, inbox);
            }
        }
    }

    pub(super) fn on_due(&mut self, inbox: &Inbox) {
        self.looked = Instant::now();
        for index in 0..self.seats.len() {
            let was_starting = self.seats[index].slot.is_starting();
            self.send(index, Event::Due, inbox);
            let seat = &mut self.seats[index];
            if seat.is_drained() {
                self.send(index, Event::Idle, inbox);
            } else if was_starting && !seat.slot.is_starting() {
                let why = seat.not_ready.take().unwrap_or_else(|| "it has not told its port".to_owned());
                let why = format!("not ready within {:?}: {why}", self.settings.limits.startup);
                warn!(worker = %seat.slot.id, "{why}");
                self.state.events.note(Kind::NotReady, Some(seat.slot.id), seat.pid(), &why);
                seat.failure = Some(why);
            }
        }
        self.look_at_limits();
    }
}
