//! Drives the real executable over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod bad_input;
mod compute;
mod crash;
mod http;
mod openapi;
mod pod;
mod process;
mod redis;
mod routes;
mod start;
mod stop;
mod supervised;
