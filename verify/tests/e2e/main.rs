//! Drives the real `verify` against the real balancer, against servers that
//! misbehave in one way each, and against things that are no cluster at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod cluster;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod disruption;
#[path = "../../test-programs/misbehaving-balancer/fault.rs"]
#[expect(dead_code, unreachable_pub, reason = "the program that has these faults uses it as well")]
mod fault;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod harness;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod misbehaving;
mod mutants;
mod node;
mod odd;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod table;
mod tls;
mod usage;
