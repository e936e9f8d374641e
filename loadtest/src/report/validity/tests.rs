use std::time::{Duration, Instant};

use clap::Parser;
use shared_settings::Settings;

use super::*;
use crate::cli::Cli;
use crate::client::cpu::CpuTime;
use crate::client::failure::Failure;
use crate::client::framing::Tag;
use crate::stats::{Recorder, Sample, Series};

fn plan(line: &str) -> Plan {
    let args = Cli::try_parse_from(line.split(' ')).unwrap().run;
    Plan::new(&args, &Settings::default()).unwrap()
}

/// Two seconds in which `sent` requests were sent and each of two threads used
/// `used` and waited `waited` seconds.
fn measured(sent: u64, used: f64, waited: f64) -> Measured {
    let now = Instant::now();
    let mut recorder = Recorder::new(now, 1);
    (0..sent).for_each(|_| recorder.record_sent(now, now, true));
    let cpu = CpuTime { used: Duration::from_secs_f64(used), waited: Duration::from_secs_f64(waited) };
    Measured {
        recorder,
        series: Series::default(),
        elapsed: Duration::from_secs(2),
        cpu: vec![cpu; 2],
        in_flight: 0,
        security: None,
        interrupted: false,
        extra_sources: 0,
    }
}

#[test]
fn seeing_all_workers_takes_as_many_as_is_known() {
    assert_eq!([1, 4, 8].map(|workers| needed_to_see_all(workers).ceil()), [14.0, 61.0, 128.0]);
}

#[test]
fn an_open_loop_is_client_limited_when_it_sends_too_little_without_an_idle_moment() {
    let plan = plan("loadtest -d 2s -R 1000");
    let limited = |sent, used, waited| client(&plan, &measured(sent, used, waited)).limited_by;
    assert!(limited(1_500, 1.96, 0.0).unwrap().contains("only 75.0 %"));
    assert!(limited(1_500, 1.0, 0.96).is_some());
    // Idle threads that do not send wait for the target.
    assert_eq!(limited(1_500, 1.0, 0.0), None);
    assert_eq!(limited(1_990, 1.96, 0.0), None);
    let achieved = client(&plan, &measured(1_500, 0.5, 0.0)).achieved.unwrap();
    assert_eq!((achieved.due, achieved.sent, achieved.ratio), (2_000, 1_500, 0.75));
}

#[test]
fn a_closed_loop_is_client_limited_when_its_threads_use_all_of_their_cores() {
    let plan = plan("loadtest -d 2s");
    assert!(client(&plan, &measured(0, 1.96, 0.0)).limited_by.unwrap().contains("all of their cores"));
    assert_eq!(client(&plan, &measured(0, 1.8, 0.0)).limited_by, None);
    // To wait for a core is the machine's limit, and told as a note.
    assert_eq!(client(&plan, &measured(0, 1.0, 1.0)).limited_by, None);
    let mut short = measured(0, 1.96, 0.0);
    short.elapsed = Duration::from_millis(500);
    assert_eq!(client(&plan, &short).limited_by, None);
}

#[test]
fn running_out_of_ports_or_files_is_the_clients_limit() {
    for (class, part) in
        [(ErrorClass::LocalPorts, "ip_local_port_range"), (ErrorClass::LocalFiles, "ulimit -n")]
    {
        let mut measured = measured(0, 0.1, 0.0);
        let now = Instant::now();
        let sample = Sample {
            request: 0,
            intended: None,
            started: now,
            ended: now,
            status: 0,
            worker: Tag::default(),
            bytes: 0,
            failure: Some(Failure::new(class, "x")),
        };
        measured.recorder.record(&sample, None);
        assert!(client(&plan("loadtest -d 2s"), &measured).limited_by.unwrap().contains(part));
    }
}
