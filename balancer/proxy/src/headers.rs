//! Heads as they are passed on: what a reverse proxy drops, keeps and adds. Plain
//! functions from parsed heads to bytes.

mod request;
mod request_id;
mod response;
mod rewriting;

pub(crate) use request::sends_trailers;
pub use request::write_request;
pub use request_id::RequestId;
pub use response::{ResponseHeaders, write_response};

#[cfg(test)]
mod tests;
