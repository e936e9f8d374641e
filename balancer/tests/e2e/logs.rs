//! What workers print, in each of the ways in which it comes out, and `balancer logs`.
//! The programs are shells and Python that print and then serve nothing much.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, DEADLINE, eventually};

/// Serves any request, prints what its body says as soon as it has come, and prints the
/// file of its environment's PRINT_FILE, if any, when it starts.
const SERVER: &str = "
import os, sys, socket
out = sys.stdout.buffer
if 'PRINT_FILE' in os.environ:
    out.write(open(os.environ['PRINT_FILE'], 'rb').read()); out.flush()
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((os.environ['HOST'], int(os.environ['PORT'])))
listener.listen()
while True:
    client = listener.accept()[0]
    head, _, body = client.recv(65536).partition(b'\\r\\n\\r\\n')
    path = head.split(b' ')[1] if b' ' in head else b'/health'
    length = [int(field.split(b':')[1]) for field in head.split(b'\\r\\n') if field.lower().startswith(b'content-length:')]
    while length and len(body) < length[0]: body += client.recv(65536)
    if path == b'/flood':
        import time
        begin = time.monotonic()
        for _ in range(100): out.write((b'x' * 99 + b'\\n') * 1049)
        out.flush()
        body = b'%f' % (time.monotonic() - begin)
    else:
        (sys.stderr.buffer if path == b'/stderr' else out).write(body); (sys.stderr if path == b'/stderr' else out).flush()
    client.sendall(b'HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n%s' % (len(body), body))
    client.close()
    if path == b'/die': out.flush(); os._exit(3)
";

/// Of the balancer's own lines the one that these tests need.
const ONLY_THE_ADDRESS: &str = "off,balancer::cluster=info";

fn python(workers: u32, options: &[&str]) -> Balancer {
    Balancer::cluster(workers)
        .env("PATH", &std::env::var("PATH").unwrap())
        .with(options)
        .with(&["--", "python3", "-c", SERVER])
}

fn print(cluster: &Cluster, path: &str, text: &[u8]) {
    assert_eq!(cluster.request("POST", path, &[], text).status, 200);
}

/// The line of the log that contains `text`, once it is there.
fn line_with(cluster: &Cluster, text: &str) -> String {
    eventually("the line is in the log", || cluster.log().into_iter().find(|line| line.contains(text)))
}

fn event_with(cluster: &Cluster, text: &str) -> Value {
    serde_json::from_str(&line_with(cluster, text)).unwrap()
}

/// `balancer logs` with these arguments; killed when dropped.
struct Logs {
    child: Child,
    /// What it shows, read no faster than it is taken from here.
    shown: Option<Receiver<String>>,
}

impl Logs {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
        command.arg("logs").args(arguments).arg("--control").arg(&cluster.control).env_clear();
        command.current_dir(cluster.directory()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (show, shown) = sync_channel(0);
        thread::spawn(move || lines.map(|line| show.send(line)).take_while(Result::is_ok).for_each(drop));
        Self { child, shown: Some(shown) }
    }

    fn next(&self) -> String {
        self.shown.as_ref().unwrap().recv_timeout(DEADLINE).expect("a further line is shown")
    }

    /// Exit code and standard error, once it has ended.
    fn finish(mut self) -> (Option<i32>, String) {
        let status = shared_testkit::process::wait(&mut self.child).expect("it ends");
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (status.code(), err)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn tagged_lines_name_worker_process_and_stream_in_json() {
    let cluster =
        python(1, &[]).env("RUST_LOG", "myapp=debug").env("CLUSTER_LOG", ONLY_THE_ADDRESS).start_ready();
    print(&cluster, "/", b"\x1b[32m[Nest]\x1b[39m out \xff\0\x1b]0;title\x07\n");
    print(&cluster, "/stderr", b"  WARN err\n");
    let pid = cluster.worker_pids()[0];
    let mut out = event_with(&cluster, "[Nest]");
    assert!(out["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    out.as_object_mut().unwrap().remove("timestamp");
    let expected = json!({"level": "INFO", "message": "[Nest] out \u{fffd}\0", "worker": "1", "pid": pid,
        "stream": "stdout"});
    assert_eq!(out, expected);
    let err = event_with(&cluster, "WARN err");
    assert_eq!((&err["stream"], &err["level"]), (&json!("stderr"), &json!("INFO")));
    assert_eq!(err["message"], "  WARN err", "the text of a program stays as it is");
    let others = cluster.log().into_iter().filter(|line| !line.contains("\"stream\":")).count();
    assert_eq!(others, 1, "the filter concerns the balancer's own lines: {:#?}", cluster.log());
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn tagged_text_tells_two_processes_of_one_worker_apart() {
    let balancer = python(2, &["--log-format", "text"]);
    let file = balancer.directory().join("traceback");
    fs::write(&file, "Traceback:\n\x1b[31m  line 1\x1b[0m\n").unwrap();
    let cluster = balancer.env("PRINT_FILE", file.to_str().unwrap()).start_ready();
    for worker in 1..=2 {
        line_with(&cluster, &format!("{worker}| Traceback:"));
        line_with(&cluster, &format!("{worker}|   line 1"));
    }
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    let with_pid = |line: &&String| line.starts_with("1:") && line.ends_with("| Traceback:");
    let told = cluster.log().iter().find(with_pid).cloned().expect("the new one printed beside the old one");
    let pid: u32 = told["1:".len()..].split('|').next().unwrap().parse().unwrap();
    assert_eq!(cluster.workers()[0]["pid"], pid);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn raw_lines_are_the_bytes_that_were_printed_on_the_stream_they_were_printed_on() {
    let mut cluster = python(1, &["--worker-output", "raw"]).start_ready();
    let mut stdout = BufReader::new(cluster.stdout());
    let bytes = b"\x1b[2J{\"a\":1}\xff\xfe\0\r".to_vec();
    let long = vec![b'y'; 200_000];
    print(&cluster, "/", &[&bytes, &b"\n"[..], &long, b"\n"].concat());
    print(&cluster, "/stderr", b"to standard error\n");
    let mut lines = stdout.by_ref().split(b'\n');
    assert_eq!(lines.next().unwrap().unwrap(), bytes);
    assert!(lines.next().unwrap().unwrap() == long);
    assert_eq!(line_with(&cluster, "to standard error"), "to standard error");
    assert_eq!(cluster.try_request("POST", "/die", &[], b"last words").unwrap().status, 200);
    let mut last = [0; 10];
    stdout.read_exact(&mut last).unwrap();
    assert_eq!(&last, b"last words", "also without a line feed");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn merged_objects_keep_their_fields_and_get_the_worker() {
    let cluster = python(1, &["--worker-output", "merge"]).start_ready();
    let pid = cluster.worker_pids()[0];
    let pino = format!("{{\"level\":50,\"time\":1.50,\"pid\":{pid},\"worker\":\"mine\",\"msg\":\"merged\"}}");
    print(&cluster, "/", format!("{pino}\n{{no object}}\n").as_bytes());
    let expected = pino.replace('}', ",\"cluster_worker\":\"1\",\"stream\":\"stdout\"}");
    assert_eq!(line_with(&cluster, "merged"), expected);
    let wrapped = event_with(&cluster, "no object");
    assert_eq!((&wrapped["message"], &wrapped["worker"]), (&json!("{no object}"), &json!("1")));
    let big = format!("{{\"big\":\"{}\"}}\n", "z".repeat(200_000));
    print(&cluster, "/", big.as_bytes());
    assert_eq!(event_with(&cluster, "zzz")["big"].as_str().unwrap().len(), 200_000);
    assert!(cluster.log().iter().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let (code, text) = Balancer::new(&["--worker-output", "merge", "--log-format", "text"]).output();
    assert!(code == 2 && text.contains("--log-format"), "{text}");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn long_lines_come_in_parts_and_whole() {
    let cluster = python(1, &[]).start_ready();
    let line = "日本".repeat(40_000);
    print(&cluster, "/", format!("{line}\n").as_bytes());
    let parts: Vec<Value> = eventually("all parts are in the log", || {
        let events = cluster.events();
        let parts: Vec<_> = events.into_iter().filter(|event| event["part"].is_u64()).collect();
        parts.last().is_some_and(|last| last["last"] == true).then_some(parts)
    });
    let numbers: Vec<_> = parts.iter().map(|part| part["part"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=parts.len() as u64).collect::<Vec<_>>());
    let texts: Vec<_> = parts.iter().map(|part| part["message"].as_str().unwrap()).collect();
    assert!(texts.iter().all(|text| text.len() <= 16 * 1024));
    assert_eq!(texts.concat(), line);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_line_that_never_ends_is_shown_and_takes_no_memory() {
    let cluster = python(1, &[]).start_ready();
    print(&cluster, "/", b"10 %\r20 %");
    let shown = event_with(&cluster, "20 %");
    assert_eq!((&shown["part"], &shown["last"]), (&json!(1), &json!(false)));
    assert!(cluster.operate(&["logs"]).1.contains("20 % …"));
    let size = || fs::read_to_string(format!("/proc/{}/statm", cluster.pid())).unwrap();
    let resident = |text: String| text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096;
    let before = resident(size());
    (0..20).for_each(|_| print(&cluster, "/", &vec![b'\r'; 1_000_000]));
    print(&cluster, "/", b"100 %\n");
    assert_eq!(event_with(&cluster, "100 %")["last"], true);
    let grown = resident(size()).saturating_sub(before);
    assert!(grown < 40_000_000, "{grown} bytes");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_flood_that_nobody_reads_slows_no_worker_and_is_counted() {
    let (mut cluster, mut unread) = python(1, &[]).start_unread();
    let answer = cluster.request("POST", "/flood", &[], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(cluster.request("POST", "/flood", &[], b"").status, 200);
    let lost = eventually("lines are lost", || match cluster.metric("worker_output_dropped_lines_total") {
        0 => None,
        lost => Some(lost),
    });
    assert!(lost < 2 * 104_900);
    assert_eq!(cluster.metric("log_dropped_lines_total"), 0, "the balancer's own lines have room");
    // Once somebody reads, what was lost is said.
    let mut line = String::new();
    let said = loop {
        line.clear();
        assert!(unread.read_line(&mut line).unwrap() > 0, "the log has ended");
        if line.contains("were lost") {
            break serde_json::from_str::<Value>(&line).unwrap();
        }
    };
    assert!(said["lost"].as_u64().unwrap() > 0 && said["level"] == "WARN", "{said}");
    assert!(said["message"].as_str().unwrap().contains("standard error is read too slowly"), "{said}");
    cluster.signal(Signal::TERM);
    thread::spawn(move || std::io::copy(&mut unread, &mut std::io::sink()));
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn the_last_lines_are_shown_and_followed() {
    let mut cluster = python(2, &[]).start_ready();
    for n in 1..=6 {
        print(&cluster, "/", format!("\x1b[32mline {n}\n").as_bytes());
        line_with(&cluster, &format!("line {n}"));
    }
    let (code, out, err) = cluster.operate(&["logs", "-n", "4"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let texts: Vec<_> = out.lines().map(|line| line.split_once("| ").unwrap().1).collect();
    assert_eq!(texts, ["line 3", "line 4", "line 5", "line 6"]);
    let (_, out, _) = cluster.operate(&["logs", "--worker", "2", "--json"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["worker"] == 2), "{out}");
    assert!(lines[0]["text"].as_str().unwrap().starts_with("\x1b[32mline "));

    let following = Logs::start(&cluster, &["-f", "-n", "1"]);
    assert!(following.next().ends_with("| line 6"));
    print(&cluster, "/stderr", b"later\n");
    assert!(following.next().ends_with("| later"));
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    assert_eq!(following.finish(), (Some(0), String::new()), "it ends with the cluster");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn who_follows_and_is_not_read_any_more_ends_in_silence() {
    let cluster = python(1, &[]).start_ready();
    print(&cluster, "/", b"the only line\n");
    line_with(&cluster, "the only line");
    let mut command = Command::new("sh");
    let script = "\"$0\" logs -f --control \"$1\" | head -n 1";
    command.args(["-c", script, env!("CARGO_BIN_EXE_balancer")]).arg(&cluster.control);
    // No further line comes after the first.
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut following = Logs { child, shown: None };
    let mut shown = String::new();
    following.child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(shown, "1| the only line\n");
    assert_eq!(following.finish(), (Some(0), String::new()));
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn who_follows_slowly_is_told_how_much_was_missed() {
    let cluster = python(1, &[]).start_ready();
    let following = Logs::start(&cluster, &["-f"]);
    print(&cluster, "/", b"first\n");
    assert_eq!(following.next(), "1| first");
    for n in 0..3 {
        assert_eq!(cluster.request("POST", "/flood", &[], b"").status, 200, "{n}");
    }
    let (mut lines, mut missed) = (0, 0);
    while lines + missed < 3 * 104_900 {
        let line = following.next();
        match line.strip_prefix("-- ") {
            Some(rest) => missed += rest.split(' ').next().unwrap().parse::<u64>().unwrap(),
            None => lines += 1,
        }
    }
    assert!(missed > 0);
    assert_eq!(lines + missed, 3 * 104_900);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn lines_are_on_the_control_socket_and_nowhere_else() {
    let cluster = python(1, &[]).start_ready();
    assert_eq!(cluster.admin("/logs").status, 404);
    let (code, _, err) = cluster.operate(&["logs", "--worker", "0"]);
    assert!(code == 2 && err.contains("--worker"), "{err}");
}

#[test]
fn the_bundled_workers_lines_keep_their_level_and_are_not_filtered_with_the_balancers() {
    let cluster =
        Balancer::cluster(1).with(&["--log-filter", ONLY_THE_ADDRESS]).env("RUST_LOG", "worker=debug");
    let cluster = cluster.start_ready();
    let debug = eventually("a line of the worker", || {
        cluster.events().into_iter().find(|event| event["level"] == "DEBUG")
    });
    assert_eq!((&debug["worker"], &debug["stream"]), (&json!("1"), &json!("stderr")));
    assert!(!debug["message"].as_str().unwrap().contains("DEBUG"));
    let (code, text) = Balancer::new(&["--log-filter", "a=b=c"]).output();
    assert!(code == 2 && text.contains("--log-filter"), "{text}");
}
