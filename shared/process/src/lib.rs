//! What the operating system knows of the programs of the cluster: their processes
//! and what these use, and the ports that are reserved for them.

pub mod port;
pub mod tree;
