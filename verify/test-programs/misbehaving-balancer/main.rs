//! A balancer that misbehaves in one way, which some check of `verify` must catch.
//!
//! For most faults it is a [`server`] that makes its workers up; where real workers
//! matter it is a [`proxy`] before the real balancer. It says where it listens on
//! its control socket, as the balancer does, and runs until it is killed. Tests
//! start it, or have `verify --spawn` start it in the balancer's place.

#![expect(clippy::unwrap_used, reason = "a test program that cannot go on fails, and says where")]
#![expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]

mod answers;
mod control;
mod fault;
mod http;
mod process;
mod proxy;
mod server;
mod shared_state;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;

use clap::Parser;

use fault::Fault;
use server::Server;

#[derive(Debug, Parser)]
struct Cli {
    /// What is wrong with it
    #[arg(long, value_enum)]
    fault: Fault,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// A file that exists while the cluster is reloaded or scaled
    #[arg(long)]
    mark: Option<PathBuf>,
    /// Speak TLS, with an authority and the port of plain HTTP in this directory
    #[arg(long)]
    tls: Option<PathBuf>,
    /// The command line of the balancer in whose place this is
    #[arg(last = true)]
    balancer: Vec<String>,
}

/// What a balancer is told that matters here.
struct Arguments {
    /// Path of its control socket.
    control: PathBuf,
    redis: Option<SocketAddr>,
    /// All but the control socket.
    others: Vec<String>,
}

impl Arguments {
    fn parse(mut arguments: Vec<String>) -> Self {
        let flag = arguments.iter().position(|one| one == "--control").expect("a balancer gets --control");
        let control = arguments.drain(flag..flag + 2).nth(1).unwrap().into();
        let redis = arguments.iter().find_map(|one| one.strip_prefix("redis://")?.parse().ok());
        Self { control, redis, others: arguments }
    }
}

fn main() {
    let cli = Cli::parse();
    let arguments = Arguments::parse(cli.balancer);
    if let Some(every) = cli.fault.loses_one_in() {
        return proxy::run(every, cli.mark.expect("the wrapper names the mark"), &arguments);
    }
    let _orphan = (cli.fault == Fault::LeavesOrphan).then(process::orphan);
    let listener = TcpListener::bind(cli.address).unwrap();
    let server = Server::new(cli.fault, arguments.redis);
    let address = listener.local_addr().unwrap();
    let tls = cli.tls.map(|directory| tls::Tls::new(cli.fault, &directory));
    thread::scope(|scope| {
        if let Some(tls) = &tls {
            scope.spawn(|| tls.serve_plain(&server, address));
        }
        control::serve(&arguments.control, address);
        server.run(&listener, tls.as_ref());
    });
}
