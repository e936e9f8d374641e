//! What is known of a request when it is over.

use std::time::{Duration, SystemTime};

use shared_protocol::WorkerId;

use balancer_access_log::{Record, Texts};

/// One request, answered or not.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// The last worker that was asked; the primary when none was.
    pub worker: WorkerId,
    /// What the client was told, or [`Self::CLIENT_GONE`].
    pub status: u16,
    /// Workers that were asked.
    pub attempts: usize,
    /// From the complete head to the answer's last byte.
    pub total: Duration,
    /// The part of it from the first pick of a worker on.
    pub upstream: Duration,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
}

impl Finished {
    /// Status of a request whose client left before it was answered, as nginx
    /// has it in its log.
    pub const CLIENT_GONE: u16 = 499;

    /// As the access log takes it; the request is over now.
    pub fn record(&self, texts: Box<Texts>) -> Record {
        Record {
            texts,
            at: SystemTime::now(),
            worker: self.worker,
            status: self.status,
            sent: self.sent,
            attempts: self.attempts,
            upstream: self.upstream,
            total: self.total,
        }
    }
}
