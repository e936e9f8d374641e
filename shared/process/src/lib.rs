//! What the operating system knows of the programs of the cluster: their processes
//! and what these use, their death with their parent, the descriptors that they may
//! open, what they inherit, and the ports that are reserved for them.

pub mod descriptors;
pub mod guard;
pub mod inherited;
pub mod listener;
pub mod port;
pub mod sockets;
pub mod tree;
