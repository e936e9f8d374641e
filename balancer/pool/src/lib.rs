//! The workers that get requests: an immutable snapshot, swapped as a whole.
//!
//! The supervisor is the only writer. Readers take no lock: a pick is one load
//! of the snapshot and one atomic increment. Requests wait in a queue only where
//! workers have a concurrency limit and all of them are at it. A worker that has
//! been withdrawn is never picked again, and its in-flight count covers every
//! request from the pick on, so a drain that sees zero has really finished.
//!
//! ```text
//! clock ◄── closing, direct, select, rendezvous ◄── request ◄── queue, worker ◄── lease ◄── pool
//! ```

mod clock;
mod closing;
mod direct;
mod lease;
mod pool;
mod queue;
mod rendezvous;
mod request;
pub mod select;
pub mod traffic;
mod worker;

pub use clock::Clock;
pub use direct::DirectLoad;
pub use lease::Lease;
pub use pool::{Balancing, Pool, PoolChanges};
pub use queue::{ConcurrencyLimit, QueueReading, QueueStats};
pub use rendezvous::HashKey;
pub use request::{Affinity, PickError, PickRequest, WaitPolicy};
pub use worker::{Hold, Worker, Workload};

#[cfg(test)]
mod tests;
