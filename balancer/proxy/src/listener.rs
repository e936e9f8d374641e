//! Takes connections: one thread and one event loop per usable CPU, each serving what it
//! has accepted from a socket of its own, between which the kernel divides new
//! connections (socket(7), SO_REUSEPORT). Were all to accept from the same socket, each
//! connection would wake them all. They do so only where somebody else has the socket as well.

mod accepted;
mod acceptor;
mod handoff;
mod service;
mod slots;
mod socket;
mod threads;

pub use accepted::{AcceptedSocket, ListenerOptions};
pub use service::Service;
pub use slots::Slots;
pub use socket::{Listener, bind, bind_shared};
pub use threads::{Phase, Serving, Threads, serve};
