//! How far a rollout is that goes from one worker to the next.

use std::collections::VecDeque;

use shared_protocol::{ReleaseId, WorkerId};

use super::{Left, Mixed};

/// How far such a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Turns {
    pub(crate) waiting: VecDeque<WorkerId>,
    pub(crate) down: Option<Down>,
    /// Those that were replaced.
    pub(crate) new: Vec<WorkerId>,
}

/// The worker that is being replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Down {
    pub worker: WorkerId,
    /// What it was started from before.
    pub before: ReleaseId,
}

impl Turns {
    pub(crate) fn new(workers: impl IntoIterator<Item = WorkerId>) -> Self {
        Self { waiting: workers.into_iter().collect(), down: None, new: Vec::new() }
    }

    pub(crate) fn down(&self) -> Option<Down> {
        self.down
    }

    /// How many workers it is about.
    pub(crate) fn of(&self) -> usize {
        self.waiting.len() + self.new.len() + usize::from(self.down.is_some())
    }

    /// What it leaves if it ends now.
    pub(crate) fn left(&self) -> Left {
        let (new, down) = (self.new.clone(), self.down.map(|down| down.worker));
        Left::Mixed(Mixed { new, down, old: self.waiting.iter().copied().collect() })
    }
}
