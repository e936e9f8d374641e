//! Connections to workers.

mod connection;
pub(crate) mod idle_pool;

pub(crate) use connection::Upstream;
