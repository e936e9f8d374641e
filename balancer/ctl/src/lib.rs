//! What an operator asks of a running cluster, from outside: `status`, `reload`,
//! `scale`, `stop` and `healthcheck`. Talks to it over sockets only.

pub mod cli;
pub mod client;
pub mod healthcheck;
mod render;
mod watch;
