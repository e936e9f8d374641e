//! Operators and the clusters that they mean.

mod changes;
mod health;
mod sockets;
mod users;

use std::path::Path;
use std::process::Command;

use crate::harness::Cluster;

/// What a subcommand has done.
struct Asked {
    code: i32,
    out: String,
    err: String,
}

/// Runs `balancer` with these arguments, and an environment of these variables only.
fn ask(arguments: &[&str], variables: &[(&str, &str)]) -> Asked {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    finish(command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir("/"))
}

fn finish(command: &mut Command) -> Asked {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Asked { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn port(cluster: &Cluster) -> String {
    cluster.address.port().to_string()
}
