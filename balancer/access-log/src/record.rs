//! What is known of a request when it is over.

use std::time::{Duration, SystemTime};

use shared_protocol::WorkerId;

/// A finished request, answered or not.
#[derive(Debug, Clone, Copy)]
pub struct RequestSummary {
    /// The last worker that the request was handed to; the primary when there was none.
    pub worker: WorkerId,
    /// The status that the client got, or [`Self::CLIENT_CLOSED`].
    pub status: u16,
    /// Workers that the request was handed to.
    pub attempts: usize,
    /// From the complete head to the last byte of the response.
    pub total: Duration,
    /// The part of `total` from the first pick of a worker on.
    pub upstream: Duration,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// What went wrong: the kind of fault that a response of the balancer's own stands
    /// for, or that truncated the response.
    pub fault: Option<&'static str>,
}

impl RequestSummary {
    /// Status of a request whose client left before it had the whole response, as in
    /// nginx's log
    /// (`NGX_HTTP_CLIENT_CLOSED_REQUEST`).
    pub const CLIENT_CLOSED: u16 = 499;
}

/// One line of the log.
#[derive(Debug)]
pub struct Record {
    pub fields: Box<LogFields>,
    /// When the request was over.
    pub at: SystemTime,
    pub summary: RequestSummary,
}

/// Parts of a request that are kept until it is over, as its client sent them.
#[derive(Debug)]
pub struct LogFields {
    bytes: Vec<u8>,
    /// Where each part of [`RequestText`] ends; `None` for a part that is missing.
    ends: [Option<usize>; PARTS],
}

const PARTS: usize = 6;

/// The parts that [`LogFields`] keep.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestText<'a> {
    pub client: Option<&'a [u8]>,
    pub request_line: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub request_id: Option<&'a [u8]>,
    /// The trace-id of W3C Trace Context.
    pub trace_id: Option<&'a [u8]>,
}

impl LogFields {
    pub fn new(text: RequestText<'_>) -> Self {
        let RequestText { client, request_line, referer, user_agent, request_id, trace_id } = text;
        let parts = [client, request_line, referer, user_agent, request_id, trace_id];
        let mut bytes = Vec::with_capacity(parts.iter().flatten().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            bytes.extend_from_slice(part?);
            Some(bytes.len())
        });
        Self { bytes, ends }
    }

    pub(crate) fn text(&self) -> RequestText<'_> {
        let mut start = 0;
        let [client, request_line, referer, user_agent, request_id, trace_id] = self.ends.map(|end| {
            let part = &self.bytes[start..end?];
            start += part.len();
            Some(part)
        });
        RequestText { client, request_line, referer, user_agent, request_id, trace_id }
    }
}
