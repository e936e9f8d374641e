//! The access log: one line for each request, to a file or to standard output.
//!
//! The request path hands over what it knows of a finished request and never waits:
//! a bounded queue leads to a thread of its own, which formats and writes the lines.
//! A record that does not fit into the queue is dropped, counted and reported.

mod format;
mod log;
mod record;
mod writer;

pub use format::Format;
pub use log::{AccessLog, AccessLogError, Guard, Settings, Target};
pub use record::{LogFields, Record, RequestSummary, RequestText};

#[cfg(test)]
mod tests;
