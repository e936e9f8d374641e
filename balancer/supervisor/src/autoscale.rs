//! Where the load chooses the number of workers: looks at the load once a second, and tells
//! the fleet what follows from it.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::Ordering;
use std::time::Duration;

use balancer_fleet::{Input, LoadSample, Member, Role};
use balancer_pool::QueueReading;
use shared_process::headroom;
use shared_process::tree::{self, Processes, Usage};
use shared_protocol::Generation;
use tokio::time::Instant;

use crate::announce::Notice;
use crate::load_watch::{Counted, LoadWatch};
use crate::supervisor::Supervisor;
use crate::system::System;

/// What is seen over a longer time than this says nothing: nothing ran here.
const STALE: Duration = Duration::from_secs(5);
/// Memory that another worker may need, as a multiple of what one has on average now.
const MEMORY: f64 = 1.25;

impl<S: System> Supervisor<S> {
    /// Lets the load choose the number of workers within the range of the settings, if they
    /// have one. `down_after` is how long fewer must have been enough before one is stopped.
    #[must_use]
    pub fn with_autoscaling(mut self, down_after: Duration) -> Self {
        if let Some(range) = self.fleet.range() {
            self.load_watch = Some(LoadWatch::new(range, down_after));
            self.state.registry.set_range(range.min, range.max);
        }
        self
    }

    /// Looks at the load.
    pub(crate) fn on_load(&mut self) {
        let queue = self.state.pool.read_queue().unwrap_or_default();
        let is_steady = self.fleet.is_steady();
        let sample = is_steady.then(|| self.load_sample(queue)).flatten();
        let Some(watch) = &mut self.load_watch else { return };
        match sample {
            None => {
                if !is_steady {
                    watch.before = None;
                }
                watch.scaler.pause();
            }
            Some(sample) => {
                let workers = sample.workers;
                let step = watch.scaler.decide(sample, self.clock.now());
                self.inputs.extend(step.map(Input::Autoscale));
                if let Some(step) = watch.scaler.take_held() {
                    self.announcer.notice(&Notice::StepHeld { workers, step }, None);
                }
            }
        }
    }

    /// What was seen since the last look; `None` where the workers are not those of then.
    fn load_sample(&mut self, queue: QueueReading) -> Option<LoadSample> {
        let usages = self.usages();
        let pool = &self.state.pool;
        let rejected = pool.queue_stats().map_or(0, |stats| stats.full.load(Ordering::Relaxed));
        let now = Counted {
            at: Instant::now(),
            workers: usages.iter().map(|(generation, usage)| (*generation, usage.cpu)).collect(),
            own: tree::usage(std::process::id()).map_or(Duration::ZERO, |usage| usage.cpu),
            idle: headroom::idle(),
            rejected,
        };
        let watch = self.load_watch.as_mut()?;
        let (at, own, idle) = (now.at, now.own, now.idle);
        let before = watch.before.replace(now)?;
        let time = at - before.at;
        if time > STALE || !usages.keys().eq(before.workers.keys()) {
            return None;
        }
        // An ended child takes its time with it.
        let share = |now: Duration, before: Duration| now.saturating_sub(before).div_duration_f64(time);
        let cpu: f64 =
            usages.iter().map(|(generation, usage)| share(usage.cpu, before.workers[generation])).sum();
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let own = share(own, before.own);
        let idle = idle.zip(before.idle).map_or(f64::MAX, |(now, before)| share(now, before));
        let resident = usages.values().map(|usage| usage.resident).sum::<u64>() / usages.len().max(1) as u64;
        let memory_is_short = headroom::memory().is_some_and(|left| (left as f64) < MEMORY * resident as f64);
        Some(LoadSample {
            workers: usages.len(),
            cpu,
            processors,
            cpu_left: idle.min(processors as f64 - cpu - own).max(0.0),
            max_concurrency: pool.max_concurrency(),
            in_flight: pool.ready().iter().map(|worker| worker.placed()).sum(),
            waiting: queue.waiting,
            waited: queue.joined,
            longest: queue.longest,
            rejected: rejected.saturating_sub(before.rejected),
            crashes: watch.crashes,
            memory_is_short,
        })
    }

    /// What the workers that hold their ids use, each with all that it has started.
    fn usages(&self) -> BTreeMap<Generation, Usage> {
        let current = self.fleet.members().iter().filter(|member| member.role == Role::Current);
        let current = current.filter_map(Member::generation);
        let running: Vec<_> =
            current.filter_map(|generation| Some((generation, self.running.get(&generation)?))).collect();
        let all = running.iter().any(|(_, running)| running.handle.is_shim).then(Processes::now);
        let usage = |(generation, running): (Generation, &crate::running::RunningProcess)| {
            let usage = match &all {
                Some(all) if running.handle.is_shim => all.usage_below(running.handle.child),
                _ => tree::usage(running.pid).unwrap_or_default(),
            };
            (generation, usage)
        };
        running.into_iter().map(usage).collect()
    }
}
