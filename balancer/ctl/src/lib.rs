//! What an operator asks of a running cluster, from outside: `status`, `logs`, `reload`,
//! `scale`, `stop` and `healthcheck`. Talks to it over sockets only.

pub mod cli;
mod cluster;
mod commands;
mod find;
pub mod healthcheck;
mod list;
mod listening;
mod logs;
mod maintenance;
mod peer;
mod processes;
mod render;
mod running;
mod watch;

pub use commands::run;
pub use listening::{Listening, listening};
