//! What the operating system knows of the programs of the cluster: their processes
//! and what these use, their death with their parent, the signals that reach them, the
//! descriptors that they may open, what the machine has left, what they inherit, and the ports that are reserved for
//! them.

pub mod descriptors;
pub mod guard;
pub mod handshakes;
pub mod headroom;
pub mod inherited;
pub mod job_control;
pub mod listener;
pub mod pidfd;
pub mod port;
pub mod signals;
pub mod sockets;
pub mod tree;
pub mod unix_socket;
pub mod users;
