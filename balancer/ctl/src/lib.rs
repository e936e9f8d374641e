//! What an operator asks of a running cluster, from outside: `status`, `logs`, `reload`,
//! `scale`, `stop` and `healthcheck`. Talks to it over sockets only.

pub mod cli;
mod cluster;
mod commands;
pub mod healthcheck;
mod logs;
mod render;
mod watch;

pub use commands::run;
