//! State on a Redis server, on whichever server Sentinels call the master, or on
//! a Redis Cluster.
//!
//! Connections come from a bounded pool. A call runs as a task of its own: when
//! its caller goes away it is finished all the same, so that no connection is
//! ever left with a reply to come, nor closed, because clients are in a hurry.
//! A connection that has failed is not returned to the pool, and one
//! that has died while idle is noticed before it is used, so that the service is
//! back with the first call after the server is.
//!
//! A command that may have been executed is never sent again: what counts, would
//! count twice. One that a server has refused because another one is in charge
//! now is sent to that one, a few times; a failover that takes longer is the
//! caller's to wait for.
//!
//! `rediss://` trusts the authorities that the system trusts, or those in the
//! file that `SSL_CERT_FILE` names.

mod connect;
mod fault;
mod sentinel;
mod url;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool::Runtime;
use deadpool::managed::{Object, Pool, PoolConfig, Timeouts};
use deadpool_redis::redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, cmd};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::{CALL_LIMIT, Key, StateStore, StoreError};
use connect::{CHECK_LIMIT, CONNECT_LIMIT, Connector, Link, REPLY_LIMIT};
use shared_protocol::StoreKind;
pub use url::{RedisUrl, RedisUrlError};

/// Connections of one process, in a cluster to each node.
const POOL_SIZE: usize = 8;
/// Calls that may be under way, most of which wait for a connection.
const MAX_CALLS: usize = 2048;
/// How often a command is sent that servers refuse because they are not, or not
/// yet, in charge; then the caller is told, so that calls that fail for seconds
/// take no connections from those that do not.
const ATTEMPTS: usize = 4;
/// Between two of these attempts.
const PAUSE: Duration = Duration::from_millis(30);
/// In a cluster, the node that would have it is asked how the cluster is.
const HEALTH_KEY: &str = "cluster:health";

pub struct RedisStore {
    pool: Pool<Connector>,
    /// One permit for each call.
    calls: Arc<Semaphore>,
}

impl RedisStore {
    /// Connects on first use: no server need be there yet.
    ///
    /// # Errors
    /// When the URL asks for something that this build cannot do.
    pub fn open(url: &RedisUrl) -> Result<Self, StoreError> {
        // Fails only when one is installed already, which will do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |reason: String| StoreError::Open { place: url.to_string(), reason };
        let connector = Connector::new(&url.servers).map_err(|err| failed(err.category().to_owned()))?;
        let timeouts = Timeouts {
            wait: Some(CALL_LIMIT),
            create: Some(CONNECT_LIMIT + REPLY_LIMIT),
            recycle: Some(CHECK_LIMIT),
        };
        let pool = Pool::builder(connector)
            .config(PoolConfig { timeouts, ..PoolConfig::new(POOL_SIZE) })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|err| failed(err.to_string()))?;
        Ok(Self { pool, calls: Arc::new(Semaphore::new(MAX_CALLS)) })
    }

    /// `key` is the one that `command` is about.
    async fn run<T>(&self, key: &str, command: Cmd) -> Result<T, StoreError>
    where
        T: FromRedisValue + Send + 'static,
    {
        let unavailable = |reason: &str| StoreError::Unavailable(reason.to_owned());
        let permit = Arc::clone(&self.calls)
            .try_acquire_owned()
            .map_err(|_| unavailable("too many calls wait for Redis"))?;
        let pool = self.pool.clone();
        let key = key.to_owned();
        let call = tokio::spawn(async move {
            let _permit = permit;
            tokio::time::timeout(CALL_LIMIT, call(&pool, &key, &command)).await
        });
        match call.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(fault::no_answer()),
            Err(_) => Err(unavailable("the call was given up")),
        }
    }
}

async fn call<T: FromRedisValue>(pool: &Pool<Connector>, key: &str, command: &Cmd) -> Result<T, StoreError> {
    let mut attempts = ATTEMPTS;
    loop {
        let mut link = Held::get(pool, key).await?;
        let err = match link.query(key, command).await {
            Err(err) if err.kind() == ErrorKind::Server(ServerErrorKind::Ask) => {
                // It is held meanwhile, as calls may have no more connections than
                // the pool has.
                let reply = pool.manager().ask(err, command).await;
                link.keep();
                return reply.map_err(|err| fault::of_command(&err));
            }
            Err(err) => err,
            Ok(reply) => {
                link.keep();
                return Ok(reply);
            }
        };
        if fault::spares_connection(&err) {
            link.keep();
        }
        attempts -= 1;
        if attempts == 0 || !fault::was_refused(&err) {
            return Err(fault::of_command(&err));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A connection that is closed when it is dropped, as a call that is given up
/// does, unless something good has been said about it.
struct Held {
    link: Option<Object<Connector>>,
}

impl Held {
    async fn get(pool: &Pool<Connector>, key: &str) -> Result<Self, StoreError> {
        loop {
            let link = pool.get().await.map_err(fault::of_pool)?;
            let used_before = Object::metrics(&link).recycle_count > 0;
            let mut held = Self { link: Some(link) };
            if !used_before || held.link().reaches(key).await {
                return Ok(held);
            }
        }
    }

    fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("it is there until this is dropped")
    }

    async fn query<T: FromRedisValue>(&mut self, key: &str, command: &Cmd) -> RedisResult<T> {
        self.link().query(key, command).await
    }

    fn keep(mut self) {
        self.link = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            drop(Object::take(link));
        }
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
        self.run(key.stored(), command).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Box<RawValue>>, StoreError> {
        let text: Option<Vec<u8>> = self.run(key.stored(), cmd("GET").arg(key.stored()).take()).await?;
        text.map(|text| {
            let text = String::from_utf8(text).ok()?;
            RawValue::from_string(text).ok()
        })
        .map(|value| value.ok_or_else(|| StoreError::Corrupt("it is not JSON".to_owned())))
        .transpose()
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let deleted: u64 = self.run(key.stored(), cmd("DEL").arg(key.stored()).take()).await?;
        Ok(deleted > 0)
    }

    async fn increment(&self, key: &Key, by: i64) -> Result<i64, StoreError> {
        match self.run(key.stored(), cmd("INCRBY").arg(key.stored()).arg(by).take()).await {
            Err(StoreError::Corrupt(_)) => Err(StoreError::NotAnInteger),
            result => result,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        if !self.pool.manager().is_cluster() {
            return self.run(HEALTH_KEY, cmd("PING")).await;
        }
        let state: String = self.run(HEALTH_KEY, cmd("CLUSTER").arg("INFO").take()).await?;
        match state.contains("cluster_state:ok") {
            true => Ok(()),
            false => Err(StoreError::Unavailable("the Redis Cluster says that it is down".to_owned())),
        }
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }
}
