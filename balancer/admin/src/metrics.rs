//! The metrics as text that Prometheus scrapes (OpenMetrics 1.0), aggregated over
//! all workers. What is not counted all the time is looked up here.

pub(crate) mod exposition;
mod tls;

use std::fmt::Error;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use shared_protocol::{ClusterStatus, WorkerId, WorkerRange, WorkerState};

use balancer_pool::QueueStats;
use balancer_pool::traffic::{BOUNDS, Traffic};
use balancer_state::ClusterState;
use balancer_state::counters::{CompressionStats, ReloadOutcome, SlotCounters};
use balancer_state::faults::{Rejection, WorkerFault};
use balancer_state::http2::Http2Ending;
use balancer_state::registry::{Entry, Role, Usage, Usages};

/// All states, so that each has a series from the beginning.
const STATES: [WorkerState; 7] = [
    WorkerState::Starting,
    WorkerState::Online,
    WorkerState::Unhealthy,
    WorkerState::Hung,
    WorkerState::Draining,
    WorkerState::Backoff,
    WorkerState::Failed,
];

/// Everything, as of now.
fn text(state: &ClusterState) -> String {
    let mut registry = Registry::with_prefix("balancer");
    registry.register_collector(Box::new(Snapshot(state.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

#[derive(Debug)]
struct Snapshot(ClusterState);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let ClusterState { registry, counters, .. } = &self.0;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("build", "The balancer itself", None, MetricType::Info)?
            .encode_info(&version)?;
        let health = registry.health();
        let up = u64::from(health.status != ClusterStatus::Unavailable);
        gauge(&mut encoder, "up", "Whether the cluster serves requests", up)?;
        gauge(&mut encoder, "workers_desired", "Workers that are wanted", health.workers.desired as u64)?;
        if let Some(WorkerRange { min, max }) = registry.range() {
            gauge(&mut encoder, "workers_min", "Workers that the load may go down to", min as u64)?;
            gauge(&mut encoder, "workers_max", "Workers that the load may go up to", max as u64)?;
        }
        gauge(&mut encoder, "workers_online", "Workers that get requests", health.workers.online as u64)?;
        let maintenance = u64::from(registry.maintenance.retry_after().is_some());
        gauge(&mut encoder, "maintenance", "Whether requests are answered 503 for maintenance", maintenance)?;
        let entries = registry.entries();
        let usages = Usages::now(&entries);
        let current = entries.iter().filter(|entry| entry.role == Role::Current);
        processes(&mut encoder, current.map(|entry| (entry, usages.of(entry))))?;
        let slots: Vec<_> = counters.slots().into_iter().map(|slot| (slot.id.to_string(), slot)).collect();
        requests(&mut encoder, &slots)?;
        worker_faults(&mut encoder, &slots)?;
        self.traffic(&mut encoder)?;
        tls::encode(&mut encoder, &self.0)?;
        replacements(&mut encoder, &slots)?;
        self.reloads(&mut encoder)
    }
}

fn compression(encoder: &mut DescriptorEncoder<'_>, stats: &CompressionStats) -> Result<(), Error> {
    use std::sync::atomic::Ordering::Relaxed;
    for (name, help, count) in [
        (
            "compression_input_bytes",
            "Bytes of responses that were compressed, as workers sent them",
            &stats.read,
        ),
        ("compression_output_bytes", "Bytes that became of them", &stats.written),
        ("compression_refused", "Responses that were not compressed for lack of memory", &stats.refused),
    ] {
        counter(encoder, name, help, count.load(Relaxed))?;
    }
    Ok(())
}

impl Snapshot {
    /// What has become of requests and connections that no worker saw.
    fn traffic(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        use std::sync::atomic::Ordering::Relaxed;
        let ClusterState { pool, counters, .. } = &self.0;
        gauge(
            encoder,
            "requests_queued",
            "Requests that wait for a worker to have room",
            pool.queued() as u64,
        )?;
        let help = "Requests that waited for room, or were to, and got no worker";
        let mut rejected = encoder.encode_descriptor("queue_rejections", help, None, MetricType::Counter)?;
        let count =
            |of: fn(&QueueStats) -> &AtomicU64| pool.queue_stats().map_or(0, |stats| of(stats).load(Relaxed));
        for (reason, count) in [
            ("full", count(|stats| &stats.full)),
            ("timeout", count(|stats| &stats.timed_out)),
            ("client-left", count(|stats| &stats.client_left)),
        ] {
            let labels = [("reason", reason)];
            rejected.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let help = "Valid requests that the balancer rejected, by reason";
        let mut rejections = encoder.encode_descriptor("rejections", help, None, MetricType::Counter)?;
        for reason in Rejection::ALL {
            let labels = [("reason", reason.name())];
            let count = counters.rejections.count(reason);
            rejections.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let refused = counters.connections_refused.load(Relaxed);
        counter(
            encoder,
            "connections_refused",
            "Connections beyond those that an address may have",
            refused,
        )?;
        let help = "HTTP/2 connections that were ended for what their clients did, by reason";
        let mut closed =
            encoder.encode_descriptor("http2_connections_ended", help, None, MetricType::Counter)?;
        for ending in Http2Ending::ALL {
            let labels = [("reason", ending.name())];
            let count = counters.http2.count(ending);
            closed.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let help = "Connections closed because of the PROXY protocol, by what was wrong";
        let mut closed =
            encoder.encode_descriptor("proxy_protocol_rejections", help, None, MetricType::Counter)?;
        let protocol = &counters.proxy_protocol;
        for (what, count) in [("source", &protocol.wrong_source), ("header", &protocol.wrong_header)] {
            let labels = [("wrong", what)];
            closed
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&count.load(Relaxed), None)?;
        }
        let buffers = &counters.buffers;
        compression(encoder, &counters.compression)?;
        let help = "Memory that is held by bodies and responses of slow clients";
        encoder
            .encode_descriptor("buffered", help, Some(&Unit::Bytes), MetricType::Gauge)?
            .encode_gauge(&buffers.held.load(Relaxed))?;
        let help = "Requests and responses for which the memory of buffers was used up";
        let mut refused = encoder.encode_descriptor("buffer_rejections", help, None, MetricType::Counter)?;
        for (part, count) in
            [("request", &buffers.requests_refused), ("response", &buffers.responses_refused)]
        {
            let labels = [("part", part)];
            refused
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&count.load(Relaxed), None)?;
        }
        let help = "Lines of the access log that were lost";
        counter(encoder, "access_log_dropped_lines", help, counters.access_log_dropped.load(Relaxed))?;
        let help = "Lines of the balancer's own log that were lost";
        counter(encoder, "log_dropped_lines", help, counters.log_dropped.load(Relaxed))?;
        let help = "Lines of workers that were lost on their way into the log";
        counter(encoder, "worker_output_dropped_lines", help, counters.output_dropped.load(Relaxed))
    }

    fn reloads(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let outcomes = [
            ("done", ReloadOutcome::Done),
            ("rolled-back", ReloadOutcome::RolledBack),
            ("partial", ReloadOutcome::Partial),
        ];
        let mut reloads =
            encoder.encode_descriptor("reloads", "Reloads by outcome", None, MetricType::Counter)?;
        for (name, outcome) in outcomes {
            let (labels, count) = ([("outcome", name)], self.0.counters.reloads(outcome));
            let mut metric_encoder = reloads.encode_family(&labels)?;
            metric_encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }
}

fn processes<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    entries: impl Iterator<Item = (&'a Entry, Option<Usage>)>,
) -> Result<(), Error> {
    let seen: Vec<_> = entries.map(|(entry, usage)| (entry.id.to_string(), entry, usage)).collect();
    let mut states = encoder.encode_descriptor(
        "worker_state",
        "1 for the state that a worker is in",
        None,
        MetricType::Gauge,
    )?;
    for (id, entry, _) in &seen {
        for state in STATES {
            let labels = [("worker", id.clone()), ("state", state.to_string())];
            states.encode_family(&labels)?.encode_gauge(&u64::from(entry.state == state))?;
        }
    }
    let mut in_flight = encoder.encode_descriptor(
        "worker_in_flight",
        "Requests that a worker holds now, upgraded connections included",
        None,
        MetricType::Gauge,
    )?;
    for (id, entry, _) in &seen {
        let count = entry.worker.as_ref().map_or(0, |worker| worker.in_hand());
        of(&mut in_flight, id, |mut metric| metric.encode_gauge(&count))?;
    }
    let help = "Upgraded connections that a worker holds now";
    let mut tunnels = encoder.encode_descriptor("worker_tunnels", help, None, MetricType::Gauge)?;
    for (id, entry, _) in &seen {
        let count = entry.worker.as_ref().map_or(0, |worker| worker.tunnels());
        of(&mut tunnels, id, |mut metric| metric.encode_gauge(&count))?;
    }
    let help = "Resident memory of a worker's process";
    let mut memory =
        encoder.encode_descriptor("worker_resident_memory", help, Some(&Unit::Bytes), MetricType::Gauge)?;
    for (id, _, usage) in &seen {
        let resident = usage.map_or(0, |usage| usage.resident);
        of(&mut memory, id, |mut metric| metric.encode_gauge(&resident))?;
    }
    let help = "Processor time that a worker's process has used";
    let mut cpu = encoder.encode_descriptor("worker_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
    for (id, _, usage) in &seen {
        let seconds = usage.map_or(0.0, |usage| usage.cpu.as_secs_f64());
        of(&mut cpu, id, |mut metric| metric.encode_counter::<NoLabelSet, _, u64>(&seconds, None))?;
    }
    Ok(())
}

fn requests(encoder: &mut DescriptorEncoder<'_>, slots: &[(String, SlotCounters)]) -> Result<(), Error> {
    let help = "Requests answered, by worker and status; worker 0 is the primary";
    let mut requests = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    for (id, slot) in slots {
        for (status, count) in slot.traffic.by_status() {
            let labels = [("worker", id.clone()), ("status", status.to_string())];
            requests.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    let help = "From a request's parsed header to the last byte of its answer";
    let unit = Some(&Unit::Seconds);
    let mut durations = encoder.encode_descriptor("request_duration", help, unit, MetricType::Histogram)?;
    for (id, slot) in slots {
        of(&mut durations, id, |mut metric| histogram(&mut metric, &slot.traffic))?;
    }
    Ok(())
}

fn histogram(metric: &mut MetricEncoder<'_>, traffic: &Traffic) -> Result<(), Error> {
    let counts = traffic.latency();
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(counts).collect();
    let total = counts.iter().sum();
    metric.encode_histogram::<NoLabelSet>(traffic.total_time().as_secs_f64(), total, &buckets, None)
}

/// Each kind has a series from the beginning, so that its first fault is a rise.
fn worker_faults(encoder: &mut DescriptorEncoder<'_>, slots: &[(String, SlotCounters)]) -> Result<(), Error> {
    let help = "Faults of workers that requests met, by worker and kind";
    let mut faults = encoder.encode_descriptor("worker_faults", help, None, MetricType::Counter)?;
    for (id, slot) in slots.iter().filter(|(_, slot)| slot.id != WorkerId::PRIMARY) {
        for fault in WorkerFault::ALL {
            let labels = [("worker", id.as_str()), ("fault", fault.name())];
            let count = slot.faults.get(&fault).copied().unwrap_or(0);
            faults.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn replacements(encoder: &mut DescriptorEncoder<'_>, slots: &[(String, SlotCounters)]) -> Result<(), Error> {
    let help = "Processes started in place of another, by worker and reason";
    let mut replaced = encoder.encode_descriptor("worker_replacements", help, None, MetricType::Counter)?;
    for (id, slot) in slots {
        for (reason, count) in &slot.replaced {
            let labels = [("worker", id.clone()), ("reason", reason.to_string())];
            replaced.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    encoder
        .encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

/// The metric of one worker.
fn of(
    family: &mut MetricEncoder<'_>,
    id: &str,
    encode: impl FnOnce(MetricEncoder<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    encode(family.encode_family(&[("worker", id)])?)
}
