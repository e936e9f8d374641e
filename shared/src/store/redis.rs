//! State on a Redis server.
//!
//! Connections come from a bounded pool. A call runs as a task of its own: when
//! its caller goes away it is finished all the same, so that no connection is
//! ever left with a reply to come, nor closed, because clients are in a hurry.
//! A connection that has failed is not returned to the pool, and one
//! that has died while idle is noticed before it is used, so that the service is
//! back with the first call after the server is.
//!
//! `rediss://` trusts the authorities that the system trusts, or those in the
//! file that `SSL_CERT_FILE` names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError,
    ServerErrorKind, cmd,
};
use deadpool_redis::{Connection, Manager, Pool, PoolConfig, PoolError, Runtime, TimeoutType, Timeouts};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::{CALL_LIMIT, Key, StateStore, StoreError};
use crate::protocol::StoreKind;

/// Connections of one process.
const POOL_SIZE: usize = 8;
/// Calls that may be under way, most of which wait for a connection.
const MAX_CALLS: usize = 2048;
/// Longest wait for a TCP or TLS connection.
const CONNECT_LIMIT: Duration = Duration::from_millis(800);
/// Longest wait for the reply to one command.
const REPLY_LIMIT: Duration = Duration::from_millis(1000);
/// Longest check of an idle connection before it is used again. Shorter, so that
/// time is left for a new connection if the old one's peer has vanished.
const CHECK_LIMIT: Duration = Duration::from_millis(500);

/// A checked `REDIS_URL`. What it prints as has no password.
#[derive(Clone)]
pub struct RedisUrl {
    text: String,
    info: Box<ConnectionInfo>,
}

impl RedisUrl {
    const SCHEMES: [&'static str; 4] = ["redis", "rediss", "redis+unix", "unix"];

    /// # Errors
    /// Says what is wrong, without any part of the URL that could be secret.
    pub fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, _) = text.split_once("://").ok_or(RedisUrlError::Scheme)?;
        if !Self::SCHEMES.contains(&scheme) {
            return Err(RedisUrlError::Scheme);
        }
        if text.ends_with("#insecure") {
            return Err(RedisUrlError::Insecure);
        }
        let info = text.into_connection_info().map_err(|err| RedisUrlError::Invalid(described(&err)))?;
        if info.redis_settings().db() < 0 {
            return Err(RedisUrlError::Invalid("the database number is negative".to_owned()));
        }
        Ok(Self { text: text.to_owned(), info: Box::new(info) })
    }

    /// The whole URL, password included, to hand to another process.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RedisUrl {}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.text.split_once("://").map_or("redis", |(scheme, _)| scheme);
        write!(f, "{scheme}://{}, database {}", self.info.addr(), self.info.redis_settings().db())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    #[error("it must begin with redis://, rediss://, redis+unix:// or unix://")]
    Scheme,
    #[error("#insecure is not supported; name the server's authority in SSL_CERT_FILE instead")]
    Insecure,
    #[error("{0}")]
    Invalid(String),
}

/// The driver's fixed texts; its details could repeat the URL.
fn described(err: &RedisError) -> String {
    let text = err.to_string();
    let known = ["Missing hostname", "Invalid database number", "Missing path", "wildcard address", "UTF-8"];
    match known.iter().any(|known| text.contains(known)) {
        true => text.split(" - ").next().unwrap_or_default().to_lowercase(),
        false => "it does not parse as a URL (are special characters percent-encoded?)".to_owned(),
    }
}

pub struct RedisStore {
    pool: Pool,
    /// One permit for each call.
    calls: Arc<Semaphore>,
}

impl RedisStore {
    /// Connects on first use: the server need not be there yet.
    ///
    /// # Errors
    /// When the URL asks for something that this build cannot do.
    pub fn open(url: &RedisUrl) -> Result<Self, StoreError> {
        // Fails only when one is installed already, which will do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |reason: String| StoreError::Open { place: url.to_string(), reason };
        let connection = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(REPLY_LIMIT));
        let manager = Manager::new_with_config(ConnectionInfo::clone(&url.info), connection)
            .map_err(|err| failed(err.category().to_owned()))?;
        let timeouts = Timeouts {
            wait: Some(CALL_LIMIT),
            create: Some(CONNECT_LIMIT + REPLY_LIMIT),
            recycle: Some(CHECK_LIMIT),
        };
        let pool = Pool::builder(manager)
            .config(PoolConfig { timeouts, ..PoolConfig::new(POOL_SIZE) })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|err| failed(err.to_string()))?;
        Ok(Self { pool, calls: Arc::new(Semaphore::new(MAX_CALLS)) })
    }

    async fn run<T: FromRedisValue + Send + 'static>(&self, command: Cmd) -> Result<T, StoreError> {
        let unavailable = |reason: &str| StoreError::Unavailable(reason.to_owned());
        let permit = Arc::clone(&self.calls)
            .try_acquire_owned()
            .map_err(|_| unavailable("too many calls wait for Redis"))?;
        let pool = self.pool.clone();
        let call = tokio::spawn(async move {
            let _permit = permit;
            tokio::time::timeout(CALL_LIMIT, call(&pool, &command)).await
        });
        match call.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(no_answer()),
            Err(_) => Err(unavailable("the call was given up")),
        }
    }
}

async fn call<T: FromRedisValue>(pool: &Pool, command: &Cmd) -> Result<T, StoreError> {
    let mut connection = pool.get().await.map_err(pool_error)?;
    let result = command.query_async(&mut connection).await;
    if let Err(err) = &result
        && (err.is_io_error() || err.is_unrecoverable_error())
    {
        drop(Connection::take(connection));
    }
    result.map_err(command_error)
}

fn no_answer() -> StoreError {
    StoreError::Unavailable("Redis gave no answer in time".to_owned())
}

fn pool_error(err: PoolError) -> StoreError {
    match err {
        PoolError::Timeout(TimeoutType::Wait) => {
            StoreError::Unavailable("all connections to Redis are in use".to_owned())
        }
        PoolError::Timeout(_) => no_answer(),
        PoolError::Backend(err) => command_error(err),
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn command_error(err: RedisError) -> StoreError {
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
        ErrorKind::Extension if err.code() == Some("WRONGTYPE") => {
            StoreError::Corrupt("the key holds no string but another type of Redis".to_owned())
        }
        ErrorKind::Extension if err.code() == Some("OOM") => StoreError::Full(detail.to_owned()),
        _ => StoreError::Unavailable(err.to_string()),
    }
}

#[async_trait]
impl StateStore for RedisStore {
    async fn set(&self, key: &Key, value: &RawValue, ttl: Option<Duration>) -> Result<(), StoreError> {
        let mut command = cmd("SET");
        command.arg(key.stored()).arg(value.get());
        if let Some(ttl) = ttl {
            command.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        }
        self.run(command).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Box<RawValue>>, StoreError> {
        let text: Option<Vec<u8>> = self.run(cmd("GET").arg(key.stored()).take()).await?;
        text.map(|text| {
            let text = String::from_utf8(text).ok()?;
            RawValue::from_string(text).ok()
        })
        .map(|value| value.ok_or_else(|| StoreError::Corrupt("it is not JSON".to_owned())))
        .transpose()
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let deleted: u64 = self.run(cmd("DEL").arg(key.stored()).take()).await?;
        Ok(deleted > 0)
    }

    async fn increment(&self, key: &Key, by: i64) -> Result<i64, StoreError> {
        match self.run(cmd("INCRBY").arg(key.stored()).arg(by).take()).await {
            Err(StoreError::Corrupt(_)) => Err(StoreError::NotAnInteger),
            result => result,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.run(cmd("PING")).await
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_all_kinds() {
        for (text, shown) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379, database 0"),
            ("redis://:secret@db.internal:7000/3", "redis://db.internal:7000, database 3"),
            ("rediss://user:secret@[::1]:6380/1", "rediss://::1:6380, database 1"),
            ("redis+unix:///run/redis.sock?db=2&pass=secret", "redis+unix:///run/redis.sock, database 2"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock, database 0"),
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.expose(), text);
            assert!(!format!("{url:?}").contains("secret"));
        }
    }

    #[test]
    fn bad_urls_are_refused_without_their_password() {
        for text in [
            "",
            "localhost:6379",
            "http://:secret@host",
            "redis://:secret",
            "redis://:se/cret@host",
            "redis://:secret@host:notaport",
            "redis://:secret@host/notanumber",
            "redis://:secret@host/-1",
            "redis://:secret@0.0.0.0",
            "rediss://:secret@host/#insecure",
            "rediss://:secret@host/#secret",
            "redis+unix://?pass=secret",
            "redis+unix://host/path?pass=secret",
        ] {
            let err = RedisUrl::parse(text).expect_err(text).to_string();
            assert!(!err.contains("secret") && !err.contains("cret@"), "{text}: {err}");
        }
        let reason = |text: &str| RedisUrl::parse(text).unwrap_err().to_string();
        assert!(reason("redis://h/x").contains("database number"), "{}", reason("redis://h/x"));
        assert!(reason("redis://0.0.0.0").contains("wildcard"), "{}", reason("redis://0.0.0.0"));
        assert!(reason("http://h").contains("must begin with redis://"));
    }
}
