//! Carries out what the fleet wants done.

use std::sync::Arc;

use rustix::process::Signal;

use balancer_pool::Worker;
use shared_process::tree::{self, Processes};
use shared_protocol::{Generation, WorkerRef};

use crate::handle::Upgrade;
use crate::measure;
use crate::oom::{self, Rank};
use crate::probe::{Expected, Target};
use crate::process::ProcessReport;
use crate::running::RunningProcess;
use crate::supervisor::Supervisor;
use crate::system::System;
use balancer_fleet::{Effect, Input, Jitter, Launch, Member, Report};

impl<S: System> Supervisor<S> {
    pub(crate) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Launch(launch) => self.launch(launch),
            Effect::Probe(generation) => self.probe(generation),
            Effect::Publish(generation) => {
                if let Some(worker) = self.worker(generation) {
                    if let Some(running) = self.running.get(&generation) {
                        running.handle.accept();
                    }
                    self.state.pool.publish(worker);
                }
            }
            Effect::Withdraw(generation) => self.state.pool.withdraw(generation),
            Effect::AwaitDrain(generation) => self.await_drain(generation),
            Effect::Close { generation, over } => {
                if let Some(worker) = self.worker(generation) {
                    match over {
                        Some(over) => worker.close_long_lived(over),
                        None => worker.close_all(),
                    }
                }
            }
            Effect::SignalDrain { generation, signal } => {
                if let (Some(running), Some(signal)) =
                    (self.running.get(&generation), Signal::from_named_raw(signal))
                {
                    running.handle.signal(signal);
                }
            }
            Effect::Terminate(generation) => {
                if let Some(running) = self.running.get(&generation) {
                    running.handle.terminate();
                }
            }
            Effect::Kill(generation) => {
                if let Some(running) = self.running.get(&generation) {
                    running.handle.kill();
                }
            }
            Effect::OpenRelease(release) => {
                let opened = self.system.open_release(release).map_err(|err| err.to_string());
                self.inputs.push_back(Input::ReleaseOpened(opened));
            }
            Effect::AdoptRelease(release) => self.system.adopt_release(release),
            Effect::DropRelease(release) => self.system.drop_release(release),
            Effect::Measure { memory } => {
                let measured = measure::usage(&self.running, memory);
                self.inputs.push_back(Input::Measured(measured));
            }
            Effect::MeasureStarts => {
                let starting = self.fleet.members().iter().filter(|member| member.phase.is_starting());
                let starting: Vec<_> = starting.filter_map(Member::generation).collect();
                let busy = self.starts.keep_busy(&self.running, &starting);
                self.inputs.push_back(Input::StartsMeasured { busy });
            }
            Effect::Examine(generation) => {
                let report = Report::Examined(self.load(generation));
                self.inputs.push_back(Input::Process { generation, report });
            }
            Effect::Protect(generation) => {
                if let Some(running) = self.running.get(&generation) {
                    let pids = if running.handle.is_shim {
                        tree::descendants(running.handle.child)
                    } else {
                        vec![running.pid]
                    };
                    pids.into_iter().for_each(|pid| oom::set_rank(pid, Rank::Worker));
                }
            }
            Effect::BeginUpgrade(result) => self.answer_upgrade(result),
            Effect::Announce { event, requester } => {
                let now = self.clock.now();
                self.load_watch.iter_mut().for_each(|watch| watch.note(&event, now));
                self.announce(event, requester);
            }
        }
    }

    /// Tells whoever has asked whether an upgrade may begin.
    fn answer_upgrade(&mut self, result: Result<(), &'static str>) {
        let Some(Upgrade { answer, over }) = self.upgrade_asked.take() else { return };
        if result.is_ok() {
            self.upgrade = Some(over);
        }
        // Where nobody waits for it any more, it is over at once.
        let _ = answer.send(result.map_err(str::to_owned));
    }

    fn launch(&mut self, launch: Launch) {
        let (generation, jitter) = (launch.generation, Jitter::new(fastrand::u16(..)));
        let report = match self.system.launch(launch, self.reports.clone()) {
            Ok(handle) => {
                let running = RunningProcess::new(handle);
                let is_shim = running.handle.is_shim;
                self.running.insert(generation, running);
                if !is_shim {
                    self.watch_start(generation, None);
                }
                Report::Launched { jitter }
            }
            Err(err) => Report::LaunchFailed { why: err.to_string(), jitter },
        };
        self.inputs.push_back(Input::Process { generation, report });
    }

    fn worker(&self, generation: Generation) -> Option<Arc<Worker>> {
        self.running.get(&generation)?.worker.clone()
    }

    fn probe(&mut self, generation: Generation) {
        let Some(running) = self.running.get_mut(&generation) else { return };
        let Some(worker) = &running.worker else { return };
        let expected = match running.handle.is_shim {
            false => Expected::Bundled(WorkerRef::new(worker.id, worker.pid)),
            true => Expected::Program { shim: running.handle.child },
        };
        let target = Target { address: worker.address, expected };
        running.tasks.push(self.system.probe(target, generation, self.outcomes.clone()));
    }

    fn await_drain(&mut self, generation: Generation) {
        let Some(worker) = self.worker(generation) else { return };
        if self.running.get(&generation).is_some_and(|running| running.handle.drain()) {
            // Its exit tells that it has nothing left.
            return;
        }
        let reports = self.reports.clone();
        let place = self.running.get(&generation).and_then(RunningProcess::place);
        let waiting = tokio::spawn(async move {
            worker.requests_drained().await;
            if worker.in_flight() > 0 {
                let may_handle_terminate = match place {
                    Some(place) => {
                        let look = move || place.may_handle_terminate(&Processes::now());
                        tokio::task::spawn_blocking(look).await.unwrap_or(true)
                    }
                    None => true,
                };
                let report = ProcessReport::OnlyLongLived { may_handle_terminate };
                let _ = reports.send((generation, report)).await;
                worker.drained().await;
            }
            // Fails only when the supervisor has ended.
            let _ = reports.send((generation, ProcessReport::Drained)).await;
        });
        if let Some(running) = self.running.get_mut(&generation) {
            running.tasks.push(waiting.abort_handle());
        }
    }
}
