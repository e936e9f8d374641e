//! Drives the real executable against small servers, well-behaved and not.
//!
//! Every server has a port of its own, every wait a deadline.

mod basics;
mod failures;
mod open_loop;
mod outputs;
mod program;
mod protocols;
mod server;
