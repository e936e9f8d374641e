//! What the programs of the cluster have in common.
//!
//! - [`protocol`]: identities, states, header and variable names, and the JSON
//!   that crosses a process boundary
//! - [`problem`]: error answers (RFC 9457)
//! - [`config`]: settings with precedence flag, environment, `.env`, default
//! - [`port`]: ports that are kept for programs
//! - [`store`]: the state that all workers share, in Redis or embedded
//! - [`telemetry`]: log set-up
//!
//! The crate knows nothing of Pingora, actix or its sibling crates.

pub mod config;
pub mod port;
pub mod problem;
pub mod protocol;
pub mod store;
pub mod telemetry;
