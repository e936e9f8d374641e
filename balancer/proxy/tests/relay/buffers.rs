//! Slow clients and the workers behind them: bodies that are received before a worker is
//! picked, and responses that are read ahead of their clients.

mod random;
mod requests;
mod responses;

use std::sync::atomic::Ordering;

use crate::harness::Relay;

/// Bytes of the bounded memory that are held now.
fn held(relay: &Relay) -> u64 {
    relay.counters.buffers.held.load(Ordering::Relaxed)
}

/// Requests that the first worker has in hand.
fn in_flight(relay: &Relay) -> u64 {
    relay.pool.ready()[0].in_flight()
}

/// `length` bytes of no regular form.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(number) >> 7) as u8).collect()
}
