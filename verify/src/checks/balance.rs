//! No worker gets notably more or fewer requests than another.

use shared_balance_stats::Balance;

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, send_many};
use crate::observe::Tally;
use crate::verdict::{Judged, Verdict, percent};

/// Enough that five standard deviations of chance are below 20 % of the mean,
/// so that 60 to 40 shows.
const REQUESTS_PER_WORKER: usize = 1000;
const MOST_REQUESTS: usize = 16_000;
const USERS: usize = 8;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let samples = (REQUESTS_PER_WORKER * workers).min(MOST_REQUESTS);
    let make = |_| Request::get("/cluster/info");
    let fresh = send_many(&context.client, samples, USERS, Connections::Fresh, make).await;
    let tally = Tally::of(&fresh);
    let counts = tally.counts(workers);
    match Balance::of(&counts) {
        Some(balance) => Ok(judge(&balance, &counts, tally.lines())),
        None => Ok(Verdict::failed("no request was answered", "an answer to every request", tally.bad)),
    }
}

fn judge(balance: &Balance, counts: &[u64], mut evidence: Vec<String>) -> Verdict {
    evidence.push(format!(
        "χ² {:.1}, coefficient of variation {:.3}, Jain's index {:.4}",
        balance.chi_square, balance.cv, balance.jain
    ));
    Verdict::judge(
        balance.even,
        format!(
            "largest deviation {} of the mean; Jain {:.4}, CV {:.3}, {}",
            percent(balance.deviation(counts) / balance.expected),
            balance.jain,
            balance.cv,
            balance.dispatch
        ),
        format!("at most {}", percent(balance.tolerance() / balance.expected)),
        balance.total as usize,
        evidence,
    )
}
