//! What the operating system knows of the programs of the cluster: ports that are
//! reserved for them.

pub mod port;
