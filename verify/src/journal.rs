//! Every answer that was seen, for the checks that judge all of them.

use bytes::Bytes;
use http::{Method, StatusCode};
use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER};

use crate::client::Answer;

/// More answers, or more bytes of them, are counted, not kept.
const CAPACITY: usize = 60_000;
const BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct Journal {
    answers: Vec<Seen>,
    bytes: usize,
    left_out: usize,
}

/// What is kept of an [`Answer`].
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub status: StatusCode,
    pub content_type: Option<String>,
    /// `x-worker-id`, as text.
    pub worker_id: Option<String>,
    pub has_request_id: bool,
    pub body: Bytes,
}

impl Journal {
    pub fn record(&mut self, answer: &Answer) {
        if self.answers.len() >= CAPACITY || self.bytes + answer.body.len() > BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += answer.body.len();
        self.answers.push(Seen {
            method: answer.method.clone(),
            path: answer.path.clone(),
            status: answer.status,
            content_type: answer.content_type().map(str::to_owned),
            worker_id: answer.header(WORKER_ID_HEADER).map(str::to_owned),
            has_request_id: answer.header(REQUEST_ID_HEADER).is_some(),
            body: answer.body.clone(),
        });
    }

    pub fn answers(&self) -> &[Seen] {
        &self.answers
    }

    /// Answers that there was no room for.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}
