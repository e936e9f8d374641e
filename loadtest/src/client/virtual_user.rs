//! A virtual user: it sends one request at a time, again and again, until the run is over.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::deadline::Deadline;
use super::failure::{ErrorClass, Failure};
use super::framing::Tag;
use super::http1::{Http1, Reply};
use super::http2::Http2;
use super::pacer::{DueRequest, Waiter};
use crate::plan::WorkerSource;
use crate::stats::{Sample, Seen};

/// Waits after a connect failure in a closed loop, which would spin otherwise.
const BACKOFF: Duration = Duration::from_millis(1);
const MAX_BACKOFF: Duration = Duration::from_millis(100);

/// What a virtual user sends on.
pub(super) enum Transport {
    /// A connection of its own.
    Http1 { connection: Option<Http1>, seen: Seen },
    /// One that it shares.
    Http2(Rc<Http2>),
}

pub(super) struct VirtualUser {
    context: Rc<Context>,
    transport: Transport,
    /// The first request of a closed loop is still to be sent.
    has_first: bool,
    waiter: Rc<Waiter>,
    deadline: Deadline,
    random: fastrand::Rng,
    /// The body of the response, when somebody wants to look at it.
    body: Option<Vec<u8>>,
}

/// How an attempt went, and when its service time began.
struct Attempt {
    started: Instant,
    result: Result<Reply, Failure>,
}

impl VirtualUser {
    pub(super) fn new(context: Rc<Context>, transport: Transport, has_first: bool) -> Self {
        let plan = &context.shared.plan;
        let looks = plan.expect_body.is_some() || plan.worker_source != WorkerSource::Header;
        let deadline = Deadline::new(Instant::now() + plan.timeout);
        Self {
            context,
            transport,
            has_first,
            waiter: Rc::default(),
            deadline,
            random: fastrand::Rng::new(),
            body: looks.then(Vec::new),
        }
    }

    pub(super) async fn run(mut self) {
        let mut now = Instant::now();
        let mut backoff = BACKOFF;
        loop {
            let due = match &self.context.pacer {
                Some(pacer) => match pacer.next_due(&self.waiter).await {
                    Some(due) => Some(due),
                    None => return,
                },
                None if std::mem::take(&mut self.has_first) || self.context.shared.take_request() => None,
                None => return,
            };
            if let Some(due) = due {
                now = Instant::now();
                self.context.recorder.borrow_mut().record_sent(due.intended, now, due.was_idle);
            }
            let request = self.context.pick(&mut self.random);
            self.context.in_flight.set(self.context.in_flight.get() + 1);
            let attempt = self.attempt(request, now).await;
            now = Instant::now();
            self.context.in_flight.set(self.context.in_flight.get() - 1);
            let no_connection = attempt.result.as_ref().is_err_and(|failure| failure.class.is_connect());
            self.record(request, due, now, attempt);
            if no_connection && due.is_none() {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
                now = Instant::now();
            } else {
                backoff = BACKOFF;
            }
        }
    }

    /// Sends a request, and sends it once more when the server had closed the connection
    /// before it could see it, as any client does.
    async fn attempt(&mut self, request: usize, began: Instant) -> Attempt {
        let first = self.attempt_once(request, began).await;
        if !first.result.as_ref().is_err_and(|failure| failure.is_unprocessed) {
            return first;
        }
        let now = Instant::now();
        self.context.recorder.borrow_mut().record_retry(now);
        self.attempt_once(request, now).await
    }

    async fn attempt_once(&mut self, request: usize, began: Instant) -> Attempt {
        if let Some(body) = &mut self.body {
            body.clear();
        }
        let shared = Rc::clone(&self.context);
        let plan = &shared.shared.plan;
        let connector = &shared.shared.connector;
        let request = &plan.requests[request];
        let mut started = began;
        let made = |started: &mut Instant, handshake| {
            let now = Instant::now();
            shared.recorder.borrow_mut().record_connect(began, now, handshake);
            // With a connection per request, connecting is part of what it takes.
            if plan.keepalive {
                *started = now;
            }
        };
        let result = match &mut self.transport {
            Transport::Http1 { connection, seen } => {
                if let Some(idle) = connection
                    && !idle.is_reusable().await
                {
                    *connection = None;
                }
                if connection.is_none() {
                    match connector.connect().await {
                        Ok(stream) => {
                            let fresh = connection.insert(Http1::new(stream));
                            made(&mut started, fresh.handshake());
                        }
                        Err(failure) => return Attempt { started, result: Err(failure) },
                    }
                    *seen = Seen::default();
                }
                let live = connection.as_mut().expect("it was made above when there was none");
                self.deadline.set(started + plan.timeout);
                let result = live
                    .exchange(&request.wire, request.is_head, &mut self.deadline, self.body.as_mut())
                    .await;
                let keeps = |reply: &Reply| plan.keepalive && reply.head.keep_alive && reply.surplus == 0;
                if !result.as_ref().is_ok_and(keeps) {
                    *connection = None;
                }
                result
            }
            Transport::Http2(http2) => {
                match http2.sender(connector, |handshake| made(&mut started, handshake)).await {
                    Err(failure) => Err(failure),
                    Ok(sender) => {
                        self.deadline.set(started + plan.timeout);
                        let generation = sender.generation();
                        let (head, body) = (request.http2.clone(), request.body.clone());
                        let result =
                            sender.exchange(head, body, &mut self.deadline, self.body.as_mut()).await;
                        let result = result.map_err(|failure| http2.explain(failure));
                        if result.as_ref().is_err_and(|failure| !is_about_stream(failure.class)) {
                            http2.drop_connection(generation);
                        }
                        result
                    }
                }
            }
        };
        Attempt { started, result }
    }

    fn record(&mut self, request: usize, due: Option<DueRequest>, ended: Instant, attempt: Attempt) {
        let mut sample = Sample {
            request,
            intended: due.map(|due| due.intended),
            started: attempt.started,
            ended,
            status: 0,
            worker: Tag::default(),
            bytes: 0,
            failure: None,
        };
        match attempt.result {
            Ok(reply) => {
                sample.status = reply.head.status;
                sample.worker = reply.head.worker;
                sample.bytes = reply.bytes;
                sample.failure = self.judge(&reply, &mut sample.worker);
            }
            Err(failure) => sample.failure = Some(failure),
        }
        let mut recorder = self.context.recorder.borrow_mut();
        match &mut self.transport {
            Transport::Http1 { seen, .. } => recorder.record(&sample, Some(seen)),
            Transport::Http2(http2) => recorder.record(&sample, Some(&mut http2.seen.borrow_mut())),
        }
    }

    /// Is a complete response also a right one? Finds its worker on the way.
    fn judge(&self, reply: &Reply, worker: &mut Tag) -> Option<Failure> {
        let plan = &self.context.shared.plan;
        let wrong = |detail: String| Some(Failure::new(ErrorClass::WrongBody, detail));
        let status = reply.head.status;
        let mut failure =
            ErrorClass::of_status(status).map(|class| Failure::new(class, format!("status {status}")));
        let Some(body) = &self.body else {
            return failure.or_else(|| surplus(reply));
        };
        if let WorkerSource::Json(path) = &plan.worker_source {
            match worker_in(body, path) {
                Some(tag) => *worker = tag,
                None if failure.is_none() => {
                    failure = wrong(format!("the body has no {} in JSON", path.join(".")));
                }
                None => {}
            }
        }
        if let Some(expected) = &plan.expect_body
            && failure.is_none()
            && !contains(body, expected)
        {
            failure = wrong(format!("the body lacks {:?}", String::from_utf8_lossy(expected)));
        }
        failure.or_else(|| surplus(reply))
    }
}

/// Is it the stream alone that failed, and not its connection (HTTP/2)?
fn is_about_stream(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Timeout | ErrorClass::StreamReset)
}

fn surplus(reply: &Reply) -> Option<Failure> {
    (reply.surplus > 0).then(|| {
        let detail = format!("{} bytes more than the declared length", reply.surplus);
        Failure::new(ErrorClass::WrongBody, detail)
    })
}

fn worker_in(body: &[u8], path: &[String]) -> Option<Tag> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let found = path.iter().try_fold(&json, |value, key| match value {
        serde_json::Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })?;
    match found {
        serde_json::Value::String(name) if !name.is_empty() => Some(Tag::new(name.as_bytes())),
        serde_json::Value::Number(id) => Some(Tag::new(id.to_string().as_bytes())),
        _ => None,
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    part.is_empty() || body.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_is_found_in_the_body() {
        let find = |body: &str, path: &str| {
            let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
            worker_in(body.as_bytes(), &keys).map(|tag| String::from_utf8(tag.as_bytes().to_vec()).unwrap())
        };
        assert_eq!(find(r#"{"worker":{"id":2,"pid":7}}"#, "worker.id").as_deref(), Some("2"));
        assert_eq!(find(r#"{"from":["a","b"]}"#, "from.1").as_deref(), Some("b"));
        for (body, path) in
            [("{}", "worker.id"), ("no json", "a"), (r#"{"a":{}}"#, "a"), (r#"{"a":""}"#, "a")]
        {
            assert_eq!(find(body, path), None, "{body} {path}");
        }
        assert!(contains(b"one two", b"two") && !contains(b"one", b"two") && contains(b"", b""));
    }
}
