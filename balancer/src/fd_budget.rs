//! The budget of file descriptors: how many client connections and workers the
//! process's limit allows.
//!
//! Idle clients must never use up the descriptors with which the supervisor probes
//! and starts workers, so the number of their connections is bounded below the limit.

/// Descriptors of the program itself: log, event loops, listening sockets, stores.
const OWN: u64 = 64;
/// Descriptors for each worker: its output, its channel, its port, a probe, and the
/// same again while it is being replaced.
const PER_WORKER: u64 = 8;
/// Descriptors for each client: its connection, and the one to its worker.
const PER_CLIENT: u64 = 2;
/// A cluster that can serve fewer clients than this is of no use.
const MIN_CLIENTS: u64 = 16;
/// Number of workers that any cluster may be scaled to, where the limit allows it.
const SCALABLE_WORKERS: u32 = 128;
/// Descriptors are reserved for further workers only if they leave this many clients.
const AMPLE_CLIENTS: usize = 512;
/// A limit above this one, or none, counts as this one.
const MAX_LIMIT: u64 = 1 << 20;

/// What the limit of file descriptors allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FdBudget {
    /// Client connections at a time.
    pub(crate) connections: usize,
    /// Workers that the cluster may be scaled to.
    pub(crate) max_workers: usize,
}

impl FdBudget {
    /// Divides `limit` between clients and workers, of which there are `workers` at first.
    ///
    /// # Errors
    /// When hardly any client connection is left; says which limit is enough.
    pub(crate) fn new(limit: Option<u64>, workers: u32) -> Result<Self, TooFew> {
        let limit = limit.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        let max_workers = workers.saturating_mul(2).max(SCALABLE_WORKERS);
        match connections(limit, max_workers) {
            Ok(connections) if connections >= AMPLE_CLIENTS => {
                Ok(Self { connections, max_workers: max_workers as usize })
            }
            _ => Ok(Self { connections: connections(limit, workers)?, max_workers: workers as usize }),
        }
    }

    /// The same with `descriptors` for listeners besides the first one, of which each serving
    /// thread has a socket.
    pub(crate) fn with_listeners(self, descriptors: usize) -> Self {
        let clients = descriptors.div_ceil(PER_CLIENT as usize);
        Self { connections: self.connections.saturating_sub(clients).max(1), ..self }
    }

    /// The same with `max_connections`, if somebody has asked for such a limit.
    ///
    /// # Errors
    /// When that is more than the budget allows.
    pub(crate) fn with_max_connections(self, max_connections: Option<usize>) -> Result<Self, TooMany> {
        match max_connections {
            None => Ok(self),
            Some(asked) if asked > self.connections => Err(TooMany { asked, allowed: self.connections }),
            Some(connections) => Ok(Self { connections, ..self }),
        }
    }
}

/// Number of client connections that `limit` allows beside `workers` workers.
fn connections(limit: u64, workers: u32) -> Result<usize, TooFew> {
    let reserved = OWN + PER_WORKER * u64::from(workers);
    let clients = limit.saturating_sub(reserved) / PER_CLIENT;
    if clients < MIN_CLIENTS {
        return Err(TooFew { limit, workers, needed: reserved + PER_CLIENT * MIN_CLIENTS });
    }
    Ok(usize::try_from(clients).unwrap_or(usize::MAX))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asked} client connections are more than the limit of file descriptors allows, which is {allowed} \
     (raise it, for example with ulimit -n 65536, or lower --max-connections)"
)]
pub(crate) struct TooMany {
    asked: usize,
    allowed: usize,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{workers} workers need at least {needed} file descriptors, and the limit is {limit} \
     (raise it, for example with ulimit -n 4096, or ask for fewer workers)"
)]
pub(crate) struct TooFew {
    limit: u64,
    workers: u32,
    needed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_workers_leave() {
        assert_eq!(connections(1024, 4), Ok((1024 - 64 - 32) / 2));
        assert_eq!(connections(MAX_LIMIT, 512), Ok((MAX_LIMIT as usize - 64 - 4096) / 2));
    }

    #[test]
    fn further_workers_are_provided_for_where_the_limit_is_ample() {
        let max_workers = |workers| FdBudget::new(Some(1 << 16), workers).unwrap().max_workers;
        assert_eq!((max_workers(4), max_workers(200)), (128, 400));
        let small = FdBudget { connections: (1024 - 64 - 32) / 2, max_workers: 4 };
        assert_eq!(FdBudget::new(Some(1024), 4), Ok(small));
        assert!(FdBudget::new(Some(64), 4).is_err());
    }

    #[test]
    fn fewer_connections_may_be_asked_for_and_not_more() {
        let budget = FdBudget { connections: 100, max_workers: 4 };
        assert_eq!(budget.with_max_connections(None), Ok(budget));
        assert_eq!(budget.with_max_connections(Some(7)).unwrap().connections, 7);
        let err = budget.with_max_connections(Some(101)).unwrap_err().to_string();
        assert!(err.contains("--max-connections") && err.contains("which is 100"), "{err}");
    }

    #[test]
    fn further_listeners_take_their_part() {
        let budget = FdBudget { connections: 100, max_workers: 4 };
        assert_eq!(budget.with_listeners(0), budget);
        assert_eq!(budget.with_listeners(9).connections, 95);
        assert_eq!(budget.with_listeners(900).connections, 1);
    }

    #[test]
    fn too_small_a_limit_is_refused_with_one_that_is_enough() {
        let err = FdBudget::new(Some(128), 60).unwrap_err();
        assert_eq!(err.needed, 64 + 480 + 32);
        assert!(err.to_string().contains("60 workers need at least 576"), "{err}");
        assert!(FdBudget::new(Some(err.needed), 60).is_ok());
    }
}
