//! Processes that are tasks.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Signal;
use shared_protocol::{Generation, ReleaseChanges, ReleaseId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::direct::Accepts;
use crate::look::Subject;
use crate::probe::{Healthy, Miss, Outcome, Target};
use crate::process::{ProcessHandle, ProcessReport};
use crate::system::{Looks, Outcomes, Reports, System};
use balancer_fleet::Launch;

const BOOT: Duration = Duration::from_millis(20);
const INTERVAL: Duration = Duration::from_secs(1);

/// How processes behave that are launched from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Behaviour {
    #[default]
    Works,
    CannotLaunch,
    Exits,
    /// Never tells its port.
    Hangs,
    Unhealthy,
    /// Serves, and ignores SIGTERM.
    Stubborn,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FakeSystem(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    launches: usize,
    adopted: usize,
    release_lost: bool,
    running: BTreeMap<Generation, Running>,
}

#[derive(Debug)]
struct Running {
    behaviour: Behaviour,
    frozen: bool,
    crash: Option<oneshot::Sender<()>>,
}

impl FakeSystem {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    pub(super) fn lose_release(&self) {
        self.lock().release_lost = true;
    }

    pub(super) fn crash(&self, of: Generation) {
        let crash = self.lock().running.get_mut(&of).and_then(|running| running.crash.take());
        crash.expect("it runs").send(()).expect("it listens");
    }

    pub(super) fn freeze(&self, of: Generation) {
        self.lock().running.get_mut(&of).expect("it runs").frozen = true;
    }

    pub(super) fn thaw(&self, of: Generation) {
        self.lock().running.get_mut(&of).expect("it runs").frozen = false;
    }

    pub(super) fn is_running(&self, of: Generation) -> bool {
        self.lock().running.contains_key(&of)
    }

    pub(super) fn running(&self) -> usize {
        self.lock().running.len()
    }

    pub(super) fn launches(&self) -> usize {
        self.lock().launches
    }

    pub(super) fn adopted(&self) -> usize {
        self.lock().adopted
    }

    fn outcome(&self, of: Generation) -> Outcome {
        match self.lock().running.get(&of) {
            Some(Running { frozen: true, .. }) | None => Outcome::Missed(Miss::Timeout(INTERVAL)),
            Some(Running { behaviour: Behaviour::Unhealthy, .. }) => Outcome::Missed(Miss::Status(500)),
            Some(_) => {
                let address = ([127, 0, 0, 1], 1_000 + of.0 as u16).into();
                Outcome::Healthy(Healthy { address, store: None, status: Some(200), bound: None })
            }
        }
    }
}

/// Lives until it is crashed or signalled, and reports its exit.
async fn live(
    behaviour: Behaviour,
    port: u16,
    mut signals: mpsc::Receiver<Signal>,
    crashed: oneshot::Receiver<()>,
    generation: Generation,
    reports: &Reports,
) -> ExitStatus {
    sleep(BOOT).await;
    match behaviour {
        Behaviour::Exits => return ExitStatus::from_raw(1 << 8),
        Behaviour::Hangs => {}
        _ => {
            let _ = reports.send((generation, ProcessReport::Up { pid: u32::from(port), port })).await;
        }
    }
    tokio::pin!(crashed);
    loop {
        tokio::select! {
            _ = &mut crashed => return ExitStatus::from_raw(Signal::SEGV.as_raw()),
            signal = signals.recv() => match signal {
                Some(Signal::TERM) if behaviour == Behaviour::Stubborn => {}
                Some(signal) => return ExitStatus::from_raw(signal.as_raw()),
                None => return ExitStatus::from_raw(0),
            },
        }
    }
}

impl System for FakeSystem {
    fn launch(&mut self, launch: Launch, reports: Reports) -> io::Result<ProcessHandle> {
        let (signals, signalled) = mpsc::channel(4);
        let (crash, crashed) = oneshot::channel();
        let generation = launch.generation;
        let mut state = self.lock();
        let behaviour = state.behaviour;
        if behaviour == Behaviour::CannotLaunch {
            return Err(io::Error::other("no such program"));
        }
        state.launches += 1;
        state.running.insert(generation, Running { behaviour, frozen: false, crash: Some(crash) });
        drop(state);
        let (system, port) = (self.clone(), 1_000 + generation.0 as u16);
        tokio::spawn(async move {
            let status = live(behaviour, port, signalled, crashed, generation, &reports).await;
            system.lock().running.remove(&generation);
            // Fails when the supervisor has ended.
            let _ =
                reports.send((generation, ProcessReport::Exited { status: Ok(status), left: None })).await;
        });
        Ok(ProcessHandle {
            child: u32::from(port),
            is_shim: false,
            signals,
            accepts: Accepts::Never,
            was_ready: Arc::default(),
        })
    }

    fn probe(&mut self, _: Target, generation: Generation, outcomes: Outcomes) -> AbortHandle {
        let system = self.clone();
        let probes = async move {
            while outcomes.send((generation, system.outcome(generation))).await.is_ok() {
                sleep(INTERVAL).await;
            }
        };
        tokio::spawn(probes).abort_handle()
    }

    fn watch(&mut self, _: Subject, _: Generation, _: Looks) -> AbortHandle {
        tokio::spawn(std::future::pending::<()>()).abort_handle()
    }

    fn open_release(&mut self, _: ReleaseId) -> io::Result<ReleaseChanges> {
        match self.lock().release_lost {
            true => Err(io::Error::other("the release is gone")),
            false => Ok(ReleaseChanges::default()),
        }
    }

    fn adopt_release(&mut self, _: ReleaseId) {
        self.lock().adopted += 1;
    }

    fn drop_release(&mut self, _: ReleaseId) {}

    fn tidy(&mut self) {}

    async fn last_words(self) {}
}
