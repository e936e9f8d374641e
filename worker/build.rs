//! Tells the worker which compiler built it, for `GET /cluster/info`.

use std::env;
use std::process::Command;

fn main() {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version =
        Command::new(compiler).arg("--version").output().ok().filter(|output| output.status.success());
    // "rustc 1.95.0 (59807616e 2026-04-14)"
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let number = text.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=WORKER_RUST_VERSION={number}");
    println!("cargo::rerun-if-changed=build.rs");
}
