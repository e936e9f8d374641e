//! Settings: the command line, then the environment, then `.env`, then `cluster.toml`,
//! then the default.
//!
//! [`definitions`] has one definition for each setting of the balancer and the
//! worker. Everything else follows from it: the flag and its help ([`Flags`]),
//! the value with its default ([`Settings::get`]), errors that name the source of
//! a wrong value ([`ConfigError`]), `.env.example` and `docs/configuration.md`
//! (`tests/generated.rs`). A new setting is two edits: its definition and its use.
//!
//! An empty variable counts as unset, as it does in Compose files.

mod address;
mod changes;
pub mod control;
mod definition;
pub mod definitions;
pub mod dotenv;
pub mod env_file;
mod error;
mod file;
mod flags;
pub mod listen;
mod listeners;
mod origin;
mod parse;
mod resolve;
mod sources;

pub use address::{describe_bind_error, reachable_address};
pub use changes::SettingChange;
pub use definition::{DefaultText, Definition, Group, Optional, Programs, Setting};
pub use error::ConfigError;
pub use flags::{Balancer, Flags, TakenFlags, Worker};
pub use listeners::Listeners;
pub use origin::{Level, Origin};
pub use parse::{Admin, ClusterMode, DrainSignal, ReloadMode, WorkerNumber};
pub use resolve::Settings;

/// The admin listener's default port is this far above the port for clients.
pub const ADMIN_PORT_OFFSET: u16 = 80;

/// Where a cluster with default settings serves clients.
pub fn default_url() -> String {
    let (host, port) = (definitions::HOST.default_text(), definitions::PORT.default_text());
    format!("http://{host}:{port}")
}
