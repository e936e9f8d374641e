//! Computations do not hold up other requests.
//!
//! A computation on an event loop would hold up what comes behind it for as long
//! as it takes. Processors that are busy hold up everything a little, so the same
//! number of computing threads in this program gives the figure to compare with.

use std::time::{Duration, Instant};

use serde_json::json;

use super::cpu;
use crate::burn::Burner;
use crate::client::{Client, Request};
use crate::context::Context;
use crate::load::{Connections, Traffic, send_many};
use crate::stats::percentile;
use crate::verdict::{Judged, Verdict, seconds};

const SAMPLES: usize = 300;
const BATCH: usize = 20;
/// Longest time that is spent on them.
const SAMPLING: Duration = Duration::from_secs(5);
/// A 99th percentile of fewer says little.
const FEWEST: usize = 100;
const LEAST: Duration = Duration::from_millis(50);
const TIMES_IDLE: u32 = 10;
/// Chance makes two measurements under the same load differ.
const TIMES_BUSY: u32 = 3;
/// A computation is so many steps longer than the least that is clearly felt,
/// and a Fibonacci number takes 1.6 times as long as the one before it.
const LARGER: u32 = 4;
const MOST_N: u32 = 40;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let n = (cpu::right_size(context).await? + LARGER).min(MOST_N);
    let idle = p99(&latencies(&context.client).await?);
    let busy = {
        let _burner = context.local.then(|| Burner::until_dropped(workers));
        p99(&latencies(&context.client).await?)
    };
    // A virtual user for each worker: with turns taken, each has a computation at all times.
    let traffic = Traffic::start(&context.client, workers, move || {
        Request::post("/cluster/cpu-intensive", &json!({"n": n}))
    });
    let one = cpu::compute(context, n).await?.answer.took();
    let times = latencies(&context.client).await?;
    let during = p99(&times);
    let computed = traffic.finish().await;
    let refused: Vec<String> = computed
        .into_iter()
        .filter_map(|sent| match sent.outcome {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(answer.quote()),
            Err(err) => Some(err.to_string()),
        })
        .collect();
    let limit = LEAST.max(idle * TIMES_IDLE).max(if context.local { busy * TIMES_BUSY } else { LEAST });
    let mut evidence = vec![format!("one computation of n = {n} took {}", seconds(one))];
    evidence.extend(refused);
    if during <= limit && times.len() < FEWEST {
        let reason = format!("only {} requests were answered in {}", times.len(), seconds(SAMPLING));
        return Err(Verdict::inconclusive(reason));
    }
    // Half of a computation is less than waiting for one, however busy it is.
    let limit = if during <= one / 2 { limit.min(one / 2) } else { limit };
    if limit >= one {
        let reason = format!(
            "the machine is too busy: without computations p99 is {}, with others' {}",
            seconds(idle),
            seconds(busy)
        );
        return Err(Verdict::inconclusive(reason));
    }
    Ok(Verdict::judge(
        during <= limit && evidence.len() == 1,
        format!(
            "p99 of GET /cluster/info {} during computations of {}, {} when idle",
            seconds(during),
            seconds(one),
            seconds(idle)
        ),
        format!("at most {}", seconds(limit)),
        times.len(),
        evidence,
    ))
}

/// The latencies of [`SAMPLES`] requests, fewer when they take too long: then
/// they are far above any limit.
async fn latencies(client: &Client) -> Result<Vec<Duration>, Verdict> {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < SAMPLES && began.elapsed() < SAMPLING {
        let make = |_| Request::get("/cluster/info");
        for result in send_many(client, BATCH, 2, Connections::Kept, make).await {
            times.push(result?.took());
        }
    }
    Ok(times)
}

fn p99(times: &[Duration]) -> Duration {
    percentile(times, 99.0).expect("at least one batch was measured")
}
