//! Carries an exchange out.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use balancer_http1::scan::{MAX_RESPONSE_HEAD, Scanner};
use balancer_http1::{Framing, HttpError, ResponseHead};
use balancer_pool::{Hold, Lease};
use shared_protocol::WorkerId;

use super::close::{CLOSE_WATCH_AFTER, CloseWatch};
use super::outcome::Outcome;
use super::plan::{BodyPlan, ExchangeState, Plan, plan};
use crate::client::Http1Client;
use crate::compression::{Compressor, Rewrite};
use crate::context::RequestContext;
use crate::download::{Download, DownloadError};
use crate::error::ProxyError;
use crate::headers::{self, ResponseHeaders};
use crate::proxy::Proxy;
use crate::read_ahead::ReadAheadLimits;
use crate::timer;
use crate::tunnel;
use crate::upload::{LATE_BODY, SLOW_BODY, Upload, UploadError};
use crate::upstream::Upstream;

pub(crate) struct Exchange<'a> {
    pub(crate) proxy: &'a Proxy,
    pub(crate) context: &'a mut RequestContext,
    pub(crate) client: &'a mut Http1Client,
    pub(crate) upload: &'a mut Upload,
    /// The hold on the worker, from the pick until the worker has done its part.
    pub(crate) lease: Lease,
    pub(crate) close: CloseWatch,
}

impl<'a> Exchange<'a> {
    pub(crate) async fn run(mut self, upstream: Upstream) -> Outcome {
        let (mut download, plan) = match self.carry_out(upstream).await {
            Err(outcome) => {
                if !matches!(outcome, Outcome::Complete { .. }) {
                    self.lease.abandoned();
                }
                return outcome;
            }
            Ok(received) => received,
        };
        if download.has_failed() {
            self.lease.abandoned();
        }
        let Self { proxy, context, client, lease, .. } = self;
        let worker = lease.id;
        // The worker is free for others, however long the client takes.
        drop(lease);
        context.upstream.end();
        let result = match download.is_flushed(client) {
            true => Ok(()),
            false => download.finish(client, proxy.limits.client_timeout).await,
        };
        let (status, sent) = (plan.status, download.sent());
        match result {
            Ok(()) => Outcome::Complete { status, sent, keep: plan.keeps_client },
            Err(error) => truncated(worker, plan, sent, error),
        }
    }

    /// Carries out the part of the worker, until all of its response is here.
    ///
    /// # Errors
    /// When there is no such response: the exchange is over.
    async fn carry_out(&mut self, mut upstream: Upstream) -> Result<(Download<'a>, BodyPlan), Outcome> {
        let mut interim_bytes = 0;
        loop {
            let length = self.receive_head(&mut upstream).await?;
            let plan = self
                .write_head(&mut upstream, length)
                .map_err(|error| Outcome::Failed(ProxyError::InvalidResponse(error)))?;
            match plan {
                Plan::Interim { .. } => {
                    interim_bytes += length;
                    if interim_bytes > MAX_RESPONSE_HEAD {
                        return Err(Outcome::Failed(ProxyError::InvalidResponse(TOO_MANY_INTERIM)));
                    }
                    if self.client.flush(self.proxy.limits.client_timeout).await.is_err() {
                        return Err(Outcome::ClientClosed);
                    }
                }
                Plan::Tunnel => return Err(self.tunnel(upstream).await),
                Plan::Body(body) => return self.download(upstream, body).await,
            }
        }
    }

    /// Sends the request, as far as it has come, until a head is in the worker's read
    /// buffer. Returns the length of that head in bytes.
    async fn receive_head(&mut self, upstream: &mut Upstream) -> Result<usize, Outcome> {
        let mut scanner = Scanner::for_responses();
        self.upload.stall.touch();
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.upload.poll(self.client, upstream, cx) {
                return Poll::Ready(Err(error.into()));
            }
            if self.upload.is_received() && self.client.poll_closed(cx).is_ready() {
                return Poll::Ready(Err(Outcome::ClientClosed));
            }
            loop {
                match scanner.find(upstream.read_buffer.bytes()) {
                    Ok(Some(length)) => return Poll::Ready(Ok(length)),
                    Ok(None) => {}
                    Err(error) => {
                        return Poll::Ready(Err(Outcome::Failed(ProxyError::InvalidResponse(error))));
                    }
                }
                upstream.read_buffer.make_room();
                match upstream.read_buffer.poll_fill(&mut upstream.stream, cx) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(Outcome::Failed(ProxyError::WorkerClosed)));
                    }
                    Poll::Ready(Err(err)) => {
                        return Poll::Ready(Err(Outcome::Failed(ProxyError::WorkerReset(err))));
                    }
                    Poll::Ready(Ok(_)) => {
                        self.upload.stall.touch();
                        self.lease.moved();
                    }
                    Poll::Pending => break,
                }
            }
            self.poll_overdue(cx).map(Err)
        })
        .await
    }

    /// Ready when the side that is to go on has not done so in time.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let limits = &self.proxy.limits;
        let waits_for_client = !self.upload.is_received() && self.upload.is_flushed();
        self.lease.hold(if waits_for_client { Hold::ClientWait } else { Hold::Request });
        // A worker that is handed a request has not done anything yet.
        if self.upload.received() > 0 && self.upload.stall.has_moved() {
            self.lease.moved();
        }
        let body_deadline = if waits_for_client { self.upload.deadline(limits) } else { None };
        let deadline = body_deadline.unwrap_or_else(|| self.upload.stall.deadline(limits.response_timeout));
        loop {
            if self.close.is_due(&self.lease, cx) {
                return Poll::Ready(match waits_for_client {
                    true => Outcome::Rejected(LATE_BODY),
                    false => Outcome::Failed(ProxyError::DrainTimeout),
                });
            }
            let watch_at = match body_deadline {
                _ if self.close.is_watched() => None,
                Some(_) => Some(timer::now() + CLOSE_WATCH_AFTER),
                None => Some(self.upload.stall.deadline(CLOSE_WATCH_AFTER)),
            };
            let next = watch_at.map_or(deadline, |watch_at| deadline.min(watch_at));
            if !self.client.timer.poll(next, cx) {
                return Poll::Pending;
            }
            if next == deadline {
                break;
            }
            self.close.watch(&self.lease, false);
        }
        Poll::Ready(match body_deadline {
            Some(_) => Outcome::Rejected(SLOW_BODY),
            None => Outcome::Failed(ProxyError::ResponseTimeout(limits.response_timeout)),
        })
    }

    /// Takes the head of `length` bytes out of the worker's read buffer, decides what
    /// follows it, and writes what the client gets of it into the client's write buffer.
    fn write_head(&mut self, upstream: &mut Upstream, length: usize) -> Result<Plan, HttpError> {
        let (proxy, context, worker) = (self.proxy, &*self.context, self.lease.id);
        let state = ExchangeState {
            is_received: self.upload.is_received(),
            has_continued: self.upload.has_continued,
            is_draining: proxy.registry.is_draining(),
        };
        let head = &upstream.read_buffer.bytes()[..length];
        let response = ResponseHead::parse(head, context.is_head, &mut self.client.fields)?;
        let mut plan = plan(&response, context, state)?;
        if let Plan::Body(body) = &mut plan
            && let Some(coding) = body.coding()
        {
            upstream.compressor = Compressor::new(coding, body.from, &proxy.buffer_memory).map(Box::new);
            match upstream.compressor {
                // Its end is that of what is compressed.
                Some(_) => body.trailers = false,
                None => body.stay_plain(),
            }
        }
        let (is_written, framing, trailers, connection) = match plan {
            Plan::Interim { wanted } => (wanted, Framing::Empty, false, None),
            Plan::Tunnel => (true, Framing::Empty, false, Some("upgrade")),
            Plan::Body(body) => (true, body.to, body.trailers, context.connection_option(body.keeps_client)),
        };
        if is_written {
            let sticky = proxy.affinity.cookie().zip(context.cookie);
            let cookie = sticky.and_then(|(sticky, request)| {
                sticky.cookie_for(request, context.affinity, worker, &response)
            });
            let request_id = &context.id;
            let hsts = self.client.hsts.as_deref();
            let rewrite = if let Plan::Body(body) = plan { body.rewrite } else { Rewrite::None };
            let headers =
                ResponseHeaders { worker, request_id, framing, trailers, connection, hsts, cookie, rewrite };
            headers::write_response(self.client.write_buffer.bytes(), &response, headers);
        }
        self.upload.has_continued |= is_written && response.status == 100;
        upstream.read_buffer.consume(length);
        Ok(plan)
    }

    async fn tunnel(&mut self, mut upstream: Upstream) -> Outcome {
        let client_timeout = self.proxy.limits.client_timeout;
        // Others may have become tunnels since the worker was picked.
        if !self.lease.hold_tunnel(self.proxy.limits.max_tunnels) {
            self.client.write_buffer.clear();
            return Outcome::Failed(ProxyError::MaxTunnels);
        }
        self.context.become_long_lived();
        if self.client.flush(client_timeout).await.is_err() {
            return Outcome::ClientClosed;
        }
        self.close.watch(&self.lease, true);
        let close = |cx: &mut Context<'_>| self.close.is_due(&self.lease, cx);
        let (sent, result) = tunnel::run(self.client, &mut upstream, client_timeout, close).await;
        if let Err(error) = result {
            tracing::debug!(worker = self.lease.id.0, %error, "a tunnel broke");
        }
        Outcome::Complete { status: 101, sent, keep: false }
    }

    async fn download(
        &mut self,
        mut upstream: Upstream,
        plan: BodyPlan,
    ) -> Result<(Download<'a>, BodyPlan), Outcome> {
        self.upload.release();
        let proxy = self.proxy;
        let limit = usize::try_from(proxy.limits.buffer_responses).unwrap_or(usize::MAX);
        let reads_ahead = plan.reads_ahead && limit > 0;
        let limits = reads_ahead.then_some(ReadAheadLimits { memory: &proxy.buffer_memory, limit });
        // What is compressed has an end of its own, whatever frames what the worker sends.
        let from = if upstream.compressor.is_some() { Framing::UntilClose } else { plan.from };
        let mut download = Download::new(from, plan, limits);
        let staged = upstream.encode_body().and_then(|()| download.stage(self.client, &mut upstream));
        if let Err(error) = staged {
            // The client has seen nothing of this response yet.
            self.client.write_buffer.clear();
            return Err(Outcome::Failed(ProxyError::InvalidResponse(error)));
        }
        if plan.is_event_stream {
            self.lease.hold(Hold::Stream);
            self.context.become_long_lived();
            self.close.watch(&self.lease, true);
        }
        if let Err(error) = self.carry(&mut download, &mut upstream, plan.is_event_stream).await {
            // Who ends it, the worker or this, is one when the worker was told to end.
            let is_drained = plan.is_event_stream && self.lease.is_asked_to_close();
            let error = if is_drained { error.of_drained_stream() } else { error };
            return Err(truncated(self.lease.id, plan, download.sent(), error));
        }
        let is_over = self.upload.is_complete() && upstream.read_buffer.is_empty() && !download.has_failed();
        // A worker that is told to end may wait for its connections to be closed.
        if plan.keeps_upstream && is_over && !self.lease.is_withdrawn() {
            upstream.keep(plan.keep_alive_timeout);
        }
        Ok((download, plan))
    }

    /// Carries the response's body, and what is still to come of the request's, until
    /// all of the response is here, if not with the client. A worker may be silent within
    /// an event stream; only a client that does not read has a deadline then.
    async fn carry(
        &mut self,
        download: &mut Download<'_>,
        upstream: &mut Upstream,
        is_event_stream: bool,
    ) -> Result<(), DownloadError> {
        let mut is_uploading = true;
        poll_fn(|cx| {
            loop {
                if is_uploading {
                    match self.upload.poll(self.client, upstream, cx) {
                        Poll::Ready(Err(UploadError::ClientClosed)) => {
                            return Poll::Ready(Err(DownloadError::ClientClosed));
                        }
                        // The worker has begun to answer without the rest of it, and may
                        // end without it.
                        Poll::Ready(_) => {
                            is_uploading = false;
                            self.upload.release();
                        }
                        Poll::Pending => {}
                    }
                }
                if self.upload.is_received() && self.client.poll_closed(cx).is_ready() {
                    return Poll::Ready(Err(DownloadError::ClientClosed));
                }
                let polled = download.poll(self.client, upstream, cx);
                if download.stall.has_moved() {
                    self.lease.moved();
                }
                if polled.is_ready() {
                    return polled;
                }
                if download.is_received() {
                    return Poll::Ready(Ok(()));
                }
                if self.close.is_due(&self.lease, cx) {
                    return Poll::Ready(Err(match self.waits_for_worker(download, upstream) {
                        true => DownloadError::DrainTimeout,
                        false => DownloadError::LateClient,
                    }));
                }
                match ready!(self.poll_stalled(download, upstream, is_event_stream, cx)) {
                    Stalled::CloseUnwatched => self.close.watch(&self.lease, false),
                    Stalled::SlowClient => download.ahead.begin(),
                    Stalled::Client => return Poll::Ready(Err(DownloadError::ClientTimeout)),
                    Stalled::Worker if download.is_flushed(self.client) => {
                        return Poll::Ready(Err(DownloadError::WorkerTimeout(
                            self.proxy.limits.response_timeout,
                        )));
                    }
                    Stalled::Worker => {
                        download.fail(DownloadError::WorkerTimeout(self.proxy.limits.response_timeout));
                    }
                }
            }
        })
        .await
    }

    /// Is it the worker that is to go on, and not its client, with the rest of the request or
    /// with the response?
    fn waits_for_worker(&self, download: &Download<'_>, upstream: &Upstream) -> bool {
        let is_taken = self.is_taken(download, upstream);
        !self.upload.waits_for_client() && (is_taken || download.ahead.is_on())
    }

    /// Has the client taken all that has come of the response?
    fn is_taken(&self, download: &Download<'_>, upstream: &Upstream) -> bool {
        download.is_flushed(self.client) && upstream.is_drained()
    }

    /// Ready when the side that is to go on with the response has not done so in time.
    fn poll_stalled(
        &mut self,
        download: &mut Download<'_>,
        upstream: &Upstream,
        is_event_stream: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Stalled> {
        let limits = &self.proxy.limits;
        let waits_for_client = !self.is_taken(download, upstream);
        let waits_for_worker = !waits_for_client || download.ahead.is_on();
        if is_event_stream && !waits_for_client {
            return Poll::Pending;
        }
        if !is_event_stream {
            self.lease.hold(if waits_for_worker { Hold::Request } else { Hold::ClientWait });
        }
        let since = if waits_for_client { &mut download.client_stall } else { &mut download.stall };
        let unwatched = (!self.close.is_watched()).then(|| since.deadline(CLOSE_WATCH_AFTER));
        let deadlines = [
            (Stalled::CloseUnwatched, unwatched),
            (
                Stalled::Client,
                waits_for_client.then(|| download.client_stall.deadline(limits.client_timeout)),
            ),
            (Stalled::Worker, waits_for_worker.then(|| download.stall.deadline(limits.response_timeout))),
            (Stalled::SlowClient, download.ahead.slow_at().filter(|_| waits_for_client)),
        ];
        let deadlines = deadlines.into_iter().filter_map(|(stalled, at)| at.map(|at| (stalled, at)));
        match deadlines.min_by_key(|(_, deadline)| *deadline) {
            Some((stalled, deadline)) if self.client.timer.poll(deadline, cx) => Poll::Ready(stalled),
            _ => Poll::Pending,
        }
    }
}

/// What has not gone on in time.
#[derive(Debug, Clone, Copy)]
enum Stalled {
    /// The client has taken nothing for the client timeout.
    Client,
    /// The worker has sent nothing for the response timeout.
    Worker,
    /// The client has kept the response waiting for so long that it counts as slow.
    SlowClient,
    /// Nobody has, for so long that it is worth knowing when the worker is to be let go of.
    CloseUnwatched,
}

fn truncated(worker: WorkerId, plan: BodyPlan, sent: u64, error: DownloadError) -> Outcome {
    tracing::debug!(worker = worker.0, %error, "a response is truncated");
    Outcome::Truncated { status: plan.status, sent, error }
}

/// Interim responses may have as many bytes in all as a head may: a worker that sends
/// them without end would never meet its timeout (as Go's `net/http` has it since 1.23).
const TOO_MANY_INTERIM: HttpError = HttpError::bad("there are more than 262144 bytes of interim responses");
