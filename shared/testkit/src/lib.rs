//! What the tests of several crates need: real servers that are killed on drop.
//! A test is its only user, so a failure here is a panic that says what failed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

pub mod connection;
pub mod control;
pub mod http_inputs;
pub mod log;
pub mod oracle;
pub mod process;
pub mod program;
pub mod redis_group;
pub mod redis_server;
pub mod server;
mod wait;

pub use shared_process::port::ReservedPort;
pub use wait::{DEADLINE, eventually, wait_until};
