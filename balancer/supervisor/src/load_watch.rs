//! Looks at the load once a second, and what was seen last.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_fleet::{Autoscaler, ClusterEvent, RolloutKind, ScaleRange};
use shared_protocol::Generation;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at the load.
#[derive(Debug)]
pub(crate) struct LoadWatch {
    pub(crate) scaler: Autoscaler,
    ticks: Interval,
    pub(crate) before: Option<Counted>,
    pub(crate) crashes: u64,
    /// The change of the number that is under way was asked for here.
    is_own: bool,
}

/// What had been used until a moment.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) at: Instant,
    pub(crate) workers: BTreeMap<Generation, Duration>,
    /// Of this process.
    pub(crate) own: Duration,
    /// Of nobody.
    pub(crate) idle: Option<Duration>,
    pub(crate) rejected: u64,
}

impl LoadWatch {
    pub(crate) fn new(range: ScaleRange, down_after: Duration) -> Self {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let scaler = Autoscaler::new(range, down_after);
        Self { scaler, ticks, before: None, crashes: 0, is_own: false }
    }

    /// It is time to look; never where nobody does.
    pub(crate) async fn tick(watch: &mut Option<Self>) {
        match watch {
            Some(watch) => drop(watch.ticks.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Takes note of what has happened to the cluster at `now`, in the fleet's time.
    pub(crate) fn note(&mut self, event: &ClusterEvent, now: std::time::Instant) {
        let is_scaling =
            |kind: &RolloutKind| matches!(kind, RolloutKind::Grow { .. } | RolloutKind::Shrink { .. });
        match event {
            ClusterEvent::Autoscaled { .. } => self.is_own = true,
            ClusterEvent::RolloutBegan { .. } => self.is_own = false,
            ClusterEvent::RolloutDone { kind, .. } if is_scaling(kind) && !self.is_own => {
                self.scaler.overruled(now);
            }
            ClusterEvent::RolloutFailed { kind, .. } if is_scaling(kind) => self.scaler.failed(now),
            ClusterEvent::Exited { expected: false, .. } => self.crashes += 1,
            _ => {}
        }
    }
}
