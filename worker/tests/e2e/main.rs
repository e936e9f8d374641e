//! Drives the real executable over real sockets.

mod bad_input;
mod compute;
mod crash;
mod http;
mod openapi;
mod process;
mod redis;
#[path = "../../../shared/tests/store/support/redis_server.rs"]
mod redis_server;
mod routes;
mod start;
mod stop;
mod supervised;
