//! Every answer conforms to the server's own OpenAPI description.

use std::collections::BTreeMap;

use serde_json::json;

use super::shared_state::{path, write};
use crate::client::Request;
use crate::context::Context;
use crate::openapi::Conformity;
use crate::verdict::{Judged, Verdict};

pub async fn run(context: &Context) -> Judged {
    let Some(document) = &context.document else {
        return Err(Verdict::not_applicable("the server has no description of itself at /openapi.json"));
    };
    tour(context).await?;
    let answer_log = context.client.answer_log();
    let (mut judged, mut undescribed) = (0, 0);
    let mut wrong: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for seen in answer_log.answers() {
        match document.judge(seen) {
            Conformity::Conforms => judged += 1,
            Conformity::Undescribed => undescribed += 1,
            Conformity::Violates(why) => {
                judged += 1;
                let kind = format!("{} {}: {why}", seen.method, pattern(&seen.path));
                let body: String = String::from_utf8_lossy(&seen.body).chars().take(300).collect();
                let example = || (0, format!("{}: {body}", seen.status.as_u16()));
                wrong.entry(kind).or_insert_with(example).0 += 1;
            }
        }
    }
    let violations: usize = wrong.values().map(|(count, _)| count).sum();
    let mut figure = format!("{} of {judged} answers conform", judged - violations);
    if undescribed > 0 {
        figure.push_str(&format!(", {undescribed} to routes that are not described"));
    }
    if answer_log.left_out() > 0 {
        figure.push_str(&format!(", {} more were not kept", answer_log.left_out()));
    }
    let evidence = wrong
        .into_iter()
        .map(|(kind, (count, example))| format!("{count} times {kind}: {example}"))
        .collect();
    let threshold = "status, content type and body of every answer as described";
    Ok(Verdict::judge(violations == 0, figure, threshold, judged, evidence))
}

/// Paths that differ in their keys alone are one kind.
fn pattern(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["", "cluster", "shared-state", _, rest @ ..] => {
            [&["", "cluster", "shared-state", "{key}"], rest].concat().join("/")
        }
        _ => path.to_owned(),
    }
}

/// Every route at least once, so that the check stands on its own.
async fn tour(context: &Context) -> Result<(), Verdict> {
    let key = context.fresh_key("tour");
    let requests = [
        Request::get("/cluster/info"),
        Request::get("/cluster/workers"),
        Request::get("/cluster/local-state"),
        Request::get("/cluster/memory"),
        Request::get("/health"),
        Request::get("/openapi.json"),
        Request::post("/cluster/cpu-intensive", &json!({"n": 10})),
        Request::post("/cluster/cpu-intensive", &json!({"n": -1})),
        write(&key, &json!({"any": ["value", 1, null]})),
        Request::get(path(&key)),
        Request::delete(path(&key)),
        Request::get(path(&key)),
        super::counter::increment(&key),
        Request::delete(path(&key)),
    ];
    for request in requests {
        context.client.send(request).await?;
    }
    Ok(())
}
