//! What an operator asks of a running cluster, from outside: `status`, `reload`,
//! `scale`, `stop` and `healthcheck`. Talks to it over sockets only.

pub mod cli;
mod cluster;
mod commands;
pub mod healthcheck;
mod listening;
mod render;
mod watch;

pub use commands::run;
pub use listening::{Listening, listening};
