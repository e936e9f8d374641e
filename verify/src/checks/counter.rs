//! Concurrent increments through all workers: none is lost, none counted twice.

use std::collections::BTreeSet;

use serde_json::json;

use super::shared_state::{path, write};
use crate::answer::Answer;
use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, Outcome, send_many};
use crate::observe::WorkerProcess;
use crate::verdict::{Judged, Verdict};

const INCREMENTS: usize = 400;
const USERS: usize = 16;
/// One in so many may be refused.
const MOST_REFUSED: usize = 10;

pub async fn run(context: &Context) -> Judged {
    context.several()?;
    let key = context.fresh_key("counter");
    let result = count(context, &key).await;
    // The counter has a time to live, should this not arrive.
    let _ = context.client.send(Request::delete(path(&key))).await;
    result
}

pub(super) fn increment(key: &str) -> Request {
    Request::post(format!("{}/increment", path(key)), &json!({"by": 1}))
}

async fn count(context: &Context, key: &str) -> Judged {
    context.ask(write(key, &json!(0))).await?;
    let first = context.ask(increment(key)).await?;
    let base = first.body["value"].as_i64().unwrap_or_default();
    let results = send_many(&context.client, INCREMENTS, USERS, Connections::Fresh, |_| increment(key)).await;
    let end = context.ask(Request::get(path(key))).await?;
    let Some(end) = end.body["value"].as_i64() else {
        let evidence = vec![end.answer.quote()];
        return Ok(Verdict::failed("the counter is no integer", "an integer", evidence));
    };
    let rise = end.saturating_sub(base);
    let history = History::of(results);
    if history.workers.len() < 2 {
        return Err(Verdict::inconclusive("one worker only took part, so nothing was shared"));
    }
    let mut wrong = history.violations(rise);
    // One that was refused may or may not have counted, which the bounds allow
    // for; a store that refuses many does not serve.
    if history.bad.len() > INCREMENTS / MOST_REFUSED {
        wrong.push(format!("{} increments were refused", history.bad.len()));
    }
    let mut figure = format!(
        "{} of {INCREMENTS} increments acknowledged through {} workers, the counter rose by {}",
        history.values.len(),
        history.workers.len(),
        rise,
    );
    // Said when it passes, too: it is no good sign.
    if let Some(line) = wrong.first().or(history.bad.first()) {
        figure.push_str(&format!("; {line}"));
    }
    let threshold = "acknowledged ≤ rise ≤ attempted, all values distinct and in order of time";
    let passed = wrong.is_empty();
    wrong.extend(history.bad);
    Ok(Verdict::judge(passed, figure, threshold, INCREMENTS, wrong))
}

/// What became of concurrent increments.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) attempted: usize,
    /// Acknowledged: value and answer.
    pub(super) values: Vec<(i64, Answer)>,
    pub(super) workers: BTreeSet<u32>,
    /// Not acknowledged: may have been counted.
    pub(super) bad: Vec<String>,
}

impl History {
    pub(super) fn of(results: impl IntoIterator<Item = Outcome>) -> Self {
        let mut history = Self::default();
        for result in results {
            history.attempted += 1;
            let answer = match result {
                Ok(answer) => answer,
                Err(err) => {
                    history.bad.push(err.to_string());
                    continue;
                }
            };
            let body = answer.json();
            match (answer.status.as_u16(), body["value"].as_i64()) {
                (200, Some(value)) => {
                    history.workers.extend(WorkerProcess::of(&body).map(|who| who.id));
                    history.values.push((value, answer));
                }
                _ => history.bad.push(answer.quote()),
            }
        }
        history
    }

    /// What cannot be when each acknowledged increment was counted once, at some
    /// moment between its request and its answer. `rise` is the counter's.
    pub(super) fn violations(&self, rise: i64) -> Vec<String> {
        let mut wrong = Vec::new();
        let acknowledged = self.values.len() as i64;
        if rise < acknowledged {
            wrong.push(format!("{} acknowledged increments are lost", acknowledged.saturating_sub(rise)));
        }
        if rise > self.attempted as i64 {
            wrong.push(format!("{} more than were attempted", rise - self.attempted as i64));
        }
        let distinct: BTreeSet<i64> = self.values.iter().map(|(value, _)| *value).collect();
        if distinct.len() < self.values.len() {
            wrong.push(format!("{} values were given twice", self.values.len() - distinct.len()));
        }
        wrong.extend(self.out_of_order());
        wrong
    }

    /// An increment that was sent after another was answered must give more.
    fn out_of_order(&self) -> Option<String> {
        let mut by_end: Vec<_> = self.values.iter().collect();
        by_end.sort_by_key(|(_, answer)| answer.ended);
        let mut by_start = by_end.clone();
        by_start.sort_by_key(|(_, answer)| answer.started);
        let (mut next, mut highest) = (0, i64::MIN);
        for (value, answer) in by_start {
            while let Some((ended, earlier)) = by_end.get(next)
                && earlier.ended < answer.started
            {
                highest = highest.max(*ended);
                next += 1;
            }
            if *value <= highest {
                return Some(format!("{value} was given after {highest} had been: {}", answer.quote()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::{HeaderMap, Method, StatusCode};

    use super::*;

    fn history(operations: &[(i64, u64, u64)], failed: usize) -> History {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let results = operations.iter().map(|&(value, started, ended)| {
            Ok(Answer {
                method: Method::POST,
                path: "/".to_owned(),
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: json!({"worker": {"id": 1, "pid": 2}, "value": value}).to_string().into(),
                started: at(started),
                ended: at(ended),
            })
        });
        let mut history = History::of(results);
        history.attempted += failed;
        history
    }

    #[test]
    fn a_right_history_is_right() {
        let right = history(&[(1, 0, 10), (3, 5, 15), (2, 5, 12), (4, 20, 30)], 0);
        assert_eq!(right.violations(4), [""; 0]);
        assert_eq!(right.workers, BTreeSet::from([1]));
        // One without an answer may have counted, or not.
        assert_eq!(history(&[(1, 0, 1)], 1).violations(1), [""; 0]);
        assert_eq!(history(&[(1, 0, 1)], 1).violations(2), [""; 0]);
    }

    #[test]
    fn wrong_histories_are_found() {
        let lost = history(&[(1, 0, 10), (2, 0, 10)], 0);
        assert!(lost.violations(1)[0].contains("1 acknowledged increments are lost"));
        assert!(lost.violations(3)[0].contains("1 more than were attempted"));
        let twice = history(&[(1, 0, 10), (1, 0, 10)], 0);
        assert!(twice.violations(2)[0].contains("given twice"));
        let stale = history(&[(2, 0, 10), (1, 20, 30)], 0);
        assert!(stale.violations(2)[0].contains("1 was given after 2 had been"));
    }
}
