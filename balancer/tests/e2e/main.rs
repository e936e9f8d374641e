//! Drives the real executable from outside: real processes, real sockets, a real
//! `redis-server`. Every cluster has its own free port, directory and
//! environment, so the tests run side by side.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod access_log;
mod acme;
mod activation;
mod api;
mod autoscale;
mod balancing;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod browser;
mod clients;
mod compression;
mod configuration;
mod crash;
mod dashboard;
mod dashboard_conditions;
mod direct;
mod documented;
mod drains;
mod faults;
mod forwarding;
mod freeze;
#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
mod harness;
mod healthcheck;
mod http2;
mod https_browser;
mod launch;
mod limits;
mod listeners;
#[expect(unreachable_pub, reason = "as above")]
mod load;
mod logs;
mod memory;
mod monitoring;
mod one_by_one;
mod operations;
mod operators;
mod packaging;
mod pages;
#[expect(unreachable_pub, reason = "as above")]
mod peers;
mod places;
mod program;
mod queue;
mod ready;
mod reload;
mod settings;
mod shutdown;
mod shutdown_delay;
mod signals;
mod socketio;
mod state_dir;
mod sticky;
mod store;
mod strategies;
#[expect(unreachable_pub, reason = "as above")]
mod terminal;
mod tls;
mod told_last;
mod tools;
mod trace_context;
mod upgrade;
mod verdicts;
mod watch;
mod wrappers;
