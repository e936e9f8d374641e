//! What came back, whole.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

#[derive(Debug, Clone)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the request was given to the connection, which was open by then.
    pub sent_at: Instant,
    /// When the last byte of the body was there.
    pub received_at: Instant,
}

impl Response {
    /// The first field of this name; `None` also for one that is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, which is JSON.
    ///
    /// # Errors
    /// When it is not JSON, or JSON of another form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}
