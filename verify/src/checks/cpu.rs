//! Computations run in parallel, on all workers.
//!
//! With E = min(workers, cores), T tasks of t₁ each take T·t₁/E at best; the
//! ratio of that to the time they took is the efficiency. A machine that is busy
//! with other things cannot reach 1 either, so its own efficiency, with threads
//! of this program, is measured in the same moment and scales the threshold.
//! A second figure must speak for parallelism as well, because others may have
//! been there for the single tasks only: how many computed at a time on average.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use shared_balance_stats::samples::to_reach_all;

use crate::burn::{Burner, fibonacci};
use crate::client::Request;
use crate::context::{Context, Reply};
use crate::load::{Connections, send_many};
use crate::stats::median;
use crate::verdict::{Judged, Verdict, percent, seconds};

const PATH: &str = "/cluster/cpu-intensive";
const SIZING_RUNS: usize = 3;
const SOLO_RUNS: usize = 5;
const ROUNDS: usize = 3;
/// A machine whose own efficiency is below this is wanted by others as well.
const BUSY: f64 = 0.9;
const TASKS_PER_UNIT: usize = 8;
/// Least efficiency, on a machine that is otherwise idle.
const THRESHOLD: f64 = 0.7;
/// A task takes at least so long, so that the requests themselves do not count.
const TASK_TIME: Duration = Duration::from_millis(50);
const FIRST_N: u32 = 28;
const LAST_N: u32 = 40;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let units = workers.min(crate::burn::cores());
    let tasks = (TASKS_PER_UNIT * units).max(2 * workers);
    let n = right_size(context).await?;
    let mut seen = BTreeSet::new();
    let mut rounds = Vec::new();
    // What computes one after another never reaches the threshold; what computes
    // in parallel may miss it when the machine is wanted elsewhere just then.
    while rounds.len() < ROUNDS && rounds.last().is_none_or(|round: &Round| !round.is_parallel()) {
        rounds.push(round(context, n, tasks, units, &mut seen).await?);
    }
    take_part(context, workers, &mut seen).await?;
    Ok(judge(&rounds, tasks, units, workers, seen.len()))
}

async fn round(
    context: &Context,
    n: u32,
    tasks: usize,
    units: usize,
    seen: &mut BTreeSet<u32>,
) -> Result<Round, Verdict> {
    let mut solo = Vec::new();
    for _ in 0..SOLO_RUNS {
        solo.push(compute(context, n).await?.answer.took());
    }
    let one = median(&solo).expect("there are several runs");
    let before = machine_efficiency(units, one).await;
    let began = Instant::now();
    let make = |_| Request::post(PATH, &json!({"n": n}));
    let results = send_many(&context.client, tasks, tasks, Connections::Fresh, make).await;
    let makespan = began.elapsed();
    let machine = before.min(machine_efficiency(units, one).await);
    let mut computing = Duration::ZERO;
    for result in results {
        let reply = context.reply(result?)?;
        right_result(&reply, n)?;
        // A task cannot have taken longer than its answer.
        computing += duration(&reply).unwrap_or(Duration::MAX).min(reply.answer.took());
        seen.insert(reply.who.id);
    }
    let ideal = one.as_secs_f64() * tasks as f64 / units as f64;
    Ok(Round {
        efficiency: ideal / makespan.as_secs_f64(),
        overlap: computing.as_secs_f64() / makespan.as_secs_f64() / units as f64,
        machine,
        one,
        makespan,
    })
}

#[derive(Debug)]
struct Round {
    efficiency: f64,
    /// Tasks that computed at a time, per unit.
    overlap: f64,
    /// Efficiency of this machine at that moment, 1 when it is idle.
    machine: f64,
    one: Duration,
    makespan: Duration,
}

impl Round {
    fn least(&self) -> f64 {
        THRESHOLD * self.machine
    }

    /// Many computed at a time, on processors that others wanted as well.
    fn is_unclear(&self) -> bool {
        !self.is_parallel() && self.overlap >= THRESHOLD && self.machine < BUSY
    }

    fn is_parallel(&self) -> bool {
        self.efficiency >= self.least() && self.overlap >= THRESHOLD
    }
}

/// Judges by the last round, which is the first that was good enough, if any was.
fn judge(rounds: &[Round], tasks: usize, units: usize, workers: usize, seen: usize) -> Verdict {
    let round = rounds.last().expect("there is a first round");
    let mut figure = format!(
        "{seen} of {workers} workers took part; {tasks} tasks of {} in {}: efficiency {} on {units} cores, \
         {:.1} at a time",
        seconds(round.one),
        seconds(round.makespan),
        percent(round.efficiency),
        round.overlap * units as f64
    );
    if rounds.len() > 1 {
        figure.push_str(&format!(", in round {} of at most {ROUNDS}", rounds.len()));
    }
    let threshold = match round.machine < 0.99 {
        false => format!("all, and at least {}", percent(THRESHOLD)),
        true => format!(
            "all, and at least {} as this machine itself has {} now",
            percent(round.least()),
            percent(round.machine)
        ),
    };
    let threshold = format!("{threshold}, {:.1} at a time", THRESHOLD * units as f64);
    let mut evidence =
        vec![format!("if it were serial, the efficiency would be {}", percent(1.0 / units as f64))];
    evidence.extend(rounds.iter().map(|round| {
        format!(
            "efficiency {}, {:.2} tasks computing at a time, this machine {}",
            percent(round.efficiency),
            round.overlap * units as f64,
            percent(round.machine)
        )
    }));
    if seen == workers && rounds.iter().all(Round::is_unclear) {
        return Verdict::inconclusive(format!("the machine is too busy to tell: {}", evidence.join("; ")));
    }
    let samples = tasks * rounds.len();
    Verdict::judge(round.is_parallel() && seen == workers, figure, threshold, samples, evidence)
}

pub(super) async fn compute(context: &Context, n: u32) -> Result<Reply, Verdict> {
    let reply = context.ask(Request::post(PATH, &json!({"n": n}))).await?;
    right_result(&reply, n)?;
    Ok(reply)
}

fn right_result(reply: &Reply, n: u32) -> Result<(), Verdict> {
    let right = reply.body["calculation"]["result"] == known(n) && reply.body["calculation"]["input"] == n;
    if right {
        return Ok(());
    }
    let figure = format!("a wrong result from {}", reply.who);
    Err(Verdict::failed(figure, format!("Fibonacci({n}) = {}", known(n)), vec![reply.answer.quote()]))
}

/// Fibonacci numbers the quick way.
fn known(n: u32) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// The smallest n whose computation takes long enough here, each time: on a busy
/// machine a single small one may do so as well.
pub(super) async fn right_size(context: &Context) -> Result<u32, Verdict> {
    let mut n = FIRST_N;
    let mut long = 0;
    while n < LAST_N && long < SIZING_RUNS {
        // The duration as reported would do, but is not to be relied on.
        match compute(context, n).await?.answer.took() >= TASK_TIME {
            true => long += 1,
            false => (n, long) = (n + 1, 0),
        }
    }
    Ok(n)
}

/// `"156ms"`, as the answer has it.
fn duration(reply: &Reply) -> Option<Duration> {
    let text = reply.body["calculation"]["duration"].as_str()?;
    text.strip_suffix("ms")?.trim().parse().ok().map(Duration::from_millis)
}

/// The same shape of work in this program: `units` threads against one.
async fn machine_efficiency(units: usize, task: Duration) -> f64 {
    let work = move || {
        let solo: Vec<Duration> = (0..3).map(|_| timed(task)).collect();
        let one = median(&solo).expect("there are several runs");
        let began = Instant::now();
        let burner = Burner::times(units, 2, move || {
            fibonacci(burn_size(task));
        });
        burner.join();
        2.0 * one.as_secs_f64() / began.elapsed().as_secs_f64()
    };
    crate::proc::on_thread(work).await.unwrap_or(1.0).min(1.0)
}

fn timed(task: Duration) -> Duration {
    let began = Instant::now();
    fibonacci(burn_size(task));
    began.elapsed()
}

/// About as long as a task; the exact time is measured.
fn burn_size(task: Duration) -> u32 {
    if task >= Duration::from_millis(150) { 36 } else { 34 }
}

/// Workers that had no task so far get small ones, as many as chance may need.
async fn take_part(context: &Context, workers: usize, seen: &mut BTreeSet<u32>) -> Result<(), Verdict> {
    let mut left = to_reach_all(workers);
    while seen.len() < workers && left > 0 {
        seen.insert(compute(context, FIRST_N / 2).await?.who.id);
        left -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parallel(efficiency: f64, overlap: f64, machine: f64) -> bool {
        let (one, makespan) = (Duration::ZERO, Duration::ZERO);
        Round { efficiency, overlap, machine, one, makespan }.is_parallel()
    }

    #[test]
    fn serial_work_is_told_from_a_busy_machine() {
        assert!(parallel(0.9, 1.0, 1.0));
        assert!(!parallel(0.5, 0.5, 1.0));
        // Somebody was there for the single tasks only.
        assert!(!parallel(5.0, 0.5, 1.0));
        // Half of the machine is somebody else's.
        assert!(parallel(0.5, 1.0, 0.5));
        assert!(!parallel(0.5, 0.5, 0.5));
        assert!(!parallel(0.3, 1.0, 0.5));
    }

    #[test]
    fn a_machine_that_is_too_busy_decides_nothing() {
        let unclear = |efficiency, overlap, machine| {
            let (one, makespan) = (Duration::ZERO, Duration::ZERO);
            Round { efficiency, overlap, machine, one, makespan }.is_unclear()
        };
        assert!(unclear(0.3, 3.0, 0.5));
        // Nobody else was there, or one task computed at a time.
        assert!(!unclear(0.3, 3.0, 1.0));
        assert!(!unclear(0.3, 0.5, 0.5));
        assert!(!unclear(0.9, 3.0, 0.5));
    }

    #[test]
    fn fibonacci_numbers() {
        assert_eq!((known(0), known(1), known(2), known(35)), (0, 1, 1, 9_227_465));
    }
}
