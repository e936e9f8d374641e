//! Changes of the number of workers, and the pids that a change shows.

use serde_json::Value;

use crate::harness::Balancer;

/// A program that answers /health, as somebody else's: this one as a single process.
fn with_program(workers: u32, options: &[&str]) -> Balancer {
    let balancer = env!("CARGO_BIN_EXE_balancer");
    Balancer::cluster(workers).with(options).with(&["--", balancer, "--cluster", "off"])
}

#[test]
fn a_number_with_a_sign_is_a_change() {
    let cluster = Balancer::cluster(2).start_ready();
    for (change, workers) in [("+1", 3), ("-1", 2), ("+2", 4), ("-3", 1), ("2", 2)] {
        let (code, out, err) = cluster.operate(&["scale", change]);
        assert!(code == 0 && out.contains(&format!("done: {workers} worker")), "{change}: {out}{err}");
        assert_eq!(cluster.workers().len(), workers, "{change}");
    }
    let (code, _, err) = cluster.operate(&["scale", "-9"]);
    assert!(code == 1 && err.contains("there are 2, and 9 fewer would leave none"), "{err}");
    let (code, _, err) = cluster.operate(&["scale", "-2"]);
    assert!(code == 1 && err.contains("a cluster has at least one worker"), "{err}");
    let (code, _, err) = cluster.operate(&["scale", "+2000000000"]);
    assert!(code == 1 && err.contains("is the most"), "{err}");
    for wrong in ["+0", "-0", "0", "+", "-", "1.5", "-1.5", "four", "+99999999999", "++1"] {
        let (code, _, err) = cluster.operate(&["scale", wrong]);
        assert!(code == 2 && err.contains("worker"), "{wrong}: {err}");
    }
    assert_eq!(cluster.workers().len(), 2);
}

#[test]
fn changes_that_are_asked_for_at_the_same_time_add_up() {
    let cluster = Balancer::cluster(1).start_ready();
    std::thread::scope(|scope| {
        let asked = ["+1", "+1", "+1", "-1", "+1"].map(|change| {
            let cluster = &cluster;
            scope.spawn(move || cluster.operate(&["scale", change]))
        });
        // One fewer may come first, where there is only one: then it is refused.
        let answers = asked.map(|asked| asked.join().unwrap());
        let done = answers.iter().map(|(code, ..)| *code == 0).collect::<Vec<_>>();
        assert!(done[0] && done[1] && done[2] && done[4], "{answers:?}");
        assert_eq!(cluster.workers().len(), if done[3] { 4 } else { 5 });
    });
    assert!(cluster.log().iter().all(|line| !line.contains("try again")));
}

#[test]
fn the_wire_takes_numbers_and_changes() {
    let cluster = Balancer::cluster(1).start_ready();
    let post = |body: &str| {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&cluster.control).unwrap();
        let head = "POST /scale HTTP/1.1\r\nhost: control\r\nconnection: close\r\ncontent-length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(post(r#"{"workers":2}"#).contains(r#""event":"done","workers":2"#));
    assert!(post(r#"{"add":1}"#).contains(r#""event":"done","workers":3"#));
    assert!(post(r#"{"add":-2}"#).contains(r#""event":"done","workers":1"#));
    for wrong in
        [r#"{"add":0}"#, r#"{"add":1,"workers":2}"#, "{}", "", "[]", r#"{"add":1e3}"#, r#"{"workers":-1}"#]
    {
        let answer = post(wrong);
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("the body must be like"),
            "{wrong}: {answer}"
        );
    }
}

#[test]
fn the_pids_of_a_change_are_those_of_the_program() {
    let cluster = with_program(1, &[]).start_ready();
    let (code, out, err) = cluster.operate(&["scale", "+1", "--json"]);
    assert_eq!(code, 0, "{err}");
    let (code, reloaded, err) = cluster.operate(&["reload", "--json", "--wait"]);
    assert_eq!(code, 0, "{err}");
    let pids = |text: &str, event: &str| {
        let steps = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of = steps.filter(|step| step["event"] == event);
        let mut pids: Vec<_> = of.map(|step| step["pid"].as_u64().unwrap() as u32).collect();
        pids.sort_unstable();
        pids
    };
    let mut now = cluster.worker_pids();
    now.sort_unstable();
    assert_eq!(pids(&reloaded, "started"), now);
    assert_eq!(pids(&reloaded, "ready"), now);
    assert_eq!(pids(&out, "started"), pids(&out, "ready"));
    let stopped = pids(&reloaded, "stopped");
    assert!(stopped.len() == 2 && stopped.contains(&pids(&out, "started")[0]), "{stopped:?}");
    for pid in now {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(line.contains("--cluster\0off") && !line.contains("worker-"), "{line:?}");
    }
}
