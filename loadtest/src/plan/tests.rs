use clap::Parser;

use super::*;
use crate::cli::Cli;

fn plan(line: &str) -> Result<Plan, UsageError> {
    let args = Cli::try_parse_from(line.split(' ').filter(|word| !word.is_empty())).unwrap().run;
    Plan::new(&args, &Settings::default())
}

#[test]
fn without_options_it_is_the_cluster_100_times() {
    let plan = plan("loadtest").unwrap();
    assert_eq!(plan.requests[0].label, "GET /cluster/info");
    assert_eq!(plan.target.origin(), "http://127.0.0.1:3100");
    assert_eq!((plan.stop_after, plan.duration, plan.connections), (Some(100), None, 100));
    assert_eq!(plan.load, Load::Closed);
}

#[test]
fn host_and_port_of_the_environment_choose_the_default_target() {
    let settings = Settings::from_parts(&[("HOST", "0.0.0.0"), ("PORT", "4000")], "");
    let args = Cli::try_parse_from(["loadtest"]).unwrap().run;
    assert_eq!(Plan::new(&args, &settings).unwrap().target.origin(), "http://127.0.0.1:4000");
}

#[test]
fn a_duration_takes_the_default_count_away() {
    let timed = plan("loadtest -d 10 -c 64").unwrap();
    assert_eq!((timed.stop_after, timed.duration), (None, Some(Duration::from_secs(10))));
    assert_eq!(plan("loadtest -R 500").unwrap().duration, Some(DEFAULT_DURATION));
    assert_eq!(plan("loadtest -R 500 -n 50").unwrap().duration, None);
    assert_eq!(plan("loadtest -n 5").unwrap().connections, 5);
    assert_eq!(plan("loadtest -d 1m30s").unwrap().duration, Some(Duration::from_secs(90)));
    assert_eq!(plan("loadtest --find-max p99<1s").unwrap().duration, Some(DEFAULT_STEP));
}

#[test]
fn a_body_makes_it_a_post_unless_told_otherwise() {
    assert_eq!(plan("loadtest -b x").unwrap().requests[0].label, "POST /cluster/info");
    assert_eq!(plan("loadtest -b x -m put").unwrap().requests[0].label, "PUT /cluster/info");
    assert!(plan("loadtest -m head").unwrap().requests[0].is_head);
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_an_example() {
    for bad in [
        "loadtest -n 0",
        "loadtest -c 0",
        "loadtest -c 100001",
        "loadtest -t 0",
        "loadtest -d 0",
        "loadtest -d x",
        "loadtest -R 0",
        "loadtest -R inf",
        "loadtest --ramp 5",
        "loadtest --ramp -1:5",
        "loadtest --ramp 1:5 -n 5",
        "loadtest --timeout 0s",
        "loadtest --warmup 1s",
        "loadtest --worker-json a..b",
        "loadtest --http2 --streams 0",
    ] {
        let Ok(cli) = Cli::try_parse_from(bad.split(' ')) else { continue };
        let err = Plan::new(&cli.run, &Settings::default()).unwrap_err().to_string();
        assert!(err.contains("a right one is") || err.contains("such as"), "{bad}: {err}");
    }
}

#[test]
fn an_open_loop_has_a_schedule() {
    assert!(plan("loadtest -d 1").unwrap().schedule().is_none());
    let constant = plan("loadtest -d 2 -R 100 --warmup 1s").unwrap().schedule().unwrap();
    assert_eq!(constant.due_before(Duration::from_secs(3)), 300);
    let ramp = plan("loadtest -d 2 --ramp 0:100").unwrap().schedule().unwrap();
    assert_eq!(ramp.due_before(Duration::from_secs(2)), 100);
}
