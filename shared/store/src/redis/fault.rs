//! What an error of the driver means for a call: may it be repeated, is the
//! connection still good, and what is the caller told?

use deadpool::managed::{PoolError, TimeoutType};
use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::StoreError;

/// The server said that it is the wrong one, or not ready, and did nothing: the
/// command may be sent again without being executed twice.
pub(super) fn was_refused(err: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(err.kind(), ErrorKind::Server(Moved | Ask | TryAgain | ClusterDown | ReadOnly | MasterDown))
}

/// May the connection be used for another command? A server that lost its role
/// is not one to stay with.
pub(super) fn spares_connection(err: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    let wrong_server = matches!(err.kind(), ErrorKind::Server(ReadOnly | MasterDown | BusyLoading));
    !(wrong_server || err.is_io_error() || err.is_unrecoverable_error())
}

pub(super) fn no_answer() -> StoreError {
    StoreError::Unavailable("Redis gave no answer in time".to_owned())
}

pub(super) fn of_pool(err: PoolError<RedisError>) -> StoreError {
    match err {
        PoolError::Timeout(TimeoutType::Wait) => {
            StoreError::Unavailable("all connections to Redis are in use".to_owned())
        }
        PoolError::Timeout(_) => no_answer(),
        PoolError::Backend(err) => of_command(&err),
        other => StoreError::Unavailable(other.to_string()),
    }
}

pub(super) fn of_command(err: &RedisError) -> StoreError {
    let detail = err.detail().unwrap_or_default();
    match err.kind() {
        ErrorKind::Io if err.is_timeout() => no_answer(),
        ErrorKind::UnexpectedReturnType => StoreError::Corrupt("it is of another type".to_owned()),
        ErrorKind::Server(ServerErrorKind::ResponseError) if detail.contains("not an integer") => {
            StoreError::NotAnInteger
        }
        ErrorKind::Server(ServerErrorKind::ResponseError) if detail.contains("overflow") => {
            StoreError::Overflow
        }
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => StoreError::Unavailable(
            "the key is on another node of a Redis Cluster (is the URL a redis+cluster:// one?)".to_owned(),
        ),
        ErrorKind::Extension if err.code() == Some("WRONGTYPE") => {
            StoreError::Corrupt("the key holds no string but another type of Redis".to_owned())
        }
        ErrorKind::Extension if err.code() == Some("OOM") => StoreError::Full(detail.to_owned()),
        _ => StoreError::Unavailable(err.to_string()),
    }
}
