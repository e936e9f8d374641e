//! Every answer names its worker and its request.

use http::Method;
use serde_json::json;
use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER, is_well_formed_request_id};

use crate::answer::Answer;
use crate::client::Request;
use crate::context::Context;
use crate::observe::WorkerProcess;
use crate::verdict::{Judged, Verdict};

/// Ids that a client may not have taken over: they could break a log.
const BAD_IDS: [&str; 3] = ["has a space", "<script>", "{\"a\":1}"];

pub async fn run(context: &Context) -> Judged {
    let routes = [
        Request::get("/cluster/info"),
        Request::get("/cluster/workers"),
        Request::get("/cluster/local-state"),
        Request::get("/health"),
        Request::get("/no-such-route"),
        Request::post("/cluster/cpu-intensive", &json!({"n": 1})),
        Request::new(Method::HEAD, "/cluster/info"),
    ];
    let mut wrong = Vec::new();
    let (mut count, mut bad_answers) = (0, 0);
    for request in routes {
        let own = format!("verify-{:016x}", fastrand::u64(..));
        let answer = context.client.send(request.header(REQUEST_ID_HEADER, &own)).await?;
        count += 1;
        let before = wrong.len();
        wrong.extend(fault(&answer));
        if answer.header(REQUEST_ID_HEADER) != Some(&own) {
            wrong.push(format!("the request's own id was not kept: {}", answer.quote()));
        }
        bad_answers += usize::from(wrong.len() > before);
    }
    for bad in BAD_IDS {
        let answer =
            context.client.send(Request::get("/cluster/info").header(REQUEST_ID_HEADER, bad)).await?;
        count += 1;
        let id = answer.header(REQUEST_ID_HEADER).unwrap_or_default();
        if !is_well_formed_request_id(id.as_bytes()) {
            wrong.push(match id {
                "" => format!("no {REQUEST_ID_HEADER}: {}", answer.quote()),
                id => format!("an ill-formed id was taken over: {id:?}"),
            });
            bad_answers += 1;
        }
    }
    let one = context.client.get("/cluster/info").await?;
    let other = context.client.get("/cluster/info").await?;
    count += 2;
    if one.header(REQUEST_ID_HEADER) == other.header(REQUEST_ID_HEADER) {
        wrong.push(match one.header(REQUEST_ID_HEADER) {
            None => "two requests without an id got none".to_owned(),
            Some(id) => format!("two requests got the same id: {id:?}"),
        });
        bad_answers += 2;
    }
    let figure = match wrong.is_empty() {
        true => format!("{count} answers of all kinds carry both ids"),
        false => format!("{bad_answers} of {count} answers do not"),
    };
    let threshold = "x-worker-id as in the body, x-request-id kept or made";
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, count, wrong))
}

fn fault(answer: &Answer) -> Option<String> {
    let Some(worker) = answer.header(WORKER_ID_HEADER) else {
        return Some(format!("no {WORKER_ID_HEADER}: {}", answer.quote()));
    };
    if answer.header(REQUEST_ID_HEADER).is_none() {
        return Some(format!("no {REQUEST_ID_HEADER}: {}", answer.quote()));
    }
    let body = WorkerProcess::of(&answer.json());
    let differs = body.is_some_and(|who| who.id.to_string() != worker);
    differs.then(|| format!("{WORKER_ID_HEADER} is {worker}, the body says otherwise: {}", answer.quote()))
}
