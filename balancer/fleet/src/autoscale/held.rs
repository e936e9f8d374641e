//! Steps up that the load asks for and that memory is too short for: told once, as a shortage
//! that lasts is one fact.

use std::time::{Duration, Instant};

use super::ScaleStep;

/// A shortage that comes back after so long without a step held is told again.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// Not told yet.
    untold: Option<ScaleStep>,
    last: Option<Instant>,
}

impl Held {
    /// This step is held now.
    pub(super) fn hold(&mut self, step: ScaleStep, now: Instant) {
        let lasts = |last: Instant| now.saturating_duration_since(last) < AGAIN;
        if !self.last.replace(now).is_some_and(lasts) {
            self.untold = Some(step);
        }
    }

    /// There was a step up after all.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    pub(super) fn take(&mut self) -> Option<ScaleStep> {
        self.untold.take()
    }
}
