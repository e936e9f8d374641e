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
mod clock;
mod effects;
pub mod executable;
mod handle;
mod measure;
pub mod notify;
mod oom;
pub mod output;
mod port;
pub mod probe;
pub mod process;
pub mod reaper;
mod running;
pub mod shim;
mod supervisor;
mod system;

pub use balancer_fleet::{Limits, RecyclePolicy, ScaleTo, Settings, StartPolicy};
pub use handle::{Command, Handle, NotTaken, ProgressSender};
pub use supervisor::Supervisor;
pub use system::{Machine, System};
