//! What the supervisor and the request path write, and operators read: the registry
//! of workers, events, samples and counters; and the responses that the primary
//! makes of them in its own name.
//!
//! Nothing here starts a process or opens a socket.

pub mod acme;
pub mod certificates;
pub mod counters;
pub mod events;
pub mod faults;
pub mod handshakes;
pub mod http2;
pub mod maintenance;
pub mod output;
pub mod registry;
pub mod response;
pub mod samples;
pub mod slot_sockets;

use std::sync::Arc;

use balancer_pool::Pool;

use certificates::Certificates;
use counters::Counters;
use events::Events;
use output::Output;
use registry::Registry;
use slot_sockets::SlotSockets;

/// The shared state of one cluster. Cloning it shares it.
#[derive(Debug, Clone, Default)]
pub struct ClusterState {
    pub pool: Arc<Pool>,
    pub registry: Arc<Registry>,
    pub counters: Arc<Counters>,
    pub events: Arc<Events>,
    pub output: Arc<Output>,
    pub certificates: Arc<Certificates>,
    /// How it goes with certificates by ACME.
    pub acme: Arc<acme::Acme>,
    /// Where workers accept clients' connections themselves.
    pub slots: Option<Arc<SlotSockets>>,
}
