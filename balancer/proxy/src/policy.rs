//! May a failed request be retried, and how long does it wait for a worker? Plain
//! values and functions without I/O.

use std::time::Duration;

use balancer_pool::WaitPolicy;

/// Most workers that one request is tried with, the first included.
pub(crate) const MAX_ATTEMPTS: usize = 4;
/// Most workers that one request is sent to. A request that makes its worker end has to be
/// taken for the cause when a second one ends as well: it must not go through them all.
pub(crate) const MAX_SENT: usize = 2;
/// A connection that was used within this time is not about to be closed by its worker:
/// the shortest idle timeout that programs have is a second, and is less by as much as this
/// machine may be behind.
pub(crate) const RECENT: Duration = Duration::from_millis(900);
/// How long a request waits when no worker is ready.
pub(crate) const WAIT: WaitPolicy = WaitPolicy {
    starting: Duration::from_secs(5),
    start_horizon: Duration::from_secs(1),
    grace: Duration::from_millis(100),
};

/// The same for a request that has just met a worker's death: on a busy machine it
/// takes the supervisor longer than a moment to learn of it.
pub(crate) const WAIT_AFTER_FAILURE: WaitPolicy = WaitPolicy { grace: Duration::from_secs(1), ..WAIT };

/// The same for a request whose last worker seems to live. One that was killed takes
/// connections until the kernel has closed its sockets, so that this is not certain.
pub(crate) const WAIT_FOR_STARTS: WaitPolicy = WaitPolicy { grace: Duration::from_millis(500), ..WAIT };

/// For how long a connection has to stay that shows whether a worker lives. One that is
/// being killed takes connections until the kernel has closed its sockets, which is soon.
/// One whose backlog is full lives as well.
pub(crate) const ALIVE_CHECK: Duration = Duration::from_millis(100);
/// A worker that ends so many of them one after the other, and takes them, lives: it closes
/// whatever comes.
pub(crate) const ALIVE_CHECKS: usize = 3;

/// How far a failed attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There was no connection: nothing has reached the worker.
    Connecting,
    /// The request, or part of it, may have reached the worker.
    Sent,
}

/// A failed attempt. The client has seen nothing of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    /// The worker was too slow, and may still be at work on the request.
    pub(crate) timed_out: bool,
    /// The method is idempotent (RFC 9110, section 9.2.2).
    pub(crate) idempotent: bool,
    /// All of the body that was read is still in memory.
    pub(crate) replayable: bool,
    /// Workers that the request was tried with so far.
    pub(crate) attempts: usize,
    /// Those of them that it was sent to, in whole or in part.
    pub(crate) sent: usize,
}

/// May the request be handed to another worker? A request that may have run is
/// repeated only when its method allows it (RFC 9110, section 9.2.2).
pub(crate) fn may_retry(failure: Failure) -> bool {
    let is_safe = match failure.stage {
        Stage::Connecting => true,
        Stage::Sent => {
            failure.idempotent && failure.replayable && !failure.timed_out && failure.sent < MAX_SENT
        }
    };
    is_safe && failure.attempts < MAX_ATTEMPTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIED: Failure = Failure {
        stage: Stage::Sent,
        timed_out: false,
        idempotent: true,
        replayable: true,
        attempts: 1,
        sent: 1,
    };

    #[test]
    fn a_failed_connect_is_retried_for_any_method() {
        let refused = Failure { stage: Stage::Connecting, idempotent: false, ..DIED };
        assert!(may_retry(refused));
        assert!(may_retry(Failure { timed_out: true, ..refused }));
    }

    #[test]
    fn a_request_that_may_have_run_is_retried_only_when_idempotent() {
        assert!(may_retry(DIED));
        assert!(!may_retry(Failure { idempotent: false, ..DIED }));
    }

    #[test]
    fn a_request_to_a_slow_worker_is_not_run_twice() {
        assert!(!may_retry(Failure { timed_out: true, ..DIED }));
    }

    #[test]
    fn nothing_is_retried_without_its_whole_body() {
        assert!(!may_retry(Failure { replayable: false, ..DIED }));
    }

    #[test]
    fn a_request_is_sent_to_two_workers_at_most() {
        assert!(may_retry(Failure { attempts: 2, ..DIED }), "one of them refused the connection");
        assert!(!may_retry(Failure { attempts: 2, sent: 2, ..DIED }));
        let refused = Failure { stage: Stage::Connecting, attempts: 3, sent: 1, ..DIED };
        assert!(may_retry(refused), "the second one is still to be found");
    }

    #[test]
    fn attempts_are_bounded() {
        assert!(may_retry(Failure { attempts: MAX_ATTEMPTS - 1, ..DIED }));
        assert!(!may_retry(Failure { attempts: MAX_ATTEMPTS, ..DIED }));
    }
}
