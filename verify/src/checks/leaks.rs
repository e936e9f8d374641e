//! Descriptors and memory stop growing under load that goes on.
//!
//! Pools and caches fill up, and then they are full; a leak goes on. So there are
//! equal rounds of load, with a look after each, until the growth has stopped:
//! some rounds in a row in which no process had more than ever before. Chance
//! makes new records ever rarer in what only goes up and down. What still grows
//! after the last round has leaked when its second half brought about as much as
//! its first; what grows ever more slowly is left open.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_protocol::megabytes;

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, send_many};
use crate::proc;
use crate::verdict::{Judged, Verdict};

/// Half of them on kept connections, half on fresh ones.
const REQUESTS_PER_ROUND: usize = 1000;
const USERS: usize = 16;
/// So many rounds without a new record end it.
const CALM_ROUNDS: usize = 3;
const MOST_ROUNDS: usize = 14;
/// What the second half of the rounds must have brought, next to the first, to
/// be called steady growth.
const STEADY: f64 = 0.5;
/// And the part of its rounds in which it must have grown.
const OFTEN: f64 = 0.6;
/// Not more than this in one round is how pools breathe, not a record.
const DESCRIPTOR_STEP: u64 = 2;
/// And how allocators do.
const MEMORY_STEP: u64 = 128 * 1024;
/// However slowly it came: more than this, and more than that part, is too much.
const MEMORY_SLACK: u64 = 8 * 1024 * 1024;
const MEMORY_GROWTH: f64 = 0.5;
/// For the server to close what its clients have closed.
const SETTLE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(20);

/// What one process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    descriptors: u64,
    resident: u64,
}

type Look = BTreeMap<u32, Usage>;

pub async fn run(context: &Context) -> Judged {
    if !context.local {
        return Err(Verdict::not_applicable("the processes are not on this machine, or nobody names them"));
    }
    // The first load warms up what the ones that follow need as well.
    load(context).await?;
    let mut looks = vec![look(context).await];
    while looks.len() <= MOST_ROUNDS && calm(&looks) < CALM_ROUNDS {
        load(context).await?;
        looks.push(look(context).await);
        if looks[0].is_empty() || !looks[0].keys().eq(looks[looks.len() - 1].keys()) {
            return Err(Verdict::inconclusive("processes were replaced during the check"));
        }
    }
    judge(&looks)
}

fn judge(looks: &[Look]) -> Judged {
    let rounds = looks.len() - 1;
    let samples = rounds * REQUESTS_PER_ROUND;
    let settled = calm(looks) >= CALM_ROUNDS;
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
    let (mut descriptors, mut memory) = (0, 0);
    for pid in looks[0].keys() {
        let series = |of: &dyn Fn(&Usage) -> u64| -> Vec<u64> {
            looks.iter().filter_map(|look| look.get(pid).map(of)).collect()
        };
        let counts = series(&|usage| usage.descriptors);
        let sizes = series(&|usage| usage.resident);
        descriptors = descriptors.max(growth(&counts));
        memory = memory.max(growth(&sizes));
        let lines = [
            (&counts, DESCRIPTOR_STEP, format!("pid {pid}: descriptors after each round: {counts:?}")),
            (&sizes, MEMORY_STEP, {
                let sizes: Vec<String> = sizes.iter().map(|&bytes| megabytes(bytes)).collect();
                format!("pid {pid}: resident after each round: {}", sizes.join(", "))
            }),
        ];
        for (series, step, line) in lines {
            match trend(series, step) {
                _ if settled => {}
                Trend::Steady => wrong.push(line),
                Trend::Slowing => open.push(line),
                Trend::Over => {}
            }
        }
        let slack = MEMORY_SLACK.max((sizes[0] as f64 * MEMORY_GROWTH) as u64);
        if growth(&sizes) > slack as i64 {
            wrong.push(format!("pid {pid}: {} more resident", megabytes(sizes[sizes.len() - 1] - sizes[0])));
        }
    }
    if wrong.is_empty() && !open.is_empty() {
        let reason = format!("growth has slowed, but not stopped after {rounds} rounds: {}", open.join("; "));
        return Err(Verdict::inconclusive(reason));
    }
    let end = match (settled, wrong.is_empty()) {
        (true, _) => format!("none of it in the last {CALM_ROUNDS}"),
        (false, true) => "hardly any of it in the second half".to_owned(),
        (false, false) => "and it goes on".to_owned(),
    };
    let figure = format!(
        "{} processes; at most {descriptors:+} descriptors and {:+.2} MB in {rounds} rounds, {end}",
        looks[0].len(),
        memory as f64 / (1024.0 * 1024.0)
    );
    let threshold = format!(
        "{CALM_ROUNDS} of at most {MOST_ROUNDS} rounds of {REQUESTS_PER_ROUND} without growth, memory + the \
         greater of {} and {:.0} %",
        megabytes(MEMORY_SLACK),
        MEMORY_GROWTH * 100.0
    );
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, samples, wrong))
}

/// Rounds at the end in which no process had more than ever before.
fn calm(looks: &[Look]) -> usize {
    let mut calm = 0;
    for (index, now) in looks.iter().enumerate().skip(1) {
        let record = now.iter().any(|(pid, usage)| {
            let before = || looks[..index].iter().filter_map(|look| look.get(pid));
            let descriptors = before().map(|one| one.descriptors).max().unwrap_or(0);
            let resident = before().map(|one| one.resident).max().unwrap_or(0);
            usage.descriptors > descriptors + DESCRIPTOR_STEP || usage.resident > resident + MEMORY_STEP
        });
        calm = if record { 0 } else { calm + 1 };
    }
    calm
}

fn growth(series: &[u64]) -> i64 {
    series.last().copied().unwrap_or(0) as i64 - series.first().copied().unwrap_or(0) as i64
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trend {
    /// The second half brought about as much as the first, nearly all the time.
    Steady,
    /// It brought less, or in a few rounds only.
    Slowing,
    /// It brought next to nothing.
    Over,
}

fn trend(series: &[u64], step: u64) -> Trend {
    let half = series.len() / 2;
    let (first, second) = (growth(&series[..=half]), growth(&series[half..]));
    // Rounds that are no growth on their own may be some together.
    let least = (step * (series.len() - half - 1) as u64) as i64;
    // A leak does not wait for its chance, as a pool that is nearly full does.
    let rounds = &series[half..];
    let grew = rounds.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let often = grew as f64 >= OFTEN * (rounds.len() - 1) as f64;
    match second {
        second if second <= least => Trend::Over,
        second if often && second as f64 >= STEADY * first as f64 => Trend::Steady,
        _ => Trend::Slowing,
    }
}

async fn load(context: &Context) -> Result<(), Verdict> {
    for connections in [Connections::Fresh, Connections::Kept] {
        let make = |index: usize| match index % 3 {
            0 => Request::get("/cluster/info"),
            1 => Request::get("/cluster/memory"),
            _ => Request::get("/cluster/shared-state/verify-no-such-key"),
        };
        for result in send_many(&context.client, REQUESTS_PER_ROUND / 2, USERS, connections, make).await {
            result?;
        }
    }
    Ok(())
}

/// What all workers and the primary hold, once what was closed by this side is
/// closed by theirs: looked at until nothing falls any more.
async fn look(context: &Context) -> Look {
    let began = std::time::Instant::now();
    let mut last = usage(context).await;
    while began.elapsed() < SETTLE {
        tokio::time::sleep(LOOK).await;
        let now = usage(context).await;
        let falls =
            now.iter().any(|(pid, now)| last.get(pid).is_some_and(|old| now.descriptors < old.descriptors));
        last = now;
        if !falls {
            break;
        }
    }
    last
}

/// Of all workers and of the primary, by pid.
async fn usage(context: &Context) -> Look {
    let list = context.worker_list().await;
    let workers = list.into_iter().flat_map(|list| list.workers).filter_map(|worker| worker.pid);
    workers
        .chain(context.primary)
        .filter_map(|pid| {
            let descriptors = proc::descriptors(pid).unwrap_or(0) as u64;
            Some((pid, Usage { descriptors, resident: proc::resident(pid)? }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Outcome;

    const MB: u64 = 1024 * 1024;

    /// Judges a process with these descriptors, and this memory, after each round.
    fn outcome(descriptors: impl Fn(u64) -> u64, resident: impl Fn(u64) -> u64) -> (Outcome, usize) {
        let mut looks: Vec<Look> = Vec::new();
        while looks.len() <= MOST_ROUNDS && calm(&looks) < CALM_ROUNDS {
            let round = looks.len() as u64;
            let usage = Usage { descriptors: descriptors(round), resident: resident(round) };
            looks.push(BTreeMap::from([(7, usage)]));
        }
        (judge(&looks).unwrap_or_else(|early| early).outcome, looks.len() - 1)
    }

    #[test]
    fn what_is_full_does_not_leak() {
        assert_eq!(outcome(|_| 20, |_| 10 * MB), (Outcome::Passed, CALM_ROUNDS));
        // A pool that fills up, and memory that follows.
        let filling = |round: u64| 20 + [0, 30, 45, 50, 52, 52, 51, 52, 50, 52][round.min(9) as usize];
        assert_eq!(outcome(filling, |round| (10 + round.min(3)) * MB).0, Outcome::Passed);
        // As a busy balancer's pools filled, in steps.
        let steps = [118, 118, 118, 123, 125, 125, 125, 126, 127, 127, 128, 128, 133, 133, 133];
        assert_eq!(outcome(|round| steps[round as usize], |_| 10 * MB).0, Outcome::Passed);
        let steps = [76, 80, 83, 86, 87, 88, 88, 88, 93, 95, 97, 96, 96, 97, 97];
        assert_eq!(outcome(|round| steps[round as usize], |_| 10 * MB).0, Outcome::Passed);
        // Up and down, as chance has it.
        let noise = |round: u64| 20 + [3, 5, 1, 4, 2, 6, 0, 5, 3, 4, 1, 6, 2, 5, 3][round as usize % 15];
        assert_eq!(outcome(noise, |_| 10 * MB).0, Outcome::Passed);
    }

    #[test]
    fn what_goes_on_leaks() {
        let (leak, rounds) = outcome(|round| 20 + 3 * round, |_| 10 * MB);
        assert_eq!((leak, rounds), (Outcome::Failed, MOST_ROUNDS));
        // One in 250 requests, beside a pool that fills up and noise.
        let slow = |round: u64| 20 + 4 * round + [0, 9, 12, 13][round.min(3) as usize] + round % 2;
        assert_eq!(outcome(slow, |_| 10 * MB).0, Outcome::Failed);
        assert_eq!(outcome(|_| 20, |round| 10 * MB + round * 300 * 1024).0, Outcome::Failed);
        // Too much, however it came.
        assert_eq!(outcome(|_| 20, |round| (10 + 20 * round.min(1)) * MB).0, Outcome::Failed);
    }

    #[test]
    fn what_slows_down_and_does_not_stop_is_left_open() {
        let slowing = |round: u64| {
            20 + [0, 40, 60, 75, 85, 93, 100, 106, 111, 115, 118, 121, 124, 127, 130][round as usize]
        };
        assert_eq!(outcome(slowing, |_| 10 * MB).0, Outcome::Inconclusive);
    }
}
