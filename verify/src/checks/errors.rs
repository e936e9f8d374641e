//! Bad requests get errors in the form of RFC 9457, and kill nobody.

use http::Method;
use serde_json::{Value, json};
use shared_protocol::problem;

use super::shared_state::{path, write};
use crate::answer::Answer;
use crate::client::Request;
use crate::context::Context;
use crate::verdict::{Judged, Verdict};

const JSON: &str = "application/json";
const STATE: &str = "/cluster/shared-state";
const CPU: &str = "/cluster/cpu-intensive";
/// Above the limit of 1 MiB.
const TOO_LARGE: usize = 1024 * 1024 + 1;

/// A bad request and the status that it deserves.
struct Case {
    name: &'static str,
    request: Request,
    status: u16,
}

pub async fn run(context: &Context) -> Judged {
    let before = context.membership().await;
    let key = context.fresh_key("errors");
    // A route that is not there at all says nothing of the form of errors.
    context.ask(write(&key, &json!("no number"))).await?;
    let mut wrong = Vec::new();
    let cases = cases(&key);
    let count = cases.len() + 1;
    for case in cases {
        match context.client.send(case.request).await {
            Ok(answer) => {
                let fault = fault(&answer, case.status);
                wrong.extend(fault.map(|fault| format!("{}: {fault}: {}", case.name, answer.quote())));
            }
            Err(err) => wrong.push(format!("{}: {err}", case.name)),
        }
    }
    wrong.extend(missing_value(context).await?);
    let _ = context.client.send(Request::delete(path(&key))).await;
    if let (Some(before), Some(after)) = (before, context.membership().await)
        && before.processes != after.processes
        && !before.changed_on_purpose(&after)
    {
        let (before, after) = (before.processes, after.processes);
        wrong.push(format!("bad requests killed somebody: it was {before:?} and is {after:?}"));
    }
    let figure = match wrong.is_empty() {
        true => format!("{count} kinds of bad requests were refused in the right form"),
        false => format!("{} of {count} kinds of bad requests were not", wrong.len()),
    };
    let threshold = "the right status, application/problem+json, type, title, status and detail; same pids";
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, count, wrong))
}

fn cases(key: &str) -> Vec<Case> {
    let case = |name, status, request| Case { name, request, status };
    let post = |path: &str, kind, body: &str| Request::new(Method::POST, path).body(kind, body.to_owned());
    let long = path(&"k".repeat(257));
    let large = format!("{{\"key\": \"{key}\", \"value\": \"{}\"}}", "x".repeat(TOO_LARGE));
    vec![
        case("unknown route", 404, Request::get("/cluster/no-such-route")),
        case("wrong method", 405, Request::delete("/cluster/info")),
        case("wrong method of a route with a body", 405, Request::new(Method::PUT, STATE)),
        case("malformed JSON", 400, post(STATE, JSON, "{\"key\": \"a\", ")),
        case("wrong type", 400, post(STATE, JSON, "{\"key\": 7, \"value\": 1}")),
        case("missing field", 400, post(STATE, JSON, "{\"key\": \"a\"}")),
        case("empty key", 400, post(STATE, JSON, "{\"key\": \"\", \"value\": 1}")),
        case("control character in a key", 400, post(STATE, JSON, "{\"key\": \"a\\u0000b\", \"value\": 1}")),
        case("wrong content type", 415, post(STATE, "text/plain", "{\"key\": \"a\", \"value\": 1}")),
        case("body above the limit", 413, post(STATE, JSON, &large)),
        case("key above 256 bytes", 400, Request::get(long)),
        case("n below its range", 400, post(CPU, JSON, "{\"n\": -1}")),
        case("n above its range", 400, post(CPU, JSON, "{\"n\": 1000000}")),
        case("n that is no integer", 400, post(CPU, JSON, "{\"n\": \"many\"}")),
        case("increment of a text", 409, post(&format!("{}/increment", path(key)), JSON, "{\"by\": 1}")),
    ]
}

/// What is wrong with an error answer (RFC 9457, section 3).
fn fault(answer: &Answer, status: u16) -> Option<String> {
    let body = answer.json();
    let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
    if answer.status != status {
        return Some(format!("{} instead of {status}", answer.status.as_u16()));
    }
    if answer.content_type() != Some(problem::CONTENT_TYPE) {
        return Some(format!("content type {:?}", answer.content_type().unwrap_or("none")));
    }
    if body["status"] != status || text("type").is_none() || text("title").is_none() {
        return Some("type, title or status is missing or wrong".to_owned());
    }
    if text("detail").is_none() {
        return Some("no detail says what was wrong".to_owned());
    }
    if status == 405 && answer.header("allow").is_none() {
        return Some("no Allow header (RFC 9110, section 15.5.6)".to_owned());
    }
    let worker = answer.header("x-worker-id").and_then(|id| id.parse::<u32>().ok());
    if worker.is_some_and(|id| id > 0) && body["worker"]["id"] != json!(worker) {
        return Some("it does not name the worker that answered".to_owned());
    }
    None
}

/// The one 404 with a form of its own.
async fn missing_value(context: &Context) -> Result<Option<String>, Verdict> {
    let answer = context.client.get(&path(&context.fresh_key("nothing"))).await?;
    let body = answer.json();
    let right = answer.status == 404 && body["found"] == false && body["value"] == Value::Null;
    Ok((!right).then(|| format!("missing value: not 404 with found: false: {}", answer.quote())))
}
