//! How many workers the load needs: what was seen of it goes in once a second, and now and
//! then a step to another number comes out, with its reason.
//!
//! Requests in flight alone are no load, as a program may wait in hundreds of them, and
//! event streams may be silent for hours. Load is what keeps processors busy, and requests
//! that wait because every worker holds as many as its concurrency limit allows.
//!
//! The number that is needed is the Kubernetes Horizontal Pod Autoscaler's
//! `ceil(current · value / target)` ("Algorithm details" of its documentation), so that it
//! does not depend on how many there are. Up it goes as soon as the load has been too high
//! for [`UP_AFTER`] samples in a row, to twice as many at most (its default policy for
//! scaling up). Down it goes by one, when the highest need within a window was lower all the
//! time (its stabilisation window, 300 s by default). Between the targets for up and down
//! lies a gap (uWSGI's `cheaper-busyness-max` and `-min`), and a step down that is taken back
//! soon makes the window longer (uWSGI's `cheaper-busyness-penalty`).

mod held;
mod history;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use held::Held;
use history::{History, Need};

/// Samples in a row that show too high a load before there is a step up.
const UP_AFTER: usize = 3;
/// Between a step up and the next step at the least. The samples for it also have to be made
/// after the workers of the last step were ready.
pub const UP_PACE: Duration = Duration::from_secs(3);
/// How long after a change by somebody else the number stays at least; shorter where the
/// window for steps down is.
const SETTLE: Duration = Duration::from_secs(30);
/// How long after a crash, or a step up that has failed, there is none.
const TROUBLE: Duration = Duration::from_secs(30);
/// Steps down are this part of the window apart.
const DOWN_STEPS: u32 = 5;
/// The window grows up to so many times.
const LONGEST: u32 = 8;

/// Share of a processor that is much for a worker with one thread.
const UP_CPU: f64 = 0.8;
/// What share of a processor workers may use when there are fewer of them.
const DOWN_CPU: f64 = 0.6;
/// Processors that must be idle for a step up because of the processor time of workers.
const IDLE_CPU: f64 = 0.2;
/// Requests that wait on average are a queue: one that waits half of the time.
const UP_WAITING: f64 = 0.5;
/// What share of its concurrency limit each worker is to hold when there are more of them.
const UP_PLACES: f64 = 0.8;
/// What share of its concurrency limit workers may hold when there are fewer of them.
const DOWN_PLACES: f64 = 0.7;

/// The numbers of workers that the load chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScaleRange {
    pub min: usize,
    pub max: usize,
}

/// What was seen of the load since the last sample, with all workers online.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadSample {
    pub workers: usize,
    /// Processors that all workers together kept busy.
    pub cpu: f64,
    /// Processors that this cluster may use.
    pub processors: usize,
    /// Those of them that nobody used.
    pub cpu_left: f64,
    /// Requests that one worker holds at a time, if that is limited.
    pub max_concurrency: Option<u64>,
    /// Requests that have a place under that limit.
    pub in_flight: u64,
    /// Requests that waited for such a place, on average.
    pub waiting: f64,
    /// Requests that began to wait for one.
    pub waited: u64,
    /// The longest of the waits that ended or went on.
    pub longest: Duration,
    /// Requests for which there was no place in the queue either.
    pub rejected: u64,
    /// Workers that ended without having been told to, since the start.
    pub crashes: u64,
    /// There is no memory for another worker.
    pub memory_is_short: bool,
}

/// A change of the number of workers that the load asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScaleStep {
    pub to: usize,
    pub reason: ScaleReason,
}

/// What was seen over the time `over`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleReason {
    /// Requests waited, or were rejected, because all workers were at their limit.
    Queue { waited: u64, longest: Duration, rejected: u64, over: Duration },
    /// Workers used so many hundredths of a processor each.
    Busy { percent: u32, over: Duration },
    /// Fewer were enough: at the highest, so many hundredths of a processor were in use by
    /// all workers together, and so many tenths of a request in flight or waiting, where
    /// these are limited.
    Idle { percent: u32, tenths: Option<u32>, over: Duration },
}

/// Why there is a step up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pressure {
    Queue,
    Cpu,
}

/// Decides on steps.
#[derive(Debug, Clone)]
pub struct Autoscaler {
    range: ScaleRange,
    down_after: Duration,
    /// The last samples in a row that showed too high a load.
    high: VecDeque<LoadSample>,
    history: History,
    /// How many times as long as usual the window is.
    patience: u32,
    last_step: Option<Instant>,
    /// The last step down, until one up was compared with it.
    last_down: Option<Instant>,
    /// No step before this moment.
    settles: Option<Instant>,
    /// No step up before this moment.
    trouble: Option<Instant>,
    crashes: Option<u64>,
    held: Held,
}

impl Autoscaler {
    /// `down_after` is how long fewer workers must have been enough.
    pub fn new(range: ScaleRange, down_after: Duration) -> Self {
        Self {
            range,
            down_after,
            high: VecDeque::new(),
            history: History::new(down_after, LONGEST),
            patience: 1,
            last_step: None,
            last_down: None,
            settles: None,
            trouble: None,
            crashes: None,
            held: Held::default(),
        }
    }

    /// There is nothing to be seen of the load for a while: workers start, or there is a
    /// rollout. What was seen of fewer being enough stays true.
    pub fn pause(&mut self) {
        self.high.clear();
    }

    /// Somebody else has changed the number of workers.
    pub fn overruled(&mut self, now: Instant) {
        self.high.clear();
        self.history.clear();
        self.settles = Some(now + SETTLE.min(self.down_after));
    }

    /// The last step up has failed.
    pub fn failed(&mut self, now: Instant) {
        self.high.clear();
        self.trouble = Some(now + TROUBLE);
    }

    /// The step up that the load asks for and that is not taken because memory is short; once
    /// for each shortage.
    pub fn take_held(&mut self) -> Option<ScaleStep> {
        self.held.take()
    }

    /// Takes in what was seen, and says whether there is to be another number of workers,
    /// which is within the range. Whoever asks takes the step.
    pub fn decide(&mut self, sample: LoadSample, now: Instant) -> Option<ScaleStep> {
        let crashed = self.crashes.replace(sample.crashes).is_some_and(|before| sample.crashes > before);
        if crashed {
            self.trouble = Some(now + TROUBLE);
        }
        let need = Need {
            cpu: sample.cpu,
            requests: sample.max_concurrency.map_or(0.0, |_| sample.in_flight as f64 + sample.waiting),
        };
        self.history.add(need, now);
        let step = self.step(sample, now)?;
        self.last_step = Some(now);
        self.high.clear();
        Some(step)
    }

    fn step(&mut self, sample: LoadSample, now: Instant) -> Option<ScaleStep> {
        let (workers, concurrency) = (sample.workers, sample.max_concurrency);
        let is_pending = |until: Option<Instant>| until.is_some_and(|until| now < until);
        if pressure(&sample).is_none() {
            self.high.clear();
        } else {
            if self.high.len() == UP_AFTER {
                self.high.pop_front();
            }
            self.high.push_back(sample.clone());
        }
        let too_soon = self.last_step.is_some_and(|last| now.saturating_duration_since(last) < UP_PACE);
        if is_pending(self.settles) {
            return None;
        }
        if !too_soon && !is_pending(self.trouble) && self.high.len() >= UP_AFTER {
            let (to, reason) = self.up()?;
            let to = to.clamp(workers, 2 * workers).min(self.range.max);
            let step = ScaleStep { to, reason };
            if to > workers && sample.memory_is_short {
                self.held.hold(step, now);
                return None;
            }
            if to > workers {
                self.went_up(now);
                return Some(step);
            }
        }
        let window = self.down_after * self.patience;
        let apart = self.down_after / DOWN_STEPS;
        let too_soon = self.last_step.is_some_and(|last| now.saturating_duration_since(last) < apart);
        if too_soon || !self.high.is_empty() {
            return None;
        }
        let highest = self.history.highest(window, now)?;
        if workers <= self.range.min || fewest(highest, concurrency) >= workers {
            return None;
        }
        self.last_down = Some(now);
        let tenths = concurrency.map(|_| rounded(highest.requests * 10.0));
        let reason = ScaleReason::Idle { percent: rounded(highest.cpu * 100.0), tenths, over: window };
        Some(ScaleStep { to: workers - 1, reason })
    }

    /// How many workers the load of the last samples needs, and why.
    fn up(&self) -> Option<(usize, ScaleReason)> {
        let last = self.high.back()?;
        let (count, workers) = (self.high.len() as f64, last.workers);
        let mean = |of: fn(&LoadSample) -> f64| self.high.iter().map(of).sum::<f64>() / count;
        let over = Duration::from_secs(self.high.len() as u64);
        let (cpu, each) = (mean(|sample| sample.cpu), mean(|sample| sample.cpu / sample.workers as f64));
        if self.high.iter().all(|sample| pressure(sample) == Some(Pressure::Cpu)) {
            let room = last.processors.min(workers + whole(mean(|sample| sample.cpu_left)).max(1));
            let percent = rounded(each * 100.0);
            return Some((needed(cpu, UP_CPU).min(room), ScaleReason::Busy { percent, over }));
        }
        let concurrency = last.max_concurrency? as f64;
        let (in_flight, waiting) = (mean(|sample| sample.in_flight as f64), mean(|sample| sample.waiting));
        // Requests may wait for a certain worker while others have room: more workers are no
        // help then.
        if in_flight + waiting < UP_WAITING * concurrency * workers as f64 {
            return None;
        }
        // More workers than processors are of use only where each of them mostly waits.
        let room = whole(last.processors as f64 / each.clamp(0.001, 1.0)).max(workers);
        let to = needed(in_flight + waiting, UP_PLACES * concurrency).max(workers + 1).min(room);
        let sum = |of: fn(&LoadSample) -> u64| self.high.iter().map(of).sum::<u64>();
        let longest = self.high.iter().map(|sample| sample.longest).max().unwrap_or_default();
        let (waited, rejected) = (sum(|sample| sample.waited), sum(|sample| sample.rejected));
        // Those that began to wait before count as well.
        let waited = waited.max(rounded(waiting.ceil()).into());
        Some((to, ScaleReason::Queue { waited, longest, rejected, over }))
    }

    fn went_up(&mut self, now: Instant) {
        if let Some(down) = self.last_down.take() {
            let soon = now.saturating_duration_since(down) < self.down_after * self.patience;
            self.patience = if soon { LONGEST.min(2 * self.patience) } else { 1 };
        }
        self.history.clear();
        self.held.end();
    }
}

/// Is the load of this second too high for the workers that there are?
fn pressure(sample: &LoadSample) -> Option<Pressure> {
    if sample.max_concurrency.is_some() && (sample.waiting >= UP_WAITING || sample.rejected > 0) {
        return Some(Pressure::Queue);
    }
    let has_room = sample.workers < sample.processors && sample.cpu_left >= IDLE_CPU;
    (has_room && sample.cpu >= UP_CPU * sample.workers as f64).then_some(Pressure::Cpu)
}

/// The lowest number of workers for which this need is low.
fn fewest(need: Need, max_concurrency: Option<u64>) -> usize {
    let places = max_concurrency.map_or(0, |most| needed(places(need.requests), most as f64));
    needed(need.cpu, DOWN_CPU).max(places).max(1)
}

/// How many places so many requests need that come at random, so that far fewer wait than
/// [`UP_WAITING`]: their number and its square root (the square-root staffing rule of Halfin
/// and Whitt, "Heavy-Traffic Limits for Queues with Many Exponential Servers", 1981), and where
/// that is little for many of them, so many that a share of [`DOWN_PLACES`] is in use.
fn places(requests: f64) -> f64 {
    (requests + requests.sqrt()).max(requests / DOWN_PLACES)
}

/// How many workers it takes when each is to have `target` of it.
fn needed(load: f64, target: f64) -> usize {
    whole((load / target).ceil())
}

/// The part before the point; a number that is too large counts as the largest.
fn whole(number: f64) -> usize {
    number as usize
}

fn rounded(number: f64) -> u32 {
    number.round() as u32
}
