//! Drives the real executable against small servers, well-behaved and not.
//!
//! Every server has a port of its own, every wait a deadline.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod basics;
mod failures;
mod open_loop;
mod outputs;
mod program;
mod protocols;
mod retries;
mod served;
mod tls;
