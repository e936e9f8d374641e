//! One thread of the load generator: its loop, its virtual users, its recorder.

use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};

use super::context::{Context, Shared};
use super::cpu::CpuTime;
use super::http2::Http2;
use super::virtual_user::{Transport, VirtualUser};
use crate::stats::{Interval, Recorder, Seen, TICK};

/// What a thread tells the coordinator.
pub(super) enum Event {
    /// What happened in one tick, counted from the end of the warm-up.
    Tick(u64, Interval),
    Done(Box<ThreadResult>),
    Failed(io::Error),
}

pub(super) struct ThreadResult {
    pub(super) recorder: Recorder,
    pub(super) last_tick: (u64, Interval),
    pub(super) cpu: CpuTime,
    pub(super) stopped: Instant,
    /// Every virtual user came to its end: nothing was cut off.
    pub(super) ran_out: bool,
    /// Requests without an answer when the time was over.
    pub(super) in_flight: u64,
}

/// Runs thread number `index` to its end and reports to `events`.
pub(super) fn run(
    shared: Arc<Shared>,
    index: usize,
    stop: watch::Receiver<bool>,
    events: mpsc::Sender<Event>,
) {
    let event = match drive(shared, index, stop, &events) {
        Ok(result) => Event::Done(Box::new(result)),
        Err(err) => Event::Failed(err),
    };
    // Nobody listens any more: nobody wants to know.
    let _ = events.blocking_send(event);
}

fn drive(
    shared: Arc<Shared>,
    index: usize,
    mut stop: watch::Receiver<bool>,
    events: &mpsc::Sender<Event>,
) -> io::Result<ThreadResult> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let context = Rc::new(Context::new(&shared, index)?);
        let end = shared.plan.duration.map(|duration| shared.measure_from() + duration);
        sleep_until(shared.start.into()).await;
        let mut users = spawn_users(&context, index);
        let all_done = async { while users.join_next().await.is_some() {} };
        let time_over = async {
            match end {
                Some(end) => sleep_until(end.into()).await,
                None => pending().await,
            }
        };
        let ran_out = tokio::select! {
            biased;
            _ = stop.wait_for(|&stop| stop) => false,
            () = time_over => false,
            () = all_done => true,
            err = pace(&context) => return Err(err),
            () = report(&context, events) => false,
        };
        let stopped = Instant::now();
        let cpu = CpuTime::of_this_thread().since(context.cpu_before.get());
        let mut recorder = context.recorder.borrow().clone();
        // What ended with the time belongs to its last tick, not behind it.
        let ticks = shared.plan.duration.map(|time| time.as_nanos().div_ceil(TICK.as_nanos()) as u64);
        let last = tick(&context, stopped).min(ticks.unwrap_or(u64::MAX).saturating_sub(1));
        let last_tick = (last, recorder.take_interval());
        Ok(ThreadResult { recorder, last_tick, cpu, stopped, ran_out, in_flight: context.in_flight.get() })
    })
}

/// Connections are dealt out to the threads like cards.
fn spawn_users(context: &Rc<Context>, index: usize) -> JoinSet<()> {
    let plan = &context.shared.plan;
    let mut users = JoinSet::new();
    // Every virtual user has its first request for sure: otherwise a fast one would
    // take those of others that are still connecting.
    let limit = plan.stop_after.unwrap_or(u64::MAX);
    let first = |connection: usize, stream: usize| ((connection * plan.streams + stream) as u64) < limit;
    for connection in (index..plan.connections).step_by(plan.threads) {
        if plan.http2 {
            let http2 = Rc::new(Http2::default());
            for stream in 0..plan.streams {
                let transport = Transport::Http2(Rc::clone(&http2));
                users.spawn_local(
                    VirtualUser::new(Rc::clone(context), transport, first(connection, stream)).run(),
                );
            }
        } else {
            let transport = Transport::Http1 { connection: None, seen: Seen::default() };
            users.spawn_local(VirtualUser::new(Rc::clone(context), transport, first(connection, 0)).run());
        }
    }
    users
}

/// Ends only when the pacer fails.
async fn pace(context: &Context) -> io::Error {
    if let Some(pacer) = &context.pacer
        && let Err(err) = pacer.run().await
    {
        return err;
    }
    pending().await
}

/// Passes on what happened, tick by tick. A coordinator that falls behind gets
/// several ticks in one. Ends when there is none any more.
async fn report(context: &Context, events: &mpsc::Sender<Event>) {
    let mut ticks = interval_at(context.shared.measure_from().into(), TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    context.cpu_before.set(CpuTime::of_this_thread());
    loop {
        ticks.tick().await;
        match events.try_reserve() {
            Ok(slot) => {
                let interval = context.recorder.borrow_mut().take_interval();
                let ended = tick(context, Instant::now());
                slot.send(Event::Tick(ended.saturating_sub(1), interval));
            }
            Err(mpsc::error::TrySendError::Full(())) => {}
            Err(mpsc::error::TrySendError::Closed(())) => return,
        }
    }
}

fn tick(context: &Context, now: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(context.shared.measure_from());
    u64::try_from(elapsed.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
}
