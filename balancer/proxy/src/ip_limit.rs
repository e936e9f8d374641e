//! The limit of connections per client address.
//!
//! A lock is taken when a connection comes and when it goes, never for a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the connections of each address, where there is a limit.
#[derive(Debug, Default)]
pub(crate) struct IpLimit {
    limit: Option<u32>,
    open: Arc<Mutex<HashMap<IpAddr, Count>>>,
}

/// The open connections of one address.
#[derive(Debug, Default)]
struct Count {
    admitted: u32,
    /// Connections that get the refusal at the moment.
    refused: u32,
}

/// What happens to a new connection.
#[derive(Debug)]
pub(crate) enum Decision {
    Admitted(Permit),
    /// It is one too many: it gets a refusal.
    Refused(Permit),
    /// As many as may be admitted get a refusal already: this one is closed without one.
    Closed,
}

/// Counts a connection until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Permit {
    _counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    address: IpAddr,
    refused: bool,
    open: Arc<Mutex<HashMap<IpAddr, Count>>>,
}

impl IpLimit {
    pub(crate) fn new(limit: Option<u32>) -> Self {
        Self { limit, open: Arc::default() }
    }

    /// Decides on a new connection from `address`. `refused_total` counts the
    /// connections that are not admitted. Those without an address are: who connects to a
    /// Unix socket is a proxy, and stands for many clients.
    pub(crate) fn enter(&self, address: Option<IpAddr>, refused_total: &AtomicU64) -> Decision {
        let (Some(limit), Some(address)) = (self.limit, address) else {
            return Decision::Admitted(Permit::default());
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
            refused_total.fetch_add(1, Ordering::Relaxed);
        }
        if !fits {
            return Decision::Closed;
        }
        let permit = Permit { _counted: Some(Counted { address, refused, open: Arc::clone(&self.open) }) };
        if refused { Decision::Refused(permit) } else { Decision::Admitted(permit) }
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

    fn enter(limit: &IpLimit, address: &str) -> Decision {
        limit.enter(Some(address.parse().unwrap()), &AtomicU64::new(0))
    }

    #[test]
    fn each_address_has_room_for_its_own() {
        let limit = IpLimit::new(Some(2));
        let first = enter(&limit, "192.0.2.1");
        let _second = enter(&limit, "::ffff:192.0.2.1");
        let told: Vec<_> = (0..2).map(|_| enter(&limit, "192.0.2.1")).collect();
        assert!(told.iter().all(|decision| matches!(decision, Decision::Refused(_))), "{told:?}");
        assert!(matches!(enter(&limit, "192.0.2.1"), Decision::Closed));
        assert!(matches!(enter(&limit, "192.0.2.2"), Decision::Admitted(_)));
        drop(told);
        assert!(matches!(enter(&limit, "192.0.2.1"), Decision::Refused(_)));
        drop(first);
        assert!(matches!(enter(&limit, "192.0.2.1"), Decision::Admitted(_)));
    }

    #[test]
    fn nothing_is_kept_of_closed_connections() {
        let limit = IpLimit::new(Some(1));
        let permits: Vec<_> = (0..9).map(|host| enter(&limit, &format!("192.0.2.{}", host % 3))).collect();
        assert_eq!(lock(&limit.open).len(), 3);
        drop(permits);
        assert!(lock(&limit.open).is_empty());
    }

    #[test]
    fn who_has_no_address_has_no_limit() {
        let limit = IpLimit::new(Some(1));
        let enter = || limit.enter(None, &AtomicU64::new(0));
        let all: Vec<_> = (0..9).map(|_| enter()).collect();
        assert!(all.iter().all(|decision| matches!(decision, Decision::Admitted(_))));
        assert!(lock(&limit.open).is_empty());
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let limit = IpLimit::new(None);
        let _permits: Vec<_> = (0..9).map(|_| enter(&limit, "192.0.2.1")).collect();
        assert!(lock(&limit.open).is_empty());
    }
}
