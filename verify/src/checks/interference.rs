//! Computations do not hold up other requests.
//!
//! A computation on an event loop would hold up what comes behind it for as long
//! as it takes. Processors that are busy hold up everything a little, so the same
//! number of computing threads in this program gives the figure to compare with.

use std::time::Duration;

use serde_json::json;

use super::cpu;
use crate::burn::Burner;
use crate::client::{Client, Request};
use crate::context::Context;
use crate::load::{Connections, Traffic, volley};
use crate::stats::percentile;
use crate::verdict::{Judged, Verdict, seconds};

const SAMPLES: usize = 300;
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
    let idle = p99(&context.client).await?;
    let busy = {
        let _burner = context.local.then(|| Burner::until_dropped(workers));
        p99(&context.client).await?
    };
    // A lane per worker: with turns taken, each has a computation at all times.
    let traffic = Traffic::start(&context.client, workers, move || {
        Request::post("/cluster/cpu-intensive", &json!({"n": n}))
    });
    let one = cpu::compute(context, n).await?.answer.took();
    let during = p99(&context.client).await?;
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
        SAMPLES,
        evidence,
    ))
}

async fn p99(client: &Client) -> Result<Duration, Verdict> {
    let make = |_| Request::get("/cluster/info");
    let results = volley(client, SAMPLES, 2, Connections::Kept, make).await;
    let times: Result<Vec<Duration>, _> = results.into_iter().map(|result| Ok::<_, Verdict>(result?.took())).collect();
    Ok(percentile(&times?, 99.0).expect("there are samples"))
}
