//! Without Redis only its routes fail, soon, and they come back with it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::shared_state::{path, write};
use crate::client::{Client, Request};
use crate::cluster::Cluster;
use crate::cluster::redis::{Redis, RedisError};
use crate::context::Context;
use crate::fault::{gets, launch, launcher, lost, with_log};
use crate::load::eventually;
use crate::verdict::{Judged, Verdict, seconds};

/// A store call that cannot work says so within this.
const FAIL_LIMIT: Duration = Duration::from_secs(2);
/// And works again so long after Redis does.
const BACK_LIMIT: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(20);
/// Store calls during each outage; workers take turns.
const CALLS_PER_WORKER: usize = 2;

/// What was found so far.
#[derive(Default)]
struct Findings {
    wrong: Vec<String>,
    calls: usize,
    slowest: Duration,
    back: Duration,
}

pub async fn run(context: &Context) -> Judged {
    let launcher = launcher(context)?;
    let mut redis = match Redis::start().await {
        Ok(redis) => redis,
        Err(err @ RedisError::Missing) => return Err(Verdict::inconclusive(err.to_string())),
        Err(err) => return Err(Verdict::inconclusive(format!("no Redis to take away: {err}"))),
    };
    let cluster = launch(launcher, &["--redis-url", &redis.url()]).await?;
    let before = cluster.workers().await;
    let key = context.fresh_key("outage");
    let first = cluster.client.send(write(&key, &json!(1))).await?;
    if first.status != 200 {
        let evidence = vec![first.quote()];
        return Ok(Verdict::failed("the store did not work to begin with", "200", evidence));
    }
    let traffic = gets(&cluster);
    let calls = CALLS_PER_WORKER * launcher.workers as usize;
    let mut found = Findings::default();
    // Once without an answer, once without a server.
    redis.freeze();
    outage(&cluster.client, &key, calls, "frozen", &mut found).await;
    redis.thaw();
    recovery(&cluster, &key, "thawed", &mut found).await;
    redis.kill();
    outage(&cluster.client, &key, calls, "dead", &mut found).await;
    redis.restart().await.map_err(|err| Verdict::inconclusive(format!("Redis is not back: {err}")))?;
    recovery(&cluster, &key, "restarted", &mut found).await;
    let sent = traffic.finish().await;
    let losses = lost(&sent);
    found.wrong.extend(losses.iter().cloned());
    let after = cluster.workers().await;
    if before != after {
        found.wrong.push(format!("processes were {before:?} and are {after:?}"));
    }
    let figure = format!(
        "{} store calls got 503 within {}, back {} after Redis; {} of {} other requests lost",
        found.calls,
        seconds(found.slowest),
        seconds(found.back),
        losses.len(),
        sent.len()
    );
    let figure = found.wrong.first().map_or(figure.clone(), |first| format!("{first} ({figure})"));
    let threshold = format!(
        "503 with Retry-After within {}, back within {}, others 200, pids unchanged",
        seconds(FAIL_LIMIT),
        seconds(BACK_LIMIT)
    );
    let samples = 2 * calls + sent.len();
    Ok(Verdict::judge(found.wrong.is_empty(), figure, threshold, samples, with_log(found.wrong, &cluster)))
}

/// All store calls at once must fail in time, and in the right way.
async fn outage(client: &Client, key: &str, calls: usize, state: &str, found: &mut Findings) {
    let make = |index: usize| match index % 2 {
        0 => Request::get(path(key)),
        _ => super::counter::increment(key),
    };
    let results = crate::load::send_many(client, calls, calls, crate::load::Connections::Fresh, make).await;
    for result in results {
        match result {
            Ok(answer) => {
                found.calls += 1;
                found.slowest = found.slowest.max(answer.took());
                let right = answer.status == 503 && answer.header("retry-after").is_some();
                if !right {
                    found.wrong.push(format!("Redis {state}: no 503 with Retry-After: {}", answer.quote()));
                }
                if answer.took() > FAIL_LIMIT {
                    found.wrong.push(format!(
                        "Redis {state}: it took {}: {}",
                        seconds(answer.took()),
                        answer.quote()
                    ));
                }
            }
            Err(err) => found.wrong.push(format!("Redis {state}: {err}")),
        }
    }
}

/// The service must resume by itself.
async fn recovery(cluster: &Cluster, key: &str, state: &str, found: &mut Findings) {
    let began = Instant::now();
    let back = eventually(LATEST, || async {
        let answer = cluster.client.send(write(key, &json!(2))).await.ok()?;
        (answer.status == 200).then(|| began.elapsed())
    })
    .await;
    match back {
        None => found.wrong.push(format!("Redis {state}: the store was not back after {}", seconds(LATEST))),
        Some(time) if time > BACK_LIMIT => {
            found.wrong.push(format!("Redis {state}: the store was back only after {}", seconds(time)));
        }
        Some(_) => {}
    }
    found.back = found.back.max(back.unwrap_or(LATEST));
}
