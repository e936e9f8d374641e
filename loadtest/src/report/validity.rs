//! Is the result the target's, or the load generator's own limit?

use super::model::{Achieved, Client, Report};
use super::{CONFIDENT, format, is_long, times};
use crate::client::Measured;
use crate::client::failure::ErrorClass;
use crate::plan::Plan;

/// An open loop that sends less of what is due has missed its target.
const ACHIEVED: f64 = 0.95;
/// A thread that is busy for more of the time has no idle moment.
const SATURATED: f64 = 0.97;

/// A closed connection blocks its ports for this long (Linux, `TCP_TIMEWAIT_LEN`).
const TIME_WAIT_SECONDS: u64 = 60;

pub(super) fn client(plan: &Plan, measured: &Measured) -> Client {
    let seconds = measured.elapsed.as_secs_f64().max(1e-9);
    let share = |of: fn(&crate::client::cpu::CpuTime) -> std::time::Duration| {
        measured.cpu.iter().map(|cpu| of(cpu).as_secs_f64() / seconds).collect::<Vec<_>>()
    };
    let (cpu, waited) = (share(|cpu| cpu.used), share(|cpu| cpu.waited));
    let achieved = achieved(plan, measured);
    let limited_by = local_limit(measured).or_else(|| {
        let busy_in_all = |with_waits: bool| {
            is_long(measured.elapsed)
                && cpu.iter().zip(&waited).all(|(cpu, wait)| cpu + if with_waits { *wait } else { 0.0 } >= SATURATED)
        };
        match &achieved {
            Some(achieved) if achieved.ratio < ACHIEVED && busy_in_all(true) => Some(format!(
                "only {:.1} % of the requests that were due could be sent, because its own threads had no idle \
                 moment: lower -R, raise -t, or leave it more cores",
                100.0 * achieved.ratio
            )),
            None if busy_in_all(false) => Some(
                "its own threads used all of their cores, so the target may be faster than this: raise -t, or \
                 leave it more cores"
                    .to_owned(),
            ),
            _ => None,
        }
    });
    let lag = plan.is_open().then(|| times(&measured.recorder.lag, false));
    Client { cpu, waited, lag, achieved, limited_by }
}

fn achieved(plan: &Plan, measured: &Measured) -> Option<Achieved> {
    let schedule = plan.schedule()?;
    let limit = plan.stop_after.unwrap_or(u64::MAX);
    let before = schedule.due_before(plan.warmup).min(limit);
    let due = schedule.due_before(plan.warmup + measured.elapsed).min(limit) - before;
    // The end is noticed a moment late, in which a few more may be sent.
    let due = due.max(measured.recorder.sent);
    let sent = measured.recorder.sent;
    let ratio = if due == 0 { 1.0 } else { sent as f64 / due as f64 };
    Some(Achieved { due, sent, sent_late: measured.recorder.sent_late, ratio })
}

fn local_limit(measured: &Measured) -> Option<String> {
    let count = |class: ErrorClass| measured.recorder.errors[class as usize].count;
    let (ports, files) = (count(ErrorClass::LocalPorts), count(ErrorClass::LocalFiles));
    if ports > 0 {
        let range = port_range();
        return Some(format!(
            "this machine ran out of local ports for {} new connections: it has {} per destination, and each stays \
             blocked for 60 s after use, which makes about {} new connections per second; keep connections (without \
             --no-keepalive), lower the rate, or widen net.ipv4.ip_local_port_range",
            format::count(ports),
            format::count(range),
            format::count(range / TIME_WAIT_SECONDS)
        ));
    }
    (files > 0).then(|| {
        format!(
            "this process ran out of file descriptors for {} connections: raise the limit (ulimit -n) or lower -c",
            format::count(files)
        )
    })
}

/// How many local ports the system hands out (ip(7), `ip_local_port_range`).
fn port_range() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if last >= first => last - first + 1,
        // What Linux has when nobody changed it.
        _ => 28_232,
    }
}

/// What a reader should know before quoting the figures.
pub(super) fn notes(plan: &Plan, measured: &Measured, report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let times = report.headline_times();
    if times.count > 0 && times.count < CONFIDENT {
        notes.push(format!(
            "p99 rests on {} values only (low confidence); {} or more make it sound (-n {CONFIDENT} or -d 10s).",
            times.count,
            format::count(CONFIDENT)
        ));
    }
    match &report.client.achieved {
        None if report.outcome.seconds >= 1.0 => notes.push(
            "Closed loop: while the target stalls nothing is sent, so stalls hardly show in the percentiles; -R \
             shows what users would see."
                .to_owned(),
        ),
        Some(achieved) if achieved.ratio < ACHIEVED && report.client.limited_by.is_none() => notes.push(format!(
            "The target did not keep up: only {:.1} % of the requests that were due could be sent, as all {} \
             connections were busy. Response times include the wait.",
            100.0 * achieved.ratio,
            plan.connections * plan.streams
        )),
        _ => {}
    }
    if let Some(balance) = report.balance.as_ref().map(|balance| &balance.requests)
        && (balance.total as f64) < needed_to_see_all(balance.workers)
    {
        notes.push(format!(
            "{} requests are too few to be sure that every worker was seen.",
            format::count(balance.total)
        ));
    }
    let waited = report.client.waited.iter().copied().fold(0.0, f64::max);
    if is_long(measured.elapsed) && waited > 0.10 {
        notes.push(format!(
            "The load generator waited for a free core {:.0} % of the time: on a machine of its own the times would \
             be shorter.",
            100.0 * waited
        ));
    }
    if measured.extra_sources > 0 {
        notes.push(format!(
            "Local ports ran short; {} (127.0.0.x) went into use to go on.",
            format::plural(measured.extra_sources.into(), "further loopback source")
        ));
    }
    if measured.recorder.workers.beyond > 0 {
        notes.push(format!(
            "{} responses of workers beyond the first {} are not broken down.",
            format::count(measured.recorder.workers.beyond),
            crate::stats::MAX_WORKERS
        ));
    }
    notes
}

/// Random dispatch misses one of `workers` with a probability below one in a
/// million from this many requests on: W·(ln W + ln 10⁶), by the union bound.
fn needed_to_see_all(workers: usize) -> f64 {
    let workers = workers as f64;
    workers * (workers.ln() + 1e6_f64.ln())
}

#[cfg(test)]
mod tests;
