//! The request path by itself, over real sockets: what reaches a program behind,
//! and what comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod bodies;
mod buffers;
mod drains;
mod faults;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod harness;
mod http2;
mod leaving;
mod listeners;
mod mutations;
mod oddities;
mod strictness;
mod trailers;
mod tunnels;
#[expect(unreachable_pub, reason = "as above")]
mod witness;
