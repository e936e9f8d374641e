//! The request path: which requests the balancer answers itself, which worker gets a
//! request, and what happens when that worker fails.
//!
//! ```text
//! listener ─► service ─► connection: admission (ip_limit), one request after the other
//!   └─► request: head ─► RequestContext ─► own response, or
//!         └─► attempts: pick a worker, retry (policy, retry_budget)
//!               └─► exchange with one worker (upstream): upload ║ download, or tunnel
//! ```
//!
//! What goes wrong is a [`fault`] of a worker or a rejection: it is counted, said
//! ([`fault_log`]) and marked in the access log.
//!
//! Pingora carries the connections to workers (its connectors and streams). Messages
//! are read and written by [`balancer_http1`], because every byte of a head has to be
//! checked anyway, and doing it once makes this path as fast as a proxy in C. One task
//! does everything for one client: nothing is handed between threads, and no lock is
//! taken.
//!
//! A client speaks HTTP/1 ([`client`]) or HTTP/2 ([`http2`]), whose streams become client
//! streams of one request each; within TLS or without ([`handshake`]).

mod affinity;
mod attempts;
mod block_buffer;
mod body_reader;
mod buffer_memory;
mod client;
mod compression;
mod connection;
mod context;
mod cookies;
mod download;
mod error;
mod exchange;
mod fault;
mod fault_log;
mod field;
pub mod forwarded;
mod handshake;
mod hash_key;
pub mod headers;
mod http2;
mod ip_limit;
mod limits;
pub mod listener;
mod log_fields;
mod open_requests;
mod pages;
mod policy;
mod proxy;
mod proxy_header;
mod proxy_protocol;
mod read_ahead;
mod read_buffer;
mod receive;
mod redirect;
mod request;
mod request_line;
mod responses;
mod retry_budget;
mod service;
mod stall;
pub mod sticky;
mod text;
mod timer;
mod trace_context;
mod tunnel;
mod upload;
mod upstream;
mod weight;
mod write_buffer;

pub use affinity::AffinitySource;
pub use compression::{Coding, Codings, Rewrite};
pub use field::ProxyField;
pub use hash_key::HashKeySource;
pub use limits::{Http2, ProxyLimits};
pub use open_requests::OpenRequests;
pub use pages::{ErrorPages, PageSet, PageSetError};
pub use proxy::Proxy;
pub use proxy_protocol::ProxySources;
pub use redirect::{AcmeChallenges, Redirect};
