//! The end of a cluster of which no worker ever got ready: whoever runs it, such as a
//! service manager, is told by its exit what a person would see in its log.

use std::time::{Duration, Instant};

use super::seeded::{Bug, seeded};
use super::{ClusterEvent, Effect, Fleet, Lifecycle, Member};

impl Fleet {
    /// A worker has got ready: from now on the cluster never gives up, as its program works
    /// in principle.
    pub(super) fn note_ready(&mut self) {
        if let Lifecycle::Booting { any_ready, .. } = &mut self.lifecycle {
            *any_ready = !seeded(Bug::ForgetsWhoWasReady);
        }
    }

    /// Stops the cluster when each of its slots has failed so often that the next start
    /// would fail as well.
    pub(super) fn give_up_if_hopeless(&mut self, now: Instant) {
        let Some(tries) = self.settings.give_up_after else { return };
        let is_upgrading = self.is_upgrading && !seeded(Bug::GivesUpDuringUpgrade);
        let may_be_hopeless = matches!(self.lifecycle, Lifecycle::Booting { any_ready: false, .. });
        if !may_be_hopeless || is_upgrading || seeded(Bug::NeverGivesUp) {
            return;
        }
        let failed_often = |member: &Member| member.failed_starts() >= u64::from(tries);
        let is_hopeless = if seeded(Bug::GivesUpForOne) {
            self.current().any(failed_often)
        } else {
            self.current().all(failed_often)
        };
        if is_hopeless {
            // There is no next start to wait for.
            let waits = |effect: &Effect| {
                matches!(effect, Effect::Announce { event: ClusterEvent::BackingOff { .. }, .. })
            };
            self.effects.retain(|effect| !waits(effect));
            self.announce(ClusterEvent::GaveUp { tries, workers: self.workers() }, None);
            self.stop(now, |member, limits| member.stop_for_good(Duration::ZERO, true, limits, now));
        }
    }
}
