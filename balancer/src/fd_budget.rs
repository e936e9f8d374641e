//! File descriptors: how many there may be, and who may use them.
//!
//! Idle clients must never use up what the supervisor needs to probe and to
//! start workers, so their connections are bounded below the process's limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the program itself: log, event loops, listening sockets, stores.
const OWN: u64 = 64;
/// For each worker: its output, its channel, its port, a probe, and the same again while
/// it is being replaced.
const PER_WORKER: u64 = 8;
/// For each client: its connection, and the one to its worker.
const PER_CLIENT: u64 = 2;
/// With room for fewer clients a cluster is of no use.
const FEWEST_CLIENTS: u64 = 16;
/// Workers that a cluster may be scaled to, if it does not begin with more.
const ROOM_TO_GROW: u32 = 128;
/// Room to grow is kept only if so many clients find room as well.
const PLENTY_OF_CLIENTS: usize = 512;
/// What no limit counts as.
const PLENTY: u64 = 1 << 20;

/// Raises the soft limit to the hard one, which needs no privilege
/// (getrlimit(2), `RLIMIT_NOFILE`), and returns what holds now.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    limit.unwrap_or(PLENTY).min(PLENTY)
}

/// How many client connections fit below `limit` beside `workers` workers.
///
/// # Errors
/// When hardly any do; says what limit would be enough.
pub(crate) fn client_connections(limit: u64, workers: u32) -> Result<usize, TooFew> {
    let reserved = OWN + PER_WORKER * u64::from(workers);
    let clients = limit.saturating_sub(reserved) / PER_CLIENT;
    if clients < FEWEST_CLIENTS {
        return Err(TooFew { limit, workers, needed: reserved + PER_CLIENT * FEWEST_CLIENTS });
    }
    Ok(usize::try_from(clients).unwrap_or(usize::MAX))
}

/// Divides `limit` between clients and workers: how many client connections,
/// and how many workers the cluster may be scaled to.
///
/// # Errors
/// As [`client_connections`].
pub(crate) fn share(limit: u64, workers: u32) -> Result<(usize, usize), TooFew> {
    let room_to_grow = workers.saturating_mul(2).max(ROOM_TO_GROW);
    match client_connections(limit, room_to_grow) {
        Ok(clients) if clients >= PLENTY_OF_CLIENTS => Ok((clients, room_to_grow as usize)),
        _ => Ok((client_connections(limit, workers)?, workers as usize)),
    }
}

/// As many client connections as there `can` be, or as were `asked` for.
///
/// # Errors
/// When that is more than there can be.
pub(crate) fn bounded(can: usize, asked: Option<usize>) -> Result<usize, TooMany> {
    match asked {
        Some(asked) if asked > can => Err(TooMany { asked, can }),
        Some(asked) => Ok(asked),
        None => Ok(can),
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asked} client connections are more than the limit of file descriptors leaves room for, which is {can} \
     (raise it, for example with ulimit -n 65536, or lower --max-connections)"
)]
pub(crate) struct TooMany {
    asked: usize,
    can: usize,
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
        assert_eq!(client_connections(1024, 4), Ok((1024 - 64 - 32) / 2));
        assert_eq!(client_connections(PLENTY, 512), Ok((PLENTY as usize - 64 - 4096) / 2));
    }

    #[test]
    fn room_to_grow_is_kept_where_there_is_plenty() {
        assert_eq!(share(1 << 16, 4).unwrap().1, 128);
        assert_eq!(share(1 << 16, 200).unwrap().1, 400);
        assert_eq!(share(1024, 4), Ok(((1024 - 64 - 32) / 2, 4)));
        assert!(share(64, 4).is_err());
    }

    #[test]
    fn fewer_connections_may_be_asked_for_and_not_more() {
        assert_eq!(bounded(100, None), Ok(100));
        assert_eq!(bounded(100, Some(7)), Ok(7));
        let err = bounded(100, Some(101)).unwrap_err().to_string();
        assert!(err.contains("--max-connections") && err.contains("which is 100"), "{err}");
    }

    #[test]
    fn too_small_a_limit_is_refused_with_what_would_do() {
        let err = client_connections(128, 60).unwrap_err();
        assert_eq!(err.needed, 64 + 480 + 32);
        assert!(err.to_string().contains("60 workers need at least 576"), "{err}");
        assert!(client_connections(err.needed, 60).is_ok());
    }
}
