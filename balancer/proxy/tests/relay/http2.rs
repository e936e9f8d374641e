//! Clients that speak HTTP/2, by frames that the tests write themselves: nothing depends on
//! what a client's library allows.

mod bodies;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod client;
mod conformance;
mod downgrade;
mod floods;
mod frames;
mod requests;
mod tls;
mod trailers;
mod websockets;
