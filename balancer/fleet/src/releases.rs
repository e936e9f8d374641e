//! Which releases processes are started from. Each slot keeps its own: a process that has
//! ended is followed by one of the same release, and only rollouts change that. So a reload
//! that got half way leaves two releases, and whatever crashes comes back as it was.

use shared_protocol::ReleaseId;

use super::member::Role;
use super::seeded::{Bug, seeded};
use super::{Effect, Fleet};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Releases {
    /// The one that the cluster runs: further slots are started from it.
    pub running: ReleaseId,
    /// The last number that was given to one.
    pub last: ReleaseId,
    /// Those that are open.
    pub open: Vec<ReleaseId>,
}

impl Releases {
    pub(crate) fn new() -> Self {
        let first = ReleaseId::FIRST;
        Self { running: first, last: first, open: vec![first] }
    }

    /// The number of the next release to be opened.
    pub(crate) fn next(&mut self) -> ReleaseId {
        self.last.0 += 1;
        self.last
    }
}

impl Fleet {
    /// The release of the reload under way takes the place of the one that the cluster runs.
    pub(super) fn adopt_release(&mut self, release: ReleaseId) {
        self.releases.running = release;
        self.effects.push(Effect::AdoptRelease(release));
    }

    /// Lets go of releases from which nothing is started any more.
    pub(super) fn drop_releases(&mut self) {
        let of_rollout = self.rollout.as_ref().map(|rollout| rollout.releases());
        let used: Vec<_> = (self.members.iter())
            .filter(|member| matches!(member.role, Role::Current | Role::Candidate))
            .map(|member| member.release)
            .chain(of_rollout.into_iter().flatten())
            .chain([self.releases.running])
            .collect();
        for unused in self
            .releases
            .open
            .extract_if(.., |release| !(used.contains(release) || seeded(Bug::KeepsReleases)))
        {
            self.effects.push(Effect::DropRelease(unused));
        }
    }
}
