//! No worker gets notably more or fewer requests than another.

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, volley};
use crate::observe::Tally;
use crate::stats::Spread;
use crate::verdict::{Judged, Verdict, percent};

/// Enough that five standard deviations of chance are below 20 % of the mean,
/// so that 60 to 40 shows.
const REQUESTS_PER_WORKER: usize = 1000;
const MOST_REQUESTS: usize = 16_000;
const LANES: usize = 8;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let samples = (REQUESTS_PER_WORKER * workers).min(MOST_REQUESTS);
    let make = |_| Request::get("/cluster/info");
    let fresh = volley(&context.client, samples, LANES, Connections::Fresh, make).await;
    let tally = Tally::of(&fresh);
    let (spread, evidence) = (Spread::of(&tally.counts(workers)), tally.lines());
    if spread.total == 0 {
        return Ok(Verdict::failed("no request was answered", "an answer to every request", tally.bad));
    }
    Ok(judge(&spread, evidence))
}

fn judge(spread: &Spread, mut evidence: Vec<String>) -> Verdict {
    evidence.push(format!(
        "χ² {:.1}, coefficient of variation {:.3}, Jain's index {:.4}",
        spread.chi_squared,
        spread.variation(),
        spread.jain()
    ));
    Verdict::judge(
        spread.is_balanced(),
        format!(
            "largest deviation {} of the mean; Jain {:.4}, CV {:.3}, {}",
            percent(spread.deviation / spread.expected),
            spread.jain(),
            spread.variation(),
            spread.kind().as_str()
        ),
        format!("at most {}", percent(spread.tolerance() / spread.expected)),
        spread.total as usize,
        evidence,
    )
}
