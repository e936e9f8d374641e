//! Decisions of the request path, as plain functions that know nothing of the
//! proxy that asks.

use std::time::Duration;

use balancer_pool::WaitPolicy;

/// Workers that one request may be handed to, the first included.
pub const MAX_ATTEMPTS: usize = 4;
/// How long a request waits when no worker is ready.
pub const WAIT: WaitPolicy = WaitPolicy {
    starting: Duration::from_secs(5),
    start_horizon: Duration::from_secs(1),
    grace: Duration::from_millis(100),
};

/// The same for a request that has just met a worker's death: on a busy machine
/// it takes the supervisor longer than a moment to hear of it.
pub const WAIT_AFTER_FAILURE: WaitPolicy = WaitPolicy { grace: Duration::from_secs(1), ..WAIT };

/// How far a failed attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No connection: nothing has reached the worker.
    Connecting,
    /// The request, or part of it, may have reached the worker.
    Sent,
    /// The client has seen part of the answer.
    Answering,
}

/// What is to be known of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    /// The worker's fault, not the client's.
    pub upstream: bool,
    /// The worker was too slow; it may still be at work on the request.
    pub timed_out: bool,
    /// The method is idempotent (RFC 9110, section 9.2.2).
    pub idempotent: bool,
    /// All of the request's body that was read is still at hand.
    pub replayable: bool,
    /// Workers tried so far.
    pub attempts: usize,
}

/// May the request be handed to another worker? A request that may have run is
/// repeated only when its method allows it (RFC 9110, section 9.2.2).
pub fn may_retry(failure: Failure) -> bool {
    let safe = match failure.stage {
        Stage::Connecting => true,
        Stage::Sent => failure.idempotent && failure.replayable && !failure.timed_out,
        Stage::Answering => false,
    };
    safe && failure.upstream && failure.attempts < MAX_ATTEMPTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIED: Failure = Failure {
        stage: Stage::Sent,
        upstream: true,
        timed_out: false,
        idempotent: true,
        replayable: true,
        attempts: 1,
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
    fn a_slow_worker_is_not_given_company() {
        assert!(!may_retry(Failure { timed_out: true, ..DIED }));
    }

    #[test]
    fn nothing_is_retried_once_the_client_has_seen_an_answer() {
        assert!(!may_retry(Failure { stage: Stage::Answering, ..DIED }));
    }

    #[test]
    fn nothing_is_retried_without_its_whole_body_or_for_a_client_that_left() {
        assert!(!may_retry(Failure { replayable: false, ..DIED }));
        assert!(!may_retry(Failure { upstream: false, ..DIED }));
    }

    #[test]
    fn attempts_are_bounded() {
        assert!(may_retry(Failure { attempts: MAX_ATTEMPTS - 1, ..DIED }));
        assert!(!may_retry(Failure { attempts: MAX_ATTEMPTS, ..DIED }));
    }
}
