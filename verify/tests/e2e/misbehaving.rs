//! Clusters that misbehave, each in a process of its own.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;

use crate::fault::Fault;
use crate::harness::{address, eventually};

/// The fault as the program's command line has it.
pub fn name(fault: Fault) -> String {
    fault.to_possible_value().unwrap().get_name().to_owned()
}

/// A made-up cluster with a fault. Dropping it kills it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    pub fn start(fault: Fault) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), fault)
    }

    pub fn at(listen: SocketAddr, fault: Fault) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("control.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_misbehaving-balancer"))
            .args(["--fault", &name(fault), "--address", &listen.to_string(), "--", "--control"])
            .arg(&control)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Dropped also when it never says where it listens.
        let mut server = Self { child, address: listen, _directory: directory };
        server.address = eventually("the made-up cluster listens", || address(&control));
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
