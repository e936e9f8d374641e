//! Another balancer succeeds this one without closing its ports: another version, other
//! flags, or both.
//!
//! ```text
//! predecessor                               successor (its child)
//!   starts it with all listening sockets ──► reads its configuration, has the sockets
//!   Handover ──────────────────────────────► starts workers of its own
//!   tells the requester ◄────────────────── Configured, Online, Ready (or Failed)
//!   TAKE_OVER ─────────────────────────────► accepts connections, owns the files
//!   accepts no more, drains, ends ◄───────── Serving
//! ```
//!
//! Until `Serving` the predecessor owns everything: whatever becomes of the successor, it
//! kills it and goes on. When the predecessor dies before that, the successor takes over at
//! once. Both accept from the same sockets, so nothing that waits in a queue is lost.

mod channel;
mod estate;
mod invocation;
mod last_words;
mod launch;
mod predecessor;
mod stub;
mod successor;

pub(crate) use estate::{Estate, Legacy};
pub(crate) use invocation::Invocation;
pub(crate) use predecessor::{Parts, Predecessor, Succeeded};
pub(crate) use stub::{SUBCOMMAND, run as run_stub};
pub(crate) use successor::{Start, Successor, fail};

/// The name of the descriptor by which a successor and its predecessor talk.
pub(crate) const CHANNEL: &str = "upgrade";
