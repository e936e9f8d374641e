//! What is said of upgrades that come to nothing, and of a stop that comes in between.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::refused::script;
use super::{Last, failure, hanging, successor, try_upgrade};
use crate::harness::{Balancer, Cluster, eventually, is_alive};

#[test]
fn the_last_words_of_what_cannot_succeed_are_said_to_who_has_asked_and_in_the_log() {
    let cluster = Balancer::cluster(1).start_ready();
    let path = script(&cluster, "echo one >&2; echo 'error: the moon is full' >&2; exit 3");
    let options = ["--executable", path.to_str().unwrap()];
    let (code, out, _) = try_upgrade(&cluster, &options, &[]);
    let failed: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((code, failed["event"].as_str()), (1, Some("failed")), "{out}");
    assert_eq!(failed["lastLines"], json!(["one", "error: the moon is full"]), "{out}");
    let (_, _, err) = cluster.operate(&["upgrade", options[0], options[1]]);
    assert!(err.contains("it printed last:") && err.contains("  error: the moon is full"), "{err}");
    eventually("so the log says", || {
        let mut events = cluster.events().into_iter();
        events.find(|event| event["lastLines"].as_str().is_some_and(|lines| lines.ends_with("moon is full")))
    });
}

#[test]
fn what_the_stub_says_is_said() {
    let cluster = Balancer::cluster(1).start_ready();
    let path = script(&cluster, "");
    std::fs::write(&path, "#!/nowhere/interpreter\n").unwrap();
    let (code, out, _) = try_upgrade(&cluster, &["--executable", path.to_str().unwrap()], &[]);
    let failed: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(code, 1, "{out}");
    let said = failed["lastLines"][0].as_str().unwrap_or_default();
    assert!(said.contains("could not run") && said.contains("No such file"), "{out}");
}

/// A balancer writes to the real standard error from its first line on, however it was started:
/// nothing of it depends on its predecessor, which is gone.
#[test]
fn a_successor_logs_where_its_predecessor_did_unless_a_script_says_otherwise() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    let log = cluster.directory().join("own.log");
    let first = super::upgrade(&cluster, &mut last, &[], &[]);
    assert!(cluster.wait().success());
    let has_said = |pid: u32| {
        let says =
            |event: &Value| event["message"].as_str().is_some_and(|text| text.starts_with("listening"));
        cluster.events().iter().any(|event| says(event) && event["pid"] == pid)
    };
    eventually("the successor says where it listens", || has_said(first).then_some(()));
    let own = env!("CARGO_BIN_EXE_balancer");
    let path = script(&cluster, &format!("exec {own} \"$@\" 2>> {}", log.display()));
    let second = super::upgrade(&cluster, &mut last, &["--executable", path.to_str().unwrap()], &[]);
    eventually("the second one says so in a file", || {
        std::fs::read_to_string(&log).ok()?.contains("listening on").then_some(())
    });
    assert!(!has_said(second));
    super::stop(&cluster, second);
}

/// `upgrade` in the background; its output comes when it ends.
fn begin(cluster: &Cluster) -> thread::JoinHandle<(i32, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.args(["upgrade", "--json", "--control"]).arg(&cluster.control).env_clear();
    thread::spawn(move || {
        let output = command.output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap())
    })
}

#[test]
fn a_stop_during_an_upgrade_says_which_processes_end_and_ends_when_both_have() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let upgrade = hanging(&cluster);
    let (old, new) = (cluster.pid(), successor(&cluster));
    let (code, out, err) = cluster.operate(&["stop"]);
    assert!(!is_alive(old) && !is_alive(new), "{out}");
    assert_eq!(code, 0, "{out}{err}");
    let abandoned = format!("the upgrade in progress is abandoned: pid {new}, which was to succeed it");
    assert!(out.contains(&format!("stopping (pid {old})")) && out.contains(&abandoned), "{out}");
    assert!(out.ends_with("stopped\n"), "{out}");
    assert!(cluster.wait().success());
    let reason = failure(&upgrade.join().unwrap());
    assert!(reason.contains(&format!("pid {new}")) && reason.contains(&format!("pid {old}")), "{reason}");
}

/// In whichever moment it comes: none of the two processes is left when `stop` says so.
#[test]
fn a_stop_at_any_moment_of_an_upgrade_ends_both() {
    for round in 0..8 {
        let mut cluster = Balancer::cluster(1).start_ready();
        let mut last = Last::none();
        let upgrade = begin(&cluster);
        eventually("it has begun", || {
            cluster.log().iter().any(|line| line.contains("upgrade: starting")).then_some(())
        });
        thread::sleep(Duration::from_millis(round * 40));
        let (code, out, err) = cluster.operate(&["stop"]);
        let (_, steps) = upgrade.join().unwrap();
        let steps = steps.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let new = steps.filter(|step| step["event"] == "successor").find_map(|step| step["pid"].as_u64());
        let new = u32::try_from(new.expect("it was started")).unwrap();
        last.0.push(new);
        assert_eq!(code, 0, "{out}{err}");
        assert!(cluster.wait().success(), "{:#?}", cluster.log());
        assert!(!is_alive(new), "round {round}: pid {new} is left: {out}{:#?}", cluster.log());
        assert!(!cluster.control.exists());
    }
}

/// The response to `POST /upgrade` with this body.
fn post(cluster: &Cluster, body: &str) -> String {
    let mut stream = UnixStream::connect(&cluster.control).unwrap();
    let head = "POST /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    // It may be answered before all of it is read.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn command_lines_that_are_too_long_are_refused_with_the_reason() {
    let cluster = Balancer::cluster(1).start_ready();
    // The kernel takes no word of more than 128 KiB (execve(2), MAX_ARG_STRLEN).
    let word = "x".repeat(200_000);
    let answer = post(&cluster, &json!({ "arguments": [word] }).to_string());
    assert!(answer.contains("could not run") && answer.contains("Argument list too long"), "{answer}");
    let all = vec![&word[..1000]; 9_000];
    let answer = post(&cluster, &json!({ "arguments": all }).to_string());
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("fewer than"), "{answer}");
    assert_eq!(super::primary(&cluster), u64::from(cluster.pid()));
}
