//! Keeps the wanted number of workers running.
//!
//! ```text
//! commands, reports, probes, time ─► supervisor ─input──► fleet: decides, touches nothing
//!                                        ▲ answers          │ effects
//!                                        └──── effects ◄────┘
//!                                               ├─► system: processes, probes, releases
//!                                               ├─► the pool
//!                                               └─► announce ─► log, events, counters, notices, progress
//! ```
//!
//! Invariants: one task owns all of this and is the only writer of the pool and the
//! registry; every decision is made by [`balancer_fleet`], which is pure; every fact is told
//! by `announce`, and nowhere else.

mod announce;
mod autoscale;
mod clock;
mod diagnosis;
pub mod direct;
pub mod directory;
mod early;
mod effects;
pub mod executable;
mod exposure;
mod handle;
mod handles;
mod load_watch;
mod look;
mod measure;
mod mixed;
pub mod notify;
mod oom;
pub mod output;
mod port;
pub mod probe;
pub mod process;
mod program;
mod readiness;
pub mod reaper;
mod reasons;
pub mod release;
mod running;
pub mod shim;
mod supervisor;
mod system;

pub use balancer_fleet::{
    DrainSignal, Limits, PortPolicy, RecyclePolicy, ScaleRange, ScaleTo, Settings, StartPolicy,
};
pub use diagnosis::last_words;
pub use handle::{Command, Handle, NotTaken, ProgressSender, Reply, Unchanged};
pub use look::Subject;
pub use supervisor::{Ended, Supervisor};
pub use system::{Machine, System};
