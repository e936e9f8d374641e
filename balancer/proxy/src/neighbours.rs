//! How many connections each address has open, where that has a limit.
//!
//! A lock is taken when a connection comes and when it goes, never for a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Neighbours {
    limit: Option<u32>,
    open: Arc<Mutex<HashMap<IpAddr, Count>>>,
}

/// Connections of one address.
#[derive(Debug, Default)]
struct Count {
    admitted: u32,
    /// Being told that they are too many.
    refused: u32,
}

/// What is to be done with a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    Admitted(Stay),
    /// One too many: it is told so.
    Refused(Stay),
    /// As many as are admitted are being told already: this one is just closed.
    Dropped,
}

/// Counts a connection until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Stay {
    _counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    address: IpAddr,
    refused: bool,
    open: Arc<Mutex<HashMap<IpAddr, Count>>>,
}

impl Neighbours {
    pub(super) fn new(limit: Option<u32>) -> Self {
        Self { limit, open: Arc::default() }
    }

    /// A connection from `address` has come; `turned_away` counts those that are
    /// not admitted.
    pub(super) fn enter(&self, address: Option<IpAddr>, turned_away: &AtomicU64) -> Admission {
        let (Some(limit), Some(address)) = (self.limit, address) else {
            return Admission::Admitted(Stay::default());
        };
        // A socket for both families shows IPv4 clients as IPv6 ones.
        let address = address.to_canonical();
        let mut open = lock(&self.open);
        let count = open.entry(address).or_default();
        let refused = count.admitted >= limit;
        let side = if refused { &mut count.refused } else { &mut count.admitted };
        let fits = *side < limit;
        if fits {
            *side += 1;
        }
        drop(open);
        if refused {
            turned_away.fetch_add(1, Ordering::Relaxed);
        }
        if !fits {
            return Admission::Dropped;
        }
        let stay = Stay { _counted: Some(Counted { address, refused, open: Arc::clone(&self.open) }) };
        if refused { Admission::Refused(stay) } else { Admission::Admitted(stay) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&self.address) {
            let side = if self.refused { &mut count.refused } else { &mut count.admitted };
            *side -= 1;
            if count.admitted + count.refused == 0 {
                open.remove(&self.address);
            }
        }
    }
}

fn lock(open: &Mutex<HashMap<IpAddr, Count>>) -> MutexGuard<'_, HashMap<IpAddr, Count>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(neighbours: &Neighbours, address: &str) -> Admission {
        neighbours.enter(Some(address.parse().unwrap()), &AtomicU64::new(0))
    }

    #[test]
    fn each_address_has_room_for_its_own() {
        let neighbours = Neighbours::new(Some(2));
        let first = enter(&neighbours, "192.0.2.1");
        let _second = enter(&neighbours, "::ffff:192.0.2.1");
        let told: Vec<_> = (0..2).map(|_| enter(&neighbours, "192.0.2.1")).collect();
        assert!(told.iter().all(|admission| matches!(admission, Admission::Refused(_))), "{told:?}");
        assert!(matches!(enter(&neighbours, "192.0.2.1"), Admission::Dropped));
        assert!(matches!(enter(&neighbours, "192.0.2.2"), Admission::Admitted(_)));
        drop(told);
        assert!(matches!(enter(&neighbours, "192.0.2.1"), Admission::Refused(_)));
        drop(first);
        assert!(matches!(enter(&neighbours, "192.0.2.1"), Admission::Admitted(_)));
    }

    #[test]
    fn nothing_is_kept_of_those_that_have_gone() {
        let neighbours = Neighbours::new(Some(1));
        let stays: Vec<_> = (0..9).map(|host| enter(&neighbours, &format!("192.0.2.{}", host % 3))).collect();
        assert_eq!(lock(&neighbours.open).len(), 3);
        drop(stays);
        assert!(lock(&neighbours.open).is_empty());
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let neighbours = Neighbours::new(None);
        let _stays: Vec<_> = (0..9).map(|_| enter(&neighbours, "192.0.2.1")).collect();
        assert!(lock(&neighbours.open).is_empty());
    }
}
