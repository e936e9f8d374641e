//! How connections are made and checked, for the pool: to one server, to the
//! master that Sentinels name, or to all nodes of a cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster::{ClusterClient, ClusterClientBuilder};
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, RedisError,
    RedisResult, cmd, from_redis_value, pipe,
};

use super::sentinel::Sentinel;
use super::url::Servers;

/// Longest wait for a TCP or TLS connection.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_millis(800);
/// The same for one node of a cluster. A new connection asks the nodes of the
/// URL, and then those that they name: with one that has vanished among both,
/// this passes twice.
const NODE_CONNECT_LIMIT: Duration = Duration::from_millis(400);
/// Longest wait for the reply to one command.
pub(super) const REPLY_LIMIT: Duration = Duration::from_millis(1000);
/// Longest check of an idle connection before it is used again. Shorter, so that
/// time is left for a new connection if the old one's peer has vanished.
pub(super) const CHECK_LIMIT: Duration = Duration::from_millis(500);

/// Makes connections.
pub(super) struct Connector {
    target: Target,
    config: AsyncConnectionConfig,
    checks: AtomicUsize,
}

enum Target {
    One(Client),
    Sentinel(Sentinel),
    Cluster { client: ClusterClient, seed: Box<ConnectionInfo> },
}

/// A connection.
pub(super) enum Link {
    Server {
        connection: MultiplexedConnection,
        /// The master's, if Sentinels named this server.
        term: u64,
    },
    /// It has one to each node, and knows which one has a key.
    Cluster(ClusterConnection),
}

impl Connector {
    pub(super) fn new(servers: &Servers) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(REPLY_LIMIT));
        let target = match servers {
            Servers::One(info) => Target::One(Client::open(ConnectionInfo::clone(info))?),
            Servers::Sentinel(servers) => Target::Sentinel(Sentinel::new(servers)?),
            Servers::Cluster(nodes) => Target::cluster(nodes)?,
        };
        Ok(Self { target, config, checks: AtomicUsize::new(0) })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.target, Target::Cluster { .. })
    }

    /// Runs `command`, which a node would refuse but for `ASKING`, on the node
    /// that gets the key's slot just now.
    pub(super) async fn ask<T: FromRedisValue>(&self, err: RedisError, command: &Cmd) -> RedisResult<T> {
        let Target::Cluster { seed, .. } = &self.target else { return Err(err) };
        let Some(address) = err.redirect_node().and_then(|(node, _)| address_of(node, seed.addr())) else {
            return Err(err);
        };
        let client = Client::open(ConnectionInfo::clone(seed).set_addr(address))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let mut both = pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let (reply,) = both.query_async(&mut connection).await?;
        Ok(reply)
    }
}

impl Target {
    fn cluster(nodes: &[ConnectionInfo]) -> RedisResult<Self> {
        let client = ClusterClientBuilder::new(nodes.iter().cloned())
            .connection_timeout(NODE_CONNECT_LIMIT)
            .response_timeout(REPLY_LIMIT)
            // The driver would also repeat a command that a lost node may have
            // executed, and count twice. What is safe is repeated by the store.
            .retries(0)
            .build()?;
        let seed = nodes.first().cloned().expect("a URL has at least one host");
        Ok(Self::Cluster { client, seed: Box::new(seed) })
    }
}

/// `host:port` as a node writes it, reached in the same way as `seed`.
fn address_of(node: &str, seed: &ConnectionAddr) -> Option<ConnectionAddr> {
    let (host, port) = node.rsplit_once(':')?;
    let (host, port) = (host.to_owned(), port.parse().ok()?);
    match seed {
        ConnectionAddr::TcpTls { insecure, .. } => {
            Some(ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None })
        }
        _ => Some(ConnectionAddr::Tcp(host, port)),
    }
}

impl managed::Manager for Connector {
    type Type = Link;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<Link> {
        let master;
        let (client, term) = match &self.target {
            Target::One(client) => (client, 0),
            Target::Sentinel(sentinel) => {
                master = sentinel.master().await?;
                (&master.client, master.term)
            }
            Target::Cluster { client, .. } => return Ok(Link::Cluster(client.get_async_connection().await?)),
        };
        let connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        Ok(Link::Server { connection, term })
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<RedisError> {
        // Which node of a cluster matters is known only with the key.
        let Link::Server { connection, term } = link else { return Ok(()) };
        if let Target::Sentinel(sentinel) = &self.target
            && sentinel.term() != *term
        {
            return Err(RecycleError::message("another server is the master now"));
        }
        let check = self.checks.fetch_add(1, Ordering::Relaxed).to_string();
        let reply: String = cmd("PING").arg(&check).query_async(connection).await?;
        match reply == check {
            true => Ok(()),
            false => Err(RecycleError::message("the reply is another one's")),
        }
    }
}

impl Link {
    /// Does the node that has `key` answer? The others do not matter.
    pub(super) async fn reaches(&mut self, key: &str) -> bool {
        let Self::Cluster(connection) = self else { return true };
        let ping = connection.route_command(cmd("PING"), node_of(key));
        matches!(tokio::time::timeout(CHECK_LIMIT, ping).await, Ok(Ok(_)))
    }

    /// Runs `command` where `key` is.
    pub(super) async fn query<T: FromRedisValue>(&mut self, key: &str, command: &Cmd) -> RedisResult<T> {
        let reply = match self {
            Self::Server { connection, .. } => connection.req_packed_command(command).await?,
            Self::Cluster(connection) => connection.route_command(command.clone(), node_of(key)).await?,
        };
        Ok(from_redis_value(reply.extract_error()?)?)
    }
}

fn node_of(key: &str) -> RoutingInfo {
    RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master)))
}
