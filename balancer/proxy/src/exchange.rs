//! One request with one worker, once it is connected: from the head's first
//! byte to the answer's last.

use std::future::poll_fn;
use std::task::{Context, Poll};

use shared_protocol::WorkerId;
use tokio::time::Instant;

use super::client::Client;
use super::download::{Broken, Download};
use super::headers::{self, Cookie, RequestId, ResponseHeaders};
use super::responses::ProxyError;
use super::upload::{Stopped, Upload};
use super::upstream::Upstream;
use super::{Proxy, tunnel};
use balancer_http1::response::ResponseHead;
use balancer_http1::scan::Scanner;
use balancer_http1::{Framing, HttpError};

/// What is known of the request once its head has been read.
#[derive(Debug)]
pub(super) struct RequestContext {
    pub(super) id: RequestId,
    pub(super) started: Instant,
    pub(super) head_only: bool,
    pub(super) idempotent: bool,
    pub(super) is_1_1: bool,
    pub(super) keeps_alive: bool,
    pub(super) upgrades: bool,
    pub(super) expects_continue: bool,
    /// The worker that its client was told to come back to.
    pub(super) bound_to: Option<WorkerId>,
    /// The client speaks HTTPS, to a proxy before us.
    pub(super) is_https: bool,
}

impl RequestContext {
    /// What is said of a connection that is kept, or not (RFC 9112, section 9.3).
    pub(super) fn connection(&self, keep: bool) -> Option<&'static str> {
        match (keep, self.is_1_1) {
            (false, _) => Some("close"),
            (true, false) => Some("keep-alive"),
            (true, true) => None,
        }
    }
}

/// How it ended.
pub(super) enum Outcome {
    /// The client has the whole answer. May its connection be kept?
    Answered { status: u16, sent: u64, keep: bool },
    /// The client has part of the answer, and gets no more of it.
    Cut { status: u16, sent: u64 },
    /// The worker failed before the client had seen anything.
    Failed(ProxyError),
    /// The request's body is at fault.
    Refused(HttpError),
    /// There is nobody left to tell.
    Gone,
}

pub(super) struct Exchange<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) context: &'a RequestContext,
    pub(super) client: &'a mut Client,
    pub(super) upload: &'a mut Upload,
    pub(super) worker: WorkerId,
}

impl Exchange<'_> {
    pub(super) async fn run(mut self, mut upstream: Upstream) -> Outcome {
        let mut continued = false;
        loop {
            let length = match self.head(&mut upstream).await {
                Ok(length) => length,
                Err(outcome) => return outcome,
            };
            let head = &upstream.inbox.bytes()[..length];
            let fields = std::mem::take(&mut self.client.fields);
            let response = match ResponseHead::parse(head, self.context.head_only, fields) {
                Ok(response) => response,
                Err(error) => return Outcome::Failed(ProxyError::Malformed(error)),
            };
            match response.status {
                101 if self.context.upgrades => return self.switch(upstream, &response, length).await,
                101 => {
                    return Outcome::Failed(ProxyError::Malformed(HttpError::bad(
                        "an upgrade that nobody asked for",
                    )));
                }
                100..=199 => {
                    // One is enough, also when a second worker says it again.
                    let wanted = response.status != 100 || (self.context.expects_continue && !continued);
                    continued |= response.status == 100;
                    if wanted
                        && self.context.is_1_1
                        && self.interim(&upstream, &response, length).await.is_err()
                    {
                        return Outcome::Gone;
                    }
                    upstream.inbox.consume(length);
                    self.client.fields = response.fields;
                }
                _ => return self.answer(upstream, response, length).await,
            }
        }
    }

    /// Sends the request, as far as it has come, until a head is in the inbox.
    async fn head(&mut self, upstream: &mut Upstream) -> Result<usize, Outcome> {
        let mut scanner = Scanner::default();
        let mut waiting = Waiting::default();
        poll_fn(|cx| {
            match self.upload.poll(self.client, upstream, cx) {
                Poll::Ready(Err(Stopped::Refused(error))) => {
                    return Poll::Ready(Err(Outcome::Refused(error)));
                }
                Poll::Ready(Err(Stopped::Gone)) => return Poll::Ready(Err(Outcome::Gone)),
                _ if !self.upload.is_received() => {}
                _ if self.client.poll_gone(cx).is_ready() => return Poll::Ready(Err(Outcome::Gone)),
                _ => {}
            }
            loop {
                match scanner.find(upstream.inbox.bytes()) {
                    Ok(Some(length)) => return Poll::Ready(Ok(length)),
                    Err(error) => return Poll::Ready(Err(Outcome::Failed(ProxyError::Malformed(error)))),
                    Ok(None) => {}
                }
                match upstream.inbox.poll_fill(&mut upstream.io, cx) {
                    Poll::Ready(Ok(0) | Err(_)) => {
                        return Poll::Ready(Err(Outcome::Failed(ProxyError::Died)));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => break,
                }
            }
            let seen =
                (self.upload.received(), self.upload.out.sent() as u64, upstream.inbox.bytes().len() as u64);
            match self.overdue(&mut waiting, seen, cx) {
                Some(outcome) => Poll::Ready(Err(outcome)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Has whoever is to go on kept us waiting for too long?
    fn overdue(
        &mut self,
        waiting: &mut Waiting,
        seen: (u64, u64, u64),
        cx: &mut Context<'_>,
    ) -> Option<Outcome> {
        let limits = &self.proxy.limits;
        let for_client = !self.upload.is_received() && self.upload.out.is_flushed();
        match self.upload.deadline(limits).filter(|_| for_client) {
            Some(deadline) => self.client.timer.poll(deadline, cx).then_some(Outcome::Refused(SLOW_BODY)),
            None => {
                let deadline = waiting.since(seen) + limits.response_timeout;
                self.client.timer.poll(deadline, cx).then_some(Outcome::Failed(ProxyError::Slow))
            }
        }
    }

    /// Passes on an interim answer, such as 100 or 103.
    async fn interim(
        &mut self,
        upstream: &Upstream,
        response: &ResponseHead,
        length: usize,
    ) -> std::io::Result<()> {
        self.write_head(upstream, response, length, Framing::Empty, None);
        self.client.flush(&self.proxy.limits).await
    }

    fn write_head(
        &mut self,
        upstream: &Upstream,
        response: &ResponseHead,
        length: usize,
        framing: Framing,
        connection: Option<&'static str>,
    ) {
        let moves = response.status >= 200 && self.context.bound_to != Some(self.worker);
        let sticky = self.proxy.sticky.as_ref().filter(|_| moves);
        let cookie = sticky.map(|sticky| Cookie { sticky, secure: self.context.is_https });
        let marks = ResponseHeaders {
            worker: self.worker,
            request_id: &self.context.id,
            framing,
            connection,
            cookie,
        };
        let head = &upstream.inbox.bytes()[..length];
        headers::write_response(self.client.out.bytes(), head, response, marks);
    }

    /// The worker has agreed to speak another protocol.
    async fn switch(mut self, mut upstream: Upstream, response: &ResponseHead, length: usize) -> Outcome {
        self.write_head(&upstream, response, length, Framing::Empty, Some("upgrade"));
        upstream.inbox.consume(length);
        if self.client.flush(&self.proxy.limits).await.is_err() {
            return Outcome::Gone;
        }
        let (_, sent) = tunnel::run(self.client, &mut upstream, &self.proxy.limits).await;
        Outcome::Answered { status: 101, sent, keep: false }
    }

    async fn answer(mut self, mut upstream: Upstream, response: ResponseHead, length: usize) -> Outcome {
        let status = response.status;
        let framing = match (response.framing, self.context.is_1_1) {
            (Framing::UntilClose, true) => Framing::Chunked,
            (Framing::Chunked, false) => Framing::UntilClose,
            (framing, _) => framing,
        };
        // Of a request whose body still comes nobody knows where it would end.
        let keep = self.context.keeps_alive
            && self.upload.is_received()
            && framing != Framing::UntilClose
            && !self.proxy.registry.is_draining();
        self.write_head(&upstream, &response, length, framing, self.context.connection(keep));
        upstream.inbox.consume(length);
        let mut download = Download::new(response.framing, framing);
        let carried = self.carry(&mut download, &mut upstream).await;
        let sent = download.sent();
        let reusable = response.keeps_alive() && self.upload.is_complete() && upstream.inbox.is_empty();
        self.client.fields = response.fields;
        match carried {
            Ok(()) => {
                if reusable {
                    upstream.keep();
                }
                Outcome::Answered { status, sent, keep }
            }
            Err(_) => Outcome::Cut { status, sent },
        }
    }

    /// Carries the answer's body, and what is still to come of the request's.
    async fn carry(&mut self, download: &mut Download, upstream: &mut Upstream) -> Result<(), Broken> {
        download.stage(self.client, upstream)?;
        let mut waiting = Waiting::default();
        let mut uploading = true;
        poll_fn(|cx| {
            if uploading {
                match self.upload.poll(self.client, upstream, cx) {
                    Poll::Ready(Err(Stopped::Gone)) => return Poll::Ready(Err(Broken::Client)),
                    // The worker has begun to answer without it, and may end without it.
                    Poll::Ready(_) => uploading = false,
                    Poll::Pending => {}
                }
            }
            if self.upload.is_received() && self.client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Broken::Client));
            }
            match download.poll(self.client, upstream, cx) {
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => {}
            }
            let limits = &self.proxy.limits;
            let for_client = !self.client.out.is_flushed() || !upstream.inbox.is_empty();
            let seen = (download.sent(), self.client.out.sent() as u64, u64::from(for_client));
            let (patience, broken) = if for_client {
                (limits.client_timeout, Broken::Client)
            } else {
                (limits.response_timeout, Broken::Worker)
            };
            let deadline = waiting.since(seen) + patience;
            if self.client.timer.poll(deadline, cx) { Poll::Ready(Err(broken)) } else { Poll::Pending }
        })
        .await
    }
}

/// Since when nothing has moved.
#[derive(Default)]
struct Waiting {
    last: Option<((u64, u64, u64), Instant)>,
}

impl Waiting {
    /// `seen` is different whenever something has moved.
    fn since(&mut self, seen: (u64, u64, u64)) -> Instant {
        match self.last {
            Some((last, since)) if last == seen => since,
            _ => {
                let now = Instant::now();
                self.last = Some((seen, now));
                now
            }
        }
    }
}

const SLOW_BODY: HttpError = HttpError::new(408, "the request's body did not arrive in time");
