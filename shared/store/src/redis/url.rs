//! `REDIS_URL`: one server, or the way to a server that may change.
//!
//! - `redis://`, `rediss://`, `redis+unix://`: one server
//! - `redis+sentinel://host:port,…/master/db`: the server that the Sentinels
//!   call the master at the moment
//! - `redis+cluster://host:port,…`: the nodes of a Redis Cluster
//!
//! The last two also as `rediss+…`, with TLS to everybody. User and password
//! are those of the servers; Sentinels that want some have parameters of their own.

use std::fmt;

use deadpool_redis::redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError};

const SENTINEL_PORT: u16 = 26379;
const CLUSTER_PORT: u16 = 6379;
/// More is taken for a mistake.
const MAX_HOSTS: usize = 64;

/// A checked `REDIS_URL`. What it prints as has no password.
#[derive(Clone)]
pub struct RedisUrl {
    text: String,
    pub(super) servers: Servers,
}

#[derive(Clone)]
pub(super) enum Servers {
    One(Box<ConnectionInfo>),
    Sentinel(Box<SentinelServers>),
    Cluster(Vec<ConnectionInfo>),
}

#[derive(Clone)]
pub(super) struct SentinelServers {
    pub(super) sentinels: Vec<ConnectionInfo>,
    pub(super) master: String,
    /// User, password and database of the master, whoever it is.
    pub(super) settings: RedisConnectionInfo,
    pub(super) tls: bool,
}

impl RedisUrl {
    /// # Errors
    /// Says what is wrong, without any part of the URL that could be secret.
    pub fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::Scheme)?;
        if rest.ends_with("#insecure") {
            return Err(RedisUrlError::Insecure);
        }
        let servers = match scheme {
            "redis" | "rediss" | "redis+unix" | "unix" => Servers::One(Box::new(one(text)?)),
            "redis+sentinel" => sentinel(rest, "redis")?,
            "rediss+sentinel" => sentinel(rest, "rediss")?,
            "redis+cluster" => cluster(rest, "redis")?,
            "rediss+cluster" => cluster(rest, "rediss")?,
            _ => return Err(RedisUrlError::Scheme),
        };
        Ok(Self { text: text.to_owned(), servers })
    }

    /// Not Sentinels or a cluster, through which a server has to be found.
    pub fn names_one_server(&self) -> bool {
        matches!(self.servers, Servers::One(_))
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
        let hosts = |nodes: &[ConnectionInfo]| {
            nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>().join(",")
        };
        match &self.servers {
            Servers::One(info) => {
                write!(f, "{scheme}://{}, database {}", info.addr(), info.redis_settings().db())
            }
            Servers::Sentinel(servers) => {
                let (hosts, database) = (hosts(&servers.sentinels), servers.settings.db());
                write!(f, "{scheme}://{hosts}, master {}, database {database}", servers.master)
            }
            Servers::Cluster(nodes) => write!(f, "{scheme}://{}", hosts(nodes)),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    #[error(
        "it must begin with redis://, rediss://, redis+unix:// or unix://, with redis+sentinel:// or \
         rediss+sentinel://, or with redis+cluster:// or rediss+cluster://"
    )]
    Scheme,
    #[error("#insecure is not supported; name the server's authority in SSL_CERT_FILE instead")]
    Insecure,
    #[error("{0}")]
    Invalid(String),
}

fn invalid(reason: &str) -> RedisUrlError {
    RedisUrlError::Invalid(reason.to_owned())
}

fn one(text: &str) -> Result<ConnectionInfo, RedisUrlError> {
    let info = text.into_connection_info().map_err(|err| RedisUrlError::Invalid(described(&err)))?;
    if info.redis_settings().db() < 0 {
        return Err(invalid("the database number is negative"));
    }
    Ok(info)
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

/// The parts of a URL with several hosts, all still percent-encoded.
struct Parts<'a> {
    /// Ends with `@`, or is empty.
    user: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, RedisUrlError> {
        if rest.contains('#') {
            return Err(invalid("it has a # (are special characters percent-encoded?)"));
        }
        let (main, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = main.split_once('/').unwrap_or((main, ""));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Ok(Self { user, hosts, path: path.strip_suffix('/').unwrap_or(path), query })
    }

    /// Each host as if it stood alone, with `user` in front and a port.
    fn nodes(&self, scheme: &str, user: &str, port: u16) -> Result<Vec<ConnectionInfo>, RedisUrlError> {
        let hosts: Vec<&str> = self.hosts.split(',').map(str::trim).collect();
        if hosts.len() > MAX_HOSTS {
            return Err(RedisUrlError::Invalid(format!("it has more than {MAX_HOSTS} hosts")));
        }
        if hosts.iter().any(|host| host.is_empty()) {
            return Err(invalid("a host is missing, as in host:port,host:port"));
        }
        let node = |host: &&str| {
            // An address of IPv6 has colons of its own, in brackets.
            let after = host.rsplit_once(']').map_or(*host, |(_, after)| after);
            let port = if after.contains(':') { String::new() } else { format!(":{port}") };
            one(&format!("{scheme}://{user}{host}{port}"))
        };
        hosts.iter().map(node).collect()
    }
}

fn sentinel(rest: &str, scheme: &str) -> Result<Servers, RedisUrlError> {
    let parts = Parts::of(rest)?;
    let (master, database) = parts.path.split_once('/').unwrap_or((parts.path, "0"));
    if master.is_empty() {
        return Err(invalid("the name of the master is missing, as in host:26379/mymaster"));
    }
    // What Sentinel itself lets a master be called.
    if !master.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) {
        return Err(invalid("the name of the master may have letters, digits and .-_ only"));
    }
    let (mut username, mut password) = ("", "");
    for parameter in parts.query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sentinel_username", value)) => username = value,
            Some(("sentinel_password", value)) => password = value,
            _ => return Err(invalid("its parameters can be sentinel_username and sentinel_password")),
        }
    }
    let user = match (username, password) {
        ("", "") => String::new(),
        (username, password) => format!("{username}:{password}@"),
    };
    let sentinels = parts.nodes(scheme, &user, SENTINEL_PORT)?;
    let settings = one(&format!("redis://{}master/{database}", parts.user))?.redis_settings().clone();
    let tls = scheme == "rediss";
    let servers = SentinelServers { sentinels, master: master.to_owned(), settings, tls };
    Ok(Servers::Sentinel(Box::new(servers)))
}

fn cluster(rest: &str, scheme: &str) -> Result<Servers, RedisUrlError> {
    let parts = Parts::of(rest)?;
    if !matches!(parts.path, "" | "0") {
        return Err(invalid("a Redis Cluster has no databases but number 0"));
    }
    if !parts.query.is_empty() {
        return Err(invalid("a redis+cluster:// URL has no parameters"));
    }
    Ok(Servers::Cluster(parts.nodes(scheme, parts.user, CLUSTER_PORT)?))
}

#[cfg(test)]
mod tests;
