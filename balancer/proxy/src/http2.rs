//! Connections of clients that speak HTTP/2 (RFC 9113).
//!
//! The `h2` crate reads and writes frames. Each of its streams becomes the byte stream of
//! one HTTP/1.1 request ([`crate::client`]), so that rules, limits, retries, errors and logs
//! are those of the one request path. One task drives the connection, and one each stream.
//!
//! Invariant: a client can make the balancer hold only a bounded amount of memory and keep
//! only a bounded amount of work going, whatever frames it sends ([`bounds`], [`meter`]).

mod bounds;
mod bucket;
mod drain;
mod driver;
mod meter;
mod preface;
mod serve;
mod state;

pub(crate) use drain::begin as drain;
pub(crate) use preface::is_preface;
pub(crate) use serve::{refuse, serve};
