//! What a run counts. Each thread has a [`Recorder`] of its own; they are
//! merged when the run is over, histograms as histograms.

mod latency;
mod series;
mod workers;

use std::time::{Duration, Instant};

pub use latency::Latency;
pub use series::{Interval, MAX_POINTS, Series, TICK};
pub use workers::{MAX_WORKERS, Seen, WorkerTally, Workers};

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::HandshakeKind;

use crate::client::failure::{ErrorClass, Failure};
use crate::client::framing::Tag;

/// How one request went.
#[derive(Debug)]
pub struct Sample {
    /// Which entry of the mix it was.
    pub request: usize,
    /// When it should have been sent; open loop only.
    pub intended: Option<Instant>,
    pub started: Instant,
    pub ended: Instant,
    /// 0 when there was no complete response.
    pub status: u16,
    pub worker: Tag,
    pub bytes: u64,
    pub failure: Option<Failure>,
}

/// Failures of one class.
#[derive(Debug, Clone, Default)]
pub struct ErrorTally {
    pub count: u64,
    /// The first one, in words.
    pub example: Option<String>,
}

/// TLS handshakes by how they went (RFC 8446, section 2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshakes {
    /// With certificate and signature.
    pub full: u64,
    /// With the ticket of an earlier session.
    pub resumed: u64,
}

/// One entry of the mix.
#[derive(Debug, Clone, Default)]
pub struct RequestTally {
    pub answered: u64,
    pub errors: u64,
    pub times: Latency,
}

/// Everything counted, from the end of the warm-up on.
#[derive(Debug, Clone)]
pub struct Recorder {
    measure_from: Instant,
    /// Complete responses, whatever their status.
    pub answered: u64,
    /// Requests that failed, with or without a response.
    pub failed: u64,
    pub bytes: u64,
    /// From sending to the end of the response.
    pub service: Latency,
    /// From the intended sending to the end of the response; open loop only.
    pub response: Latency,
    /// Time to make a connection.
    pub connect: Latency,
    /// TLS handshakes with a certificate, and those that went on with an earlier session.
    pub handshakes: Handshakes,
    /// Requests that were sent again, because the server had closed their connection
    /// before it saw them.
    pub retried: u64,
    /// How late the client itself sent, although a connection was free.
    pub lag: Latency,
    /// Requests sent, whatever became of them; open loop only.
    pub sent: u64,
    /// Of these, sent late because every connection was busy.
    pub sent_late: u64,
    /// By [`ErrorClass`], in the order of [`ErrorClass::ALL`].
    pub errors: [ErrorTally; ErrorClass::ALL.len()],
    pub statuses: Vec<(u16, u64)>,
    pub workers: Workers,
    /// Per entry of the mix; empty when there is only one.
    pub requests: Vec<RequestTally>,
    pub last_ended: Option<Instant>,
    interval: Interval,
}

impl Recorder {
    /// Counts from `measure_from` on; `mix` is the number of different requests.
    pub fn new(measure_from: Instant, mix: usize) -> Self {
        Self {
            measure_from,
            answered: 0,
            failed: 0,
            bytes: 0,
            service: Latency::default(),
            response: Latency::default(),
            connect: Latency::default(),
            handshakes: Handshakes::default(),
            retried: 0,
            lag: Latency::default(),
            sent: 0,
            sent_late: 0,
            errors: Default::default(),
            statuses: Vec::new(),
            workers: Workers::default(),
            requests: vec![RequestTally::default(); if mix > 1 { mix } else { 0 }],
            last_ended: None,
            interval: Interval::default(),
        }
    }

    /// The warm-up belongs to nobody. In a closed loop a request belongs to the
    /// time in which it ends (so that the rate is right), in an open one to
    /// that in which it should have been sent.
    fn is_measured(&self, at: Instant) -> bool {
        at >= self.measure_from
    }

    pub fn record_connect(&mut self, began: Instant, ended: Instant, handshake: Option<HandshakeKind>) {
        if !self.is_measured(ended) {
            return;
        }
        self.connect.record(ended - began);
        match handshake {
            None => {}
            Some(HandshakeKind::Resumed) => self.handshakes.resumed += 1,
            Some(_) => self.handshakes.full += 1,
        }
    }

    pub fn record_retry(&mut self, at: Instant) {
        self.retried += u64::from(self.is_measured(at));
    }

    pub fn record_sent(&mut self, intended: Instant, now: Instant, was_idle: bool) {
        if !self.is_measured(intended) {
            return;
        }
        self.sent += 1;
        if was_idle {
            self.lag.record(now.saturating_duration_since(intended));
        } else {
            self.sent_late += 1;
        }
    }

    /// `seen` is that of the connection, when there was one.
    pub fn record(&mut self, sample: &Sample, seen: Option<&mut Seen>) {
        if !self.is_measured(sample.intended.unwrap_or(sample.ended)) {
            return;
        }
        self.last_ended = Some(sample.ended);
        self.bytes += sample.bytes;
        let service = sample.ended.saturating_duration_since(sample.started);
        let response = sample.intended.map(|intended| sample.ended.saturating_duration_since(intended));
        if let Some(failure) = &sample.failure {
            self.count_failure(failure);
        }
        let answered = sample.status != 0;
        // A timeout is at least as slow as the timeout: leaving it out would
        // make a server that hangs look fast.
        let timed = answered || sample.failure.as_ref().is_some_and(|f| f.class == ErrorClass::Timeout);
        if timed {
            self.service.record(service);
            if let Some(response) = response {
                self.response.record(response);
            }
            self.interval.record(response.unwrap_or(service));
        }
        self.interval.answered += u64::from(answered);
        if answered {
            self.answered += 1;
            self.count_status(sample.status);
            if let Some(seen) = seen {
                self.count_worker(sample, service, seen);
            }
        }
        if let Some(tally) = self.requests.get_mut(sample.request) {
            tally.answered += u64::from(answered);
            tally.errors += u64::from(sample.failure.is_some());
            if timed {
                tally.times.record(response.unwrap_or(service));
            }
        }
    }

    fn count_failure(&mut self, failure: &Failure) {
        self.failed += 1;
        self.interval.errors += 1;
        let tally = &mut self.errors[failure.class as usize];
        tally.count += 1;
        if tally.example.is_none() {
            tally.example = Some(failure.detail.clone());
        }
    }

    fn count_status(&mut self, status: u16) {
        match self.statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((status, 1)),
        }
    }

    fn count_worker(&mut self, sample: &Sample, service: Duration, seen: &mut Seen) {
        if let Some(index) = self.workers.index(&sample.worker, seen) {
            let worker = &mut self.workers.known[index];
            worker.requests += 1;
            worker.errors += u64::from(sample.failure.is_some());
            worker.times.record(service);
            self.workers.note_connection(index, seen);
        }
    }

    /// What has happened since the last call.
    pub fn take_interval(&mut self) -> Interval {
        std::mem::take(&mut self.interval)
    }

    pub fn merge(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.service.merge(&other.service);
        self.response.merge(&other.response);
        self.connect.merge(&other.connect);
        self.handshakes.full += other.handshakes.full;
        self.handshakes.resumed += other.handshakes.resumed;
        self.retried += other.retried;
        self.lag.merge(&other.lag);
        self.sent += other.sent;
        self.sent_late += other.sent_late;
        for (ours, theirs) in self.errors.iter_mut().zip(&other.errors) {
            ours.count += theirs.count;
            if ours.example.is_none() {
                ours.example.clone_from(&theirs.example);
            }
        }
        for &(status, count) in &other.statuses {
            match self.statuses.iter_mut().find(|(known, _)| *known == status) {
                Some((_, ours)) => *ours += count,
                None => self.statuses.push((status, count)),
            }
        }
        self.workers.merge(&other.workers);
        for (ours, theirs) in self.requests.iter_mut().zip(&other.requests) {
            ours.answered += theirs.answered;
            ours.errors += theirs.errors;
            ours.times.merge(&theirs.times);
        }
        self.last_ended = self.last_ended.max(other.last_ended);
        self.interval.merge(&other.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(from: Instant, millis: u64, status: u16) -> Sample {
        Sample {
            request: 0,
            intended: None,
            started: from,
            ended: from + Duration::from_millis(millis),
            status,
            worker: Tag::new(b"1"),
            bytes: 10,
            failure: ErrorClass::of_status(status).map(|class| Failure::new(class, "x")),
        }
    }

    #[test]
    fn responses_and_timeouts_have_times_other_failures_have_none() {
        let start = Instant::now();
        let mut recorder = Recorder::new(start, 1);
        let mut seen = Seen::default();
        recorder.record(&sample(start, 10, 200), Some(&mut seen));
        recorder.record(&sample(start, 20, 503), Some(&mut seen));
        for class in [ErrorClass::Timeout, ErrorClass::Reset] {
            let failure = Some(Failure::new(class, "y"));
            recorder.record(&Sample { failure, ..sample(start, 500, 0) }, Some(&mut seen));
        }
        assert_eq!((recorder.answered, recorder.failed, recorder.service.count()), (2, 3, 3));
        assert!((recorder.service.max() as f64 / 5e8 - 1.0).abs() < 0.001);
        assert_eq!(recorder.errors[ErrorClass::Status5xx as usize].count, 1);
        assert_eq!((recorder.workers.known[0].requests, recorder.workers.known[0].errors), (2, 1));
        let interval = recorder.take_interval();
        assert_eq!((interval.answered, interval.errors), (2, 3));
        assert!(recorder.take_interval().is_empty());
    }

    #[test]
    fn the_warm_up_is_not_counted() {
        let start = Instant::now();
        let warm = start + Duration::from_millis(100);
        let mut recorder = Recorder::new(warm, 1);
        recorder.record(&sample(start, 99, 200), None);
        assert_eq!(recorder.answered, 0);
        // Closed loop: by its end. Open loop: by its intended time.
        recorder.record(&sample(start, 101, 200), None);
        recorder.record(&Sample { intended: Some(start), ..sample(start, 101, 200) }, None);
        assert_eq!(recorder.answered, 1);
    }

    #[test]
    fn an_open_loop_counts_the_wait_before_sending() {
        let start = Instant::now();
        let mut recorder = Recorder::new(start, 1);
        let sent = start + Duration::from_millis(900);
        recorder.record(&Sample { intended: Some(start), ..sample(sent, 100, 200) }, None);
        let millis = |nanos: u64| (nanos as f64 / 1e6).round() as u64;
        assert_eq!((millis(recorder.service.max()), millis(recorder.response.max())), (100, 1_000));
    }

    #[test]
    fn classes_index_their_tallies() {
        for (index, class) in ErrorClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }
}
