//! Requests in flight are finished on SIGTERM, and nothing is left.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpStream;

use crate::client::Request;
use crate::context::Context;
use crate::fault::{launch, launcher, with_log};
use crate::load::eventually;
use crate::proc;
use crate::verdict::{Judged, Verdict, seconds};

/// Slow requests per worker.
const EACH: usize = 2;
/// Takes some hundred milliseconds, and much longer on a busy machine.
const SLOW_N: u32 = 37;
/// The balancer's drain timeout, and what comes after it.
const LATEST: Duration = Duration::from_secs(60);
const GONE: Duration = Duration::from_secs(1);

pub async fn run(context: &Context) -> Judged {
    let launcher = launcher(context)?;
    let mut cluster = launch(launcher, &["--drain-timeout", "30s"]).await?;
    let slow = EACH * launcher.workers as usize;
    let tasks: Vec<_> = (0..slow)
        .map(|_| {
            let client = cluster.client.with_limit(LATEST);
            tokio::spawn(async move {
                client.send(Request::post("/cluster/cpu-intensive", &json!({"n": SLOW_N}))).await
            })
        })
        .collect();
    let in_flight = eventually(Duration::from_secs(10), || async {
        let list = cluster.worker_list().await?;
        let count: u64 = list.workers.iter().map(|worker| worker.in_flight).sum();
        (count > 0 && count as usize + done(&tasks) >= slow).then_some(count as usize)
    })
    .await;
    let processes = cluster.remember();
    cluster.signal(Signal::TERM);
    let began = Instant::now();
    let Some(in_flight) = in_flight else {
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        return Err(Verdict::inconclusive("the requests were over before the signal could be sent"));
    };
    let mut wrong = Vec::new();
    for task in tasks {
        match task.await {
            Ok(Ok(answer)) if answer.status == 200 => {}
            Ok(Ok(answer)) => wrong.push(answer.quote()),
            Ok(Err(err)) => wrong.push(err.to_string()),
            Err(err) => wrong.push(err.to_string()),
        }
    }
    let complete = slow - wrong.len();
    let status = cluster.ended(LATEST).await;
    let took = began.elapsed();
    match status {
        None => wrong.push(format!("the primary did not end within {}", seconds(LATEST))),
        Some(status) if !status.success() => wrong.push(format!("the primary ended with {status}")),
        Some(_) => {}
    }
    let left = proc::gone_within(&processes, GONE).await;
    wrong.extend(left.iter().map(|pid| format!("pid {pid} is left")));
    let target = cluster.client.target();
    if TcpStream::connect((target.host.as_str(), target.port)).await.is_ok() {
        wrong.push(format!("somebody still answers at {target}"));
    }
    let figure = format!(
        "{complete} of {slow} slow requests completed, {in_flight} of them in flight at SIGTERM; ended in {} \
         with {}, {} processes left",
        seconds(took),
        status.map_or("nothing".to_owned(), |status| status.to_string()),
        left.len()
    );
    let threshold = "all completed, exit 0, no process left, port free";
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, slow, with_log(wrong, &cluster)))
}

fn done<T>(tasks: &[tokio::task::JoinHandle<T>]) -> usize {
    tasks.iter().filter(|task| task.is_finished()).count()
}
