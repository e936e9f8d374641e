//! A response whose body is read while it comes.

use std::marker::PhantomData;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{ClientError, Connection, Response};

/// The head of a response, and its body while it comes. It borrows the
/// connection, so that no other request comes in between.
#[derive(Debug)]
pub struct Streaming<'a> {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    /// What has come and was not read yet.
    unread: BytesMut,
    sent_at: Instant,
    limit: usize,
    connection: PhantomData<&'a mut Connection>,
}

impl Streaming<'_> {
    pub(crate) fn new(head: Parts, body: Incoming, sent_at: Instant, limit: usize) -> Self {
        Self {
            status: head.status,
            headers: head.headers,
            body,
            unread: BytesMut::new(),
            sent_at,
            limit,
            connection: PhantomData,
        }
    }

    /// The next line, without its line feed; `None` at the end of the body. It may
    /// wait for ever, as the server may have nothing to say.
    ///
    /// # Errors
    /// When the body is cut off, or the line is longer than the limit.
    pub async fn line(&mut self) -> Result<Option<Bytes>, ClientError> {
        // Bytes of `unread` that hold no line feed.
        let mut searched = 0;
        loop {
            if let Some(found) = self.unread[searched..].iter().position(|&byte| byte == b'\n') {
                let mut line = self.unread.split_to(searched + found + 1);
                line.truncate(line.len() - 1);
                return Ok(Some(line.freeze()));
            }
            searched = self.unread.len();
            if searched > self.limit {
                return Err(ClientError::LineTooLong { limit: self.limit });
            }
            match self.part().await? {
                Some(part) => self.unread.extend_from_slice(&part),
                None if self.unread.is_empty() => return Ok(None),
                None => return Ok(Some(self.unread.split().freeze())),
            }
        }
    }

    /// The response with the rest of its body.
    ///
    /// # Errors
    /// When the body is cut off, or larger than the limit.
    pub async fn collect(mut self) -> Result<Response, ClientError> {
        while let Some(part) = self.part().await? {
            self.unread.extend_from_slice(&part);
            if self.unread.len() > self.limit {
                return Err(ClientError::BodyTooLarge { limit: self.limit });
            }
        }
        Ok(self.finish())
    }

    /// The response with the rest of its body, of which what goes beyond the limit
    /// is left unread.
    ///
    /// # Errors
    /// When the body is cut off before the limit.
    pub async fn collect_prefix(mut self) -> Result<Response, ClientError> {
        while self.unread.len() < self.limit
            && let Some(part) = self.part().await?
        {
            self.unread.extend_from_slice(&part);
        }
        self.unread.truncate(self.limit);
        Ok(self.finish())
    }

    fn finish(self) -> Response {
        Response {
            status: self.status,
            headers: self.headers,
            body: self.unread.freeze(),
            sent_at: self.sent_at,
            received_at: Instant::now(),
        }
    }

    /// What comes next of the body.
    async fn part(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            // Frames of another kind are trailers, which nobody asks for.
            if let Ok(part) = frame?.into_data() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }
}
