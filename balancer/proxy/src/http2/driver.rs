//! Drives the frames of one connection, and decides when it ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use balancer_state::http2::Http2Ending;
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::time::Instant;

use super::bounds::{CONFIRMATION, RESETS, RESETS_PER_SECOND};
use super::bucket::Bucket;
use super::meter::Meter;
use super::state::ConnectionState;
use crate::open_requests::OpenRequest;
use crate::proxy::Proxy;
use crate::timer::{self, Timer};

pub(super) struct Driver<'a> {
    proxy: &'a Proxy,
    connection: Connection<Meter, Bytes>,
    state: Arc<ConnectionState>,
    timer: Timer,
    resets: Bucket,
    phase: Phase,
    /// When the client last began or ended a request, or took some of a response.
    moved: Instant,
    /// What was known then.
    seen: Seen,
}

/// How far the connection is from its end.
enum Phase {
    Open,
    /// The client was asked to send no further requests, and is to confirm that. Until
    /// then, for a while, requests may be on their way: the shutdown waits for them.
    Leaving {
        waiting: Option<(OpenRequest, Instant)>,
    },
    /// Nothing is read any more, and the client has until then to take what it is told.
    Closing(Instant),
}

/// What moves while a client is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    begun: u64,
    active: u64,
    written: u64,
}

/// A request and the means to answer it.
type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// What happens on a connection.
#[expect(clippy::large_enum_variant, reason = "one at a time, and nearly all of them are requests")]
pub(super) enum Event {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    Ended,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        proxy: &'a Proxy,
        connection: Connection<Meter, Bytes>,
        state: Arc<ConnectionState>,
    ) -> Self {
        let now = timer::now();
        Self {
            proxy,
            connection,
            state,
            timer: Timer::default(),
            resets: Bucket::new(RESETS, RESETS_PER_SECOND, now),
            phase: Phase::Open,
            moved: now,
            seen: Seen { begun: 0, active: 0, written: 0 },
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        !matches!(self.phase, Phase::Open)
    }

    /// Asks the client to send no further requests: at first any that is on its way is still
    /// carried out (RFC 9113, section 6.8). The shutdown waits for its confirmation if it
    /// `is_waited_for`.
    pub(super) fn leave(&mut self, is_waited_for: bool) {
        self.connection.graceful_shutdown();
        let waiting = is_waited_for.then(|| (self.proxy.open.enter(), timer::now() + CONFIRMATION));
        self.phase = Phase::Leaving { waiting };
    }

    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            match self.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, responder)))) => {
                    self.seen.begun += 1;
                    return Poll::Ready(Event::Request(request, responder));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.count(&error);
                    return Poll::Ready(Event::Ended);
                }
                Poll::Ready(None) => return Poll::Ready(Event::Ended),
                Poll::Pending => {}
            }
            if self.calm() {
                continue;
            }
            let now = timer::now();
            self.look(now);
            let Some((due, deadline)) = self.deadline() else { return Poll::Pending };
            if !self.timer.poll(deadline, cx) {
                return Poll::Pending;
            }
            match due {
                Due::Idle => self.leave(false),
                Due::Confirmation => self.phase = Phase::Leaving { waiting: None },
                Due::Stalled => {
                    self.proxy.counters.http2.add(Http2Ending::Stalled);
                    return Poll::Ready(Event::Ended);
                }
                Due::End => return Poll::Ready(Event::Ended),
            }
        }
    }

    /// Has the connection do all there is to do at the moment, and only then write the frames
    /// of it, in one go.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, h2::Error>>> {
        self.state.set_gathering(true);
        let accepted = self.connection.poll_accept(cx);
        self.state.set_gathering(false);
        if accepted.is_pending() && self.state.has_gathered() {
            return self.connection.poll_accept(cx);
        }
        accepted
    }

    /// Ends a connection whose client floods it. Says whether it has just done so.
    fn calm(&mut self) -> bool {
        let resets = self.state.take_resets();
        let is_resetting = resets > 0 && !self.resets.take(resets, timer::now());
        let ending = match (is_resetting, self.state.is_flooded()) {
            _ if matches!(self.phase, Phase::Closing(_)) => return false,
            (true, _) => Http2Ending::Resets,
            (false, true) => Http2Ending::Flood,
            (false, false) => return false,
        };
        self.proxy.counters.http2.add(ending);
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.phase = Phase::Closing(timer::now() + self.proxy.limits.linger_timeout);
        true
    }

    /// Notes whether the client has moved since the last look.
    fn look(&mut self, now: Instant) {
        let state = &self.state;
        let seen = Seen { begun: self.seen.begun, active: state.active(), written: state.written() };
        if seen != self.seen {
            (self.seen, self.moved) = (seen, now);
        }
    }

    /// What is due next, and when. While requests are carried out they have deadlines of
    /// their own.
    fn deadline(&self) -> Option<(Due, Instant)> {
        let limits = &self.proxy.limits;
        match &self.phase {
            // It ends by itself.
            _ if self.state.is_shut() => None,
            Phase::Closing(until) => Some((Due::End, *until)),
            _ if self.state.is_blocked() => Some((Due::Stalled, self.moved + limits.client_timeout)),
            Phase::Leaving { waiting: Some((_, until)) } => Some((Due::Confirmation, *until)),
            _ if self.state.active() > 0 => None,
            Phase::Leaving { .. } => Some((Due::End, self.moved + limits.linger_timeout)),
            Phase::Open => Some((Due::Idle, self.moved + limits.idle_timeout)),
        }
    }

    /// Counts a connection that ends because of what the client has sent.
    fn count(&self, error: &h2::Error) {
        if error.is_go_away() && error.is_library() {
            let is_flood = error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
            let ending = if is_flood { Http2Ending::Flood } else { Http2Ending::ProtocolError };
            self.proxy.counters.http2.add(ending);
        }
    }
}

/// What is to be done when nothing moves.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// The client has not sent a request for so long that it is asked to leave.
    Idle,
    /// The shutdown waits no longer for what may be on its way.
    Confirmation,
    /// The client does not read what it is sent.
    Stalled,
    End,
}
