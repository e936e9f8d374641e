//! The load generator: threads that share nothing but the plan, and a
//! coordinator that collects what they saw.

mod chunked;
pub mod connect;
mod context;
pub mod cpu;
mod deadline;
pub mod failure;
pub mod framing;
mod http1;
mod http2;
mod pacer;
mod stream;
mod thread;
mod tls;
mod virtual_user;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::plan::Plan;
use crate::stats::{Interval, Recorder, Series, TICK};
use connect::Connector;
use context::Shared;
use cpu::CpuTime;
use thread::{Event, ThreadResult};

/// Ticks that may wait for the coordinator before threads merge them.
const QUEUED_EVENTS: usize = 4096;
/// Threads begin together this long after they were asked for.
const LEAD: Duration = Duration::from_millis(2);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(250);

/// All that a run has yielded.
#[derive(Debug)]
pub struct Measured {
    pub recorder: Recorder,
    pub series: Series,
    /// Of the measured part: the whole duration, or until the last answer.
    pub elapsed: Duration,
    /// One per thread.
    pub cpu: Vec<CpuTime>,
    /// Requests without an answer when the time was over: neither counted nor
    /// errors.
    pub in_flight: u64,
    pub interrupted: bool,
    /// Version and cipher; `None` without TLS.
    pub security: Option<String>,
    /// Loopback source addresses that were needed for enough local ports.
    pub extra_sources: u32,
}

/// Where a run stands.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Of the measured part; zero during the warm-up.
    pub elapsed: Duration,
    pub answered: u64,
    pub errors: u64,
    /// About the last second.
    pub recent: Interval,
    pub recent_over: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("could not start a thread: {0}")]
    Thread(io::Error),
    #[error("a thread of the load generator failed: {0}")]
    Failed(io::Error),
    #[error("a thread of the load generator panicked")]
    Panicked,
}

/// Runs `plan` to its end, or until `stop` becomes true.
///
/// # Errors
/// When the load generator itself fails; failed requests are figures.
pub async fn run(
    plan: &Arc<Plan>,
    connector: &Arc<Connector>,
    stop: &watch::Receiver<bool>,
    on_progress: &mut dyn FnMut(&Progress),
) -> Result<Measured, RunError> {
    let shared = Arc::new(Shared {
        plan: Arc::clone(plan),
        connector: Arc::clone(connector),
        requests_left: plan.stop_after.map(|n| AtomicU64::new(n.saturating_sub(plan.virtual_users()))),
        start: Instant::now() + LEAD,
    });
    let (sender, receiver) = mpsc::channel(QUEUED_EVENTS);
    let mut threads = Vec::new();
    for index in 0..plan.threads {
        let (shared, stop, sender) = (Arc::clone(&shared), stop.clone(), sender.clone());
        let thread = Builder::new().name(format!("load-{index}"));
        let run = move || thread::run(shared, index, stop, sender);
        threads.push(thread.spawn(run).map_err(RunError::Thread)?);
    }
    drop(sender);
    let mut collector = Collector::new(&shared, stop.clone());
    collector.collect(receiver, on_progress).await?;
    join(threads)?;
    collector.finish()
}

fn join(threads: Vec<JoinHandle<()>>) -> Result<(), RunError> {
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| RunError::Panicked))
}

struct Collector<'a> {
    shared: &'a Shared,
    stop: watch::Receiver<bool>,
    series: Series,
    recent: [Interval; 10],
    answered: u64,
    errors: u64,
    results: Vec<ThreadResult>,
}

impl<'a> Collector<'a> {
    fn new(shared: &'a Shared, stop: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            stop,
            series: Series::default(),
            recent: Default::default(),
            answered: 0,
            errors: 0,
            results: Vec::new(),
        }
    }

    async fn collect(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        on_progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), RunError> {
        let mut progress = tokio::time::interval(PROGRESS);
        progress.tick().await;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Tick(tick, interval)) => self.tick(tick, &interval),
                    Some(Event::Done(result)) => {
                        self.tick(result.last_tick.0, &result.last_tick.1);
                        self.results.push(*result);
                    }
                    Some(Event::Failed(err)) => return Err(RunError::Failed(err)),
                    None => return Ok(()),
                },
                _ = progress.tick() => on_progress(&self.progress()),
            }
        }
    }

    fn tick(&mut self, tick: u64, interval: &Interval) {
        self.answered += interval.answered;
        self.errors += interval.errors;
        self.series.add(tick, interval);
        let now = self.ticks_elapsed();
        // The ring holds the last ten ticks; who comes too late is not shown.
        if now.saturating_sub(tick) < self.recent.len() as u64 {
            self.recent[(tick % self.recent.len() as u64) as usize].merge(interval);
        }
        self.recent[((now + 1) % self.recent.len() as u64) as usize] = Interval::default();
    }

    fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.shared.measure_from())
    }

    fn ticks_elapsed(&self) -> u64 {
        (self.elapsed().as_nanos() / TICK.as_nanos()) as u64
    }

    fn progress(&self) -> Progress {
        let mut recent = Interval::default();
        self.recent.iter().for_each(|interval| recent.merge(interval));
        // One of the ten is being cleared, one is being filled.
        let full = u64::min(self.ticks_elapsed(), self.recent.len() as u64 - 2).max(1);
        Progress {
            elapsed: self.elapsed(),
            answered: self.answered,
            errors: self.errors,
            recent,
            recent_over: TICK * full as u32,
        }
    }

    fn finish(mut self) -> Result<Measured, RunError> {
        let mut results = self.results.drain(..);
        let first = results.next().ok_or(RunError::Panicked)?;
        let mut cpu = vec![first.cpu];
        let (mut stopped, mut ran_out, mut in_flight) = (first.stopped, first.ran_out, first.in_flight);
        let mut recorder = first.recorder;
        for result in results {
            recorder.merge(&result.recorder);
            cpu.push(result.cpu);
            stopped = stopped.max(result.stopped);
            ran_out &= result.ran_out;
            in_flight += result.in_flight;
        }
        if cpu.len() < self.shared.plan.threads {
            return Err(RunError::Panicked);
        }
        let ended = if ran_out { recorder.last_ended.unwrap_or(stopped) } else { stopped };
        let mut elapsed = ended.saturating_duration_since(self.shared.measure_from());
        let plan = &self.shared.plan;
        if let (true, true, Some(duration), None) = (ran_out, plan.is_open(), plan.duration, plan.stop_after)
        {
            // The schedule was over: its last gap, too, belongs to the time.
            elapsed = duration;
        }
        Ok(Measured {
            recorder,
            series: self.series,
            elapsed,
            cpu,
            in_flight,
            interrupted: *self.stop.borrow(),
            security: self.shared.connector.security().map(str::to_owned),
            extra_sources: self.shared.connector.extra_sources(),
        })
    }
}
