//! What the supervisor does to the machine. Tests put a made-up one in its place.

use std::io;

use shared_protocol::{Generation, ReleaseChanges};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::look::{self, Look, Subject};
use crate::probe::{self, Outcome, Probing, Target};
use crate::process::{Launcher, ProcessHandle, ProcessReport, Program};
use crate::release::{Installation, OpenedRelease};
use balancer_fleet::{Launch, Release};

/// How long the last words of the last worker may take.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(200);

/// Where processes send what happens to them.
pub(crate) type Reports = mpsc::Sender<(Generation, ProcessReport)>;
/// Where probes send what they find.
pub(crate) type Outcomes = mpsc::Sender<(Generation, Outcome)>;

/// Where processes that are starting are told of as they are seen from outside.
pub(crate) type Looks = mpsc::Sender<(Generation, Look)>;

/// Starts processes, probes them and opens releases.
pub trait System {
    /// Starts a process. What happens to it arrives on `reports`; its exit comes
    /// exactly once and last.
    ///
    /// # Errors
    /// When the process could not be started.
    fn launch(&mut self, launch: Launch, reports: Reports) -> io::Result<ProcessHandle>;

    /// Probes a process's health until it is told to stop.
    fn probe(&mut self, target: Target, generation: Generation, outcomes: Outcomes) -> AbortHandle;

    /// Looks at a process that is starting from outside until it is told to stop.
    fn watch(&mut self, subject: Subject, generation: Generation, looks: Looks) -> AbortHandle;

    /// Opens the release that is installed now; says how it differs from the one that runs.
    ///
    /// # Errors
    /// When there is none that can be run; names what is missing.
    fn open_release(&mut self) -> io::Result<ReleaseChanges>;

    /// Starts all processes from the opened release from now on.
    fn adopt_release(&mut self);

    /// Forgets the opened release.
    fn discard_release(&mut self);

    /// Forgets what has ended, as after each thing that has happened.
    fn tidy(&mut self);

    /// Waits a moment for what the last processes have printed.
    fn last_words(self) -> impl Future<Output = ()>;
}

/// This machine.
#[derive(Debug)]
pub struct Machine {
    launcher: Launcher,
    installation: Installation,
    running: OpenedRelease,
    /// For the reload under way.
    opened: Option<OpenedRelease>,
    probing: Probing,
    /// Copies of what the workers print; they outlive a process by its last words.
    relays: JoinSet<()>,
}

impl Machine {
    /// `running` is what `installation` has led to.
    pub fn new(
        launcher: Launcher,
        installation: Installation,
        running: OpenedRelease,
        probing: Probing,
    ) -> Self {
        Self { launcher, installation, running, opened: None, probing, relays: JoinSet::new() }
    }
}

impl System for Machine {
    fn launch(&mut self, launch: Launch, reports: Reports) -> io::Result<ProcessHandle> {
        let opened = self.opened.as_ref().filter(|_| launch.release == Release::Opened);
        let release = match opened {
            Some(opened) => {
                opened.directory.check().map_err(|err| io::Error::other(err.to_string()))?;
                opened
            }
            None => {
                self.running.settle(&self.installation)?;
                &self.running
            }
        };
        self.launcher.launch(launch, &self.installation.program, release, reports, &mut self.relays)
    }

    fn probe(&mut self, target: Target, generation: Generation, outcomes: Outcomes) -> AbortHandle {
        tokio::spawn(probe::run(target, generation, self.probing.clone(), outcomes)).abort_handle()
    }

    fn watch(&mut self, subject: Subject, generation: Generation, looks: Looks) -> AbortHandle {
        tokio::spawn(look::run(subject, generation, looks)).abort_handle()
    }

    fn open_release(&mut self) -> io::Result<ReleaseChanges> {
        let executable = match self.installation.program {
            Program::Bundled => self.running.executable.installed_now()?,
            // This one stands only between the primary and the program.
            Program::Command(_) => self.running.executable.clone(),
        };
        let opened = OpenedRelease::open(&self.installation, executable)?;
        let changes = self.running.changes(&opened);
        self.opened = Some(opened);
        Ok(ReleaseChanges { notes: self.installation.files.notes(), ..changes })
    }

    fn adopt_release(&mut self) {
        if let Some(opened) = self.opened.take() {
            self.running = opened;
        }
    }

    fn discard_release(&mut self) {
        self.opened = None;
    }

    fn tidy(&mut self) {
        while self.relays.try_join_next().is_some() {}
    }

    async fn last_words(self) {
        // A worker's child may hold its output open for ever.
        let _ = timeout(LAST_WORDS, self.relays.join_all()).await;
    }
}
