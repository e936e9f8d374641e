//! What the supervisor does to the machine. Tests put a made-up one in its place.

use std::collections::BTreeMap;
use std::io;

use shared_protocol::{Generation, ReleaseChanges, ReleaseId};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::look::{self, Look, Subject};
use crate::probe::{self, Outcome, Probing, Target};
use crate::process::{Launcher, ProcessHandle, ProcessReport, Program};
use crate::release::{Installation, OpenedRelease};
use balancer_fleet::Launch;

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

    /// Opens the release that is installed now, as number `release`; says how it differs from
    /// the one that runs.
    ///
    /// # Errors
    /// When there is none that can be run; names what is missing.
    fn open_release(&mut self, release: ReleaseId) -> io::Result<ReleaseChanges>;

    /// This opened release is the one that runs from now on.
    fn adopt_release(&mut self, release: ReleaseId);

    /// Closes a release from which nothing is started any more.
    fn drop_release(&mut self, release: ReleaseId);

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
    /// The one that runs, that of a reload under way, and those of workers that a reload
    /// has not got to: no more than there are workers, and one.
    releases: BTreeMap<ReleaseId, OpenedRelease>,
    running: ReleaseId,
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
        let first = ReleaseId::FIRST;
        let releases = BTreeMap::from([(first, running)]);
        Self { launcher, installation, releases, running: first, probing, relays: JoinSet::new() }
    }

    fn running(&self) -> io::Result<&OpenedRelease> {
        self.releases.get(&self.running).ok_or_else(|| closed(self.running))
    }
}

fn closed(release: ReleaseId) -> io::Error {
    io::Error::other(format!("release {release} is not open"))
}

impl System for Machine {
    fn launch(&mut self, launch: Launch, reports: Reports) -> io::Result<ProcessHandle> {
        let release = self.releases.get_mut(&launch.release).ok_or_else(|| closed(launch.release))?;
        if launch.release == self.running {
            release.settle(&self.installation)?;
        } else {
            release.directory.check().map_err(|err| io::Error::other(err.to_string()))?;
        }
        self.launcher.launch(launch, &self.installation.program, release, reports, &mut self.relays)
    }

    fn probe(&mut self, target: Target, generation: Generation, outcomes: Outcomes) -> AbortHandle {
        tokio::spawn(probe::run(target, generation, self.probing.clone(), outcomes)).abort_handle()
    }

    fn watch(&mut self, subject: Subject, generation: Generation, looks: Looks) -> AbortHandle {
        tokio::spawn(look::run(subject, generation, looks)).abort_handle()
    }

    fn open_release(&mut self, release: ReleaseId) -> io::Result<ReleaseChanges> {
        let running = self.running()?;
        let executable = match self.installation.program {
            Program::Bundled => running.executable.installed_now()?,
            // This one stands only between the primary and the program.
            Program::Command(_) => running.executable.clone(),
        };
        let opened = OpenedRelease::open(&self.installation, executable)?;
        let changes = running.changes(&opened);
        self.releases.insert(release, opened);
        Ok(ReleaseChanges { notes: self.installation.files.notes(), ..changes })
    }

    fn adopt_release(&mut self, release: ReleaseId) {
        self.running = release;
    }

    fn drop_release(&mut self, release: ReleaseId) {
        self.releases.remove(&release);
    }

    fn tidy(&mut self) {
        while self.relays.try_join_next().is_some() {}
    }

    async fn last_words(self) {
        // A worker's child may hold its output open for ever.
        let _ = timeout(LAST_WORDS, self.relays.join_all()).await;
    }
}
