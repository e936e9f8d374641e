//! Connections to workers.

mod body;
mod connection;
pub(crate) mod idle_pool;

pub(crate) use connection::Upstream;
