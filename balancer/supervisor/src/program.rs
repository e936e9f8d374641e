//! What runs as workers.

use std::ffi::OsString;

use balancer_fleet::PortPolicy;

/// What runs as a worker.
#[derive(Debug, Clone)]
pub enum Program {
    /// This executable's own.
    Bundled,
    /// A command line of the user's.
    Command(Vec<OsString>),
}

impl Program {
    /// How processes of this program get their ports.
    pub fn port_policy(&self) -> PortPolicy {
        match self {
            Self::Bundled => PortPolicy::Own,
            Self::Command(_) => PortPolicy::TOLD,
        }
    }
}
