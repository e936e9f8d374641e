//! Every answer that was seen, for the checks that judge all of them.

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::answer::Answer;

/// More answers, or more bytes of them, are counted, not kept.
const CAPACITY: usize = 60_000;
const BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct AnswerLog {
    answers: Vec<LoggedAnswer>,
    bytes: usize,
    left_out: usize,
}

/// What is kept of an [`Answer`].
#[derive(Debug, Clone)]
pub struct LoggedAnswer {
    pub method: Method,
    pub path: String,
    pub status: StatusCode,
    pub content_type: Option<String>,
    pub body: Bytes,
}

impl AnswerLog {
    pub fn record(&mut self, answer: &Answer) {
        if self.answers.len() >= CAPACITY || self.bytes + answer.body.len() > BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += answer.body.len();
        self.answers.push(LoggedAnswer {
            method: answer.method.clone(),
            path: answer.path.clone(),
            status: answer.status,
            content_type: answer.content_type().map(str::to_owned),
            body: answer.body.clone(),
        });
    }

    pub fn answers(&self) -> &[LoggedAnswer] {
        &self.answers
    }

    /// Answers that there was no room for.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}
