//! It answers, and every time.

use shared_balance_stats::samples::rule_of_three;

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, send_many};
use crate::observe::Tally;
use crate::verdict::{Judged, Verdict, percent};

const REQUESTS: usize = 100;
const USERS: usize = 4;

pub async fn run(context: &Context) -> Judged {
    let make = |_| Request::get("/cluster/info");
    let results = send_many(&context.client, REQUESTS, USERS, Connections::Fresh, make).await;
    let tally = Tally::of(&results);
    let good = tally.total - tally.bad.len();
    let bound = percent(rule_of_three(REQUESTS));
    let figure = match good == REQUESTS {
        true => {
            format!("{good} of {REQUESTS} answers were 200; failure rate below {bound} at 95 % confidence")
        }
        false => format!("{good} of {REQUESTS} answers were 200"),
    };
    Ok(Verdict::judge(good == REQUESTS, figure, "all", tally.total, tally.bad))
}
