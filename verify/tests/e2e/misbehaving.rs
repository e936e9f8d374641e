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
    /// With the authority of one that speaks TLS.
    directory: tempfile::TempDir,
}

impl Server {
    pub fn start(fault: Fault) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), fault)
    }

    pub fn at(listen: SocketAddr, fault: Fault) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::launch(&["--fault", &name(fault), "--address", &listen.to_string()], listen, directory)
    }

    /// One that speaks TLS, whatever its fault is.
    pub fn secured(fault: Fault) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        Self::launch(&["--fault", &name(fault), "--tls", &path], ([127, 0, 0, 1], 0).into(), directory)
    }

    fn launch(arguments: &[&str], listen: SocketAddr, directory: tempfile::TempDir) -> Self {
        let control = directory.path().join("control.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_misbehaving-balancer"))
            .args(arguments)
            .args(["--", "--control"])
            .arg(&control)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Dropped also when it never says where it listens.
        let mut server = Self { child, address: listen, directory };
        server.address = eventually("the made-up cluster listens", || address(&control));
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How `verify` is to reach one that speaks TLS, and its plain HTTP.
    pub fn secured_arguments(&self) -> [String; 6] {
        let file = |name: &str| self.directory.path().join(name);
        let plain = std::fs::read_to_string(file("plain")).unwrap();
        let ca = file("ca.pem").to_str().unwrap().to_owned();
        let flags = ["--url", "--cacert", "--plain-url"].map(str::to_owned);
        let [url, cacert, plain_url] = flags;
        [url, format!("https://{}", self.address), cacert, ca, plain_url, format!("http://{plain}")]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
