//! Temporary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    Crash,
    Hang,
    SlowStart,
    PortTaken,
    Reload,
    MaxMemory,
    MaxRequests,
    MaxLifetime,
}
