//! Who of those that have only long-lived connections is told to end while they have them.

use std::time::Instant;

use shared_process::tree::Processes;
use shared_protocol::Generation;
use tracing::info;

use crate::handles::{Advice, Experience, TRIAL};
use crate::process::ProcessReport;
use crate::running::RunningProcess;
use crate::supervisor::Supervisor;
use crate::system::System;
use balancer_fleet::DrainSignal;

impl<S: System> Supervisor<S> {
    /// Does this process handle SIGTERM, as far as is known? `None` when its report comes again
    /// later, because more will be known then.
    pub(crate) fn handles_terminate(&mut self, generation: Generation, may_handle: bool) -> Option<bool> {
        let running = self.running.get_mut(&generation)?;
        if !may_handle || !running.handle.is_shim || !self.fleet.tells_by(DrainSignal::Terminate) {
            return Some(may_handle);
        }
        match self.experience.advise(generation, Instant::now()) {
            Advice::Tell => Some(true),
            Advice::TellLast => Some(false),
            Advice::Wait => {
                let reports = self.reports.clone();
                let later = tokio::spawn(async move {
                    tokio::time::sleep(TRIAL).await;
                    let report = ProcessReport::OnlyLongLived { may_handle_terminate: true };
                    // Fails only when the supervisor has ended.
                    let _ = reports.send((generation, report)).await;
                });
                running.tasks.push(later.abort_handle());
                None
            }
        }
    }

    /// A process has ended, by SIGTERM or not.
    pub(crate) fn note_end(&mut self, generation: Generation, by_terminate: bool) {
        if self.experience.ended(generation, by_terminate, Instant::now()) {
            info!(
                "the program does not handle SIGTERM, and cuts its connections: from now on they are closed \
                 one after the other, and it is told to end after that"
            );
        }
    }

    /// Those with long-lived connections that do not handle SIGTERM.
    pub(crate) fn told_last(&self) -> Vec<Generation> {
        let has_some =
            |running: &RunningProcess| running.worker.as_ref().is_some_and(|worker| worker.long_lived() > 0);
        let programs = self.running.iter().filter(|(_, running)| has_some(running));
        let places: Vec<_> =
            programs.filter_map(|(generation, running)| Some((*generation, running.place()?))).collect();
        if places.is_empty() {
            return Vec::new();
        }
        let (processes, dies) = (Processes::now(), self.experience == Experience::Dies);
        let last = places.into_iter().filter(|(_, place)| dies || !place.may_handle_terminate(&processes));
        last.map(|(generation, _)| generation).collect()
    }
}
