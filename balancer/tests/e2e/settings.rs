//! Where settings come from: the application's own `.env`, `cluster.toml`, `balancer config`,
//! `balancer check`, and a command line without the two dashes.

use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, eventually};

/// A program that reads `.env` itself, as applications do, and shows what it has read and
/// what it was given.
const READER: &str = r#"
import http.server, json, os

def dotenv():
    found = {}
    if not os.path.exists(".env"):
        return found
    for line in open(".env", encoding="utf-8"):
        name, sign, value = line.strip().partition("=")
        if sign:
            found[name] = os.environ.get(name, value)
    return found

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"read": dotenv(), "environment": dict(os.environ)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn python(balancer: Balancer) -> Balancer {
    std::fs::write(balancer.directory().join("app.py"), READER).unwrap();
    balancer.env("PATH", &std::env::var("PATH").unwrap())
}

fn file(balancer: Balancer, text: &str) -> Balancer {
    std::fs::write(balancer.directory().join("cluster.toml"), text).unwrap();
    balancer
}

fn of(cluster: &Cluster) -> Value {
    cluster.get("/").json()
}

/// The lines of `output` that begin with `kind`.
fn lines<'a>(output: &'a str, kind: &str) -> Vec<&'a str> {
    output.lines().filter(|line| line.starts_with(kind)).collect()
}

const APPLICATIONS: &str = "\
DB_PASSWORD=pa$word1
GREETING=hello world
LOG_FORMAT=dev
REDIS_URL=localhost:6379
FOO: yaml
WORKER_NAME=a b
RUST_LOG=a=b=c
export X=1
KEY
what is this, and \"that
";

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn the_applications_dotenv_stays_the_applications() {
    let balancer = python(Balancer::cluster(1)).dotenv(APPLICATIONS).env("LOG_FORMAT", "mine");
    let cluster = balancer.with(&["--health-path", "tcp", "--", "python3", "app.py"]).start_ready();
    let seen = of(&cluster);
    assert_eq!(seen["read"]["DB_PASSWORD"], "pa$word1");
    assert_eq!(seen["read"]["GREETING"], "hello world");
    assert_eq!(seen["read"]["REDIS_URL"], "localhost:6379");
    for name in ["DB_PASSWORD", "GREETING", "REDIS_URL", "X", "WORKER_NAME", "FOO", "RUST_LOG"] {
        assert_eq!(seen["environment"][name], Value::Null, "{name} is handed on");
    }
    assert_eq!(seen["environment"]["LOG_FORMAT"], "mine", "what it inherits is untouched");
    // It reads the file as it is now.
    std::fs::write(cluster.directory().join(".env"), "GREETING=new\n").unwrap();
    assert_eq!(of(&cluster)["read"], json!({"GREETING": "new"}));
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn what_is_ours_in_the_applications_dotenv_is_read_and_checked() {
    let start = |text: &str| {
        let balancer = python(Balancer::new(&["--health-path", "tcp", "--admin", "off"])).dotenv(text);
        balancer.with(&["--", "python3", "app.py"])
    };
    let (code, text) = start(&format!("{APPLICATIONS}HOST=example.com\n")).output();
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("HOST in .env line 11") && text.contains("--host or CLUSTER_HOST"), "{text}");
    let (code, text) = start("GREETING=a b\nCLUSTER_WORKERS=many\n").output();
    assert!(code == 2 && text.contains("CLUSTER_WORKERS in .env line 2"), "{text}");
    let ours = "HOST=example.com\nCLUSTER_HOST=127.0.0.1\nPORT=0\nCLUSTER_WORKERS=1\n";
    let cluster = start(&format!("{APPLICATIONS}{ours}")).start();
    eventually("the program answers", || {
        (cluster.try_request("GET", "/", &[], b"").ok()?.status == 200).then_some(())
    });
}

#[test]
fn a_host_that_somebody_has_exported_is_named_with_the_cure() {
    let (code, text) = Balancer::new(&["--port", "0"]).env("HOST", "x86_64-conda-linux-gnu").output();
    assert_eq!(code, 2);
    assert!(
        text.contains("the environment variable HOST") && text.contains("--host or CLUSTER_HOST"),
        "{text}"
    );
    let cluster = Balancer::cluster(1).env("HOST", "x86_64-conda-linux-gnu").env("CLUSTER_HOST", "127.0.0.1");
    assert_eq!(cluster.start_ready().get("/health").status, 200);
}

#[test]
fn what_kubernetes_says_of_a_service_is_no_setting() {
    let cluster = Balancer::new(&["--workers", "1", "--admin", "off"]).dotenv("PORT=0\n");
    let cluster = cluster.env("CLUSTER_PORT", "tcp://10.0.0.1:80").env("CLUSTER_SERVICE_HOST", "10.0.0.1");
    assert_eq!(cluster.start_ready().get("/health").status, 200);
}

#[test]
fn a_dotenv_that_is_no_file_or_no_text_stops_nothing() {
    let directory = Balancer::cluster(1);
    std::fs::create_dir(directory.directory().join(".env")).unwrap();
    assert_eq!(directory.start_ready().get("/health").status, 200);
    // A link to itself cannot be read by anybody.
    let unreadable = |balancer: Balancer| {
        std::os::unix::fs::symlink(".env", balancer.directory().join(".env")).unwrap();
        balancer
    };
    let (code, text) = unreadable(Balancer::cluster(1)).output();
    assert!(code == 2 && text.contains("could not read .env"), "{text}");
    let program = unreadable(Balancer::cluster(1).with(&["--", "/bin/sleep", "60"])).start();
    eventually("it is said", || {
        program.log().iter().any(|line| line.contains("nothing in it is read")).then_some(())
    });
    let bytes = Balancer::new(&["--port", "0", "--admin", "off"]);
    std::fs::write(bytes.directory().join(".env"), b"\xEF\xBB\xBFCLUSTER_WORKERS=1\r\nA=\xFF\xFE\r\n\"\r\n")
        .unwrap();
    assert_eq!(bytes.start_ready().get("/cluster/workers").json()["count"], 1);
}

#[test]
fn bundled_workers_see_their_settings_by_whatever_name() {
    let cluster = file(Balancer::cluster(1), "fibonacci-max = 20\nredis-url = \"\"\n")
        .env("CLUSTER_LOG_FORMAT", "json")
        .start_ready();
    let answer = cluster.post("/cluster/cpu-intensive", &json!({"n": 21}));
    assert!(answer.problem(400).contains("20"));
    assert_eq!(cluster.events().len(), cluster.log().len(), "a worker's lines are text within ours");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn cluster_toml_starts_an_application_and_its_operators_find_it() {
    let text = "command = \"python3 app.py\"\nworkers = 2\nport = 0\nhealth_path = \"tcp\"\nlog-format = \"json\"\n\
                control = \"control.sock\"\n";
    let cluster = file(python(Balancer::new(&[])), text).start_ready();
    assert_eq!(cluster.workers().len(), 2);
    assert_eq!(of(&cluster)["environment"]["WORKER_COUNT"], "2");
    let status = |directory: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
        command.arg("status").args(arguments).env_clear().current_dir(directory).output().unwrap()
    };
    let found = status(cluster.directory(), &[]);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let (elsewhere, path) = (tempfile::tempdir().unwrap(), cluster.directory().join("control.sock"));
    std::fs::write(elsewhere.path().join("other.toml"), format!("control = {path:?}\n")).unwrap();
    assert!(status(elsewhere.path(), &["--config", "other.toml"]).status.success());
    let slip = format!("control = {path:?}\nwokers = 4\n");
    std::fs::write(elsewhere.path().join("other.toml"), slip).unwrap();
    assert!(
        status(elsewhere.path(), &["--config", "other.toml"]).status.success(),
        "who looks is not stopped"
    );
}

#[test]
fn flag_beats_environment_beats_dotenv_beats_file() {
    let workers = |balancer: Balancer, dotenv: &str| {
        let balancer = file(balancer, "workers = 3\nport = 0\nadmin = \"off\"\n").dotenv(dotenv);
        balancer.start().get("/cluster/workers").json()["count"].clone()
    };
    assert_eq!(workers(Balancer::new(&[]), ""), 3);
    assert_eq!(workers(Balancer::new(&[]), "CLUSTER_WORKERS=2\n"), 2);
    assert_eq!(
        workers(Balancer::new(&["--workers", "1"]).env("CLUSTER_WORKERS", "4"), "CLUSTER_WORKERS=2\n"),
        1
    );
}

#[test]
fn a_command_of_the_command_line_replaces_the_files() {
    let balancer =
        file(python(Balancer::new(&["config", "--json", "--", "sh", "-c", "x y"])), "command = 'python3'\n");
    let (code, text) = balancer.output();
    assert_eq!(code, 0, "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["command"], json!({"words": ["sh", "-c", "x y"], "source": "command line"}));
}

#[test]
fn slips_in_the_file_are_refused_with_file_and_line() {
    let refused = |text: &str, part: &str| {
        let (code, output) = file(Balancer::new(&["--port", "0"]), text).output();
        assert_eq!(code, 2, "{output}");
        assert!(output.contains(part), "{part:?} is missing in: {output}");
        assert_eq!(output.lines().count(), 1, "{output}");
    };
    refused("\nwokers = 4\n", "cluster.toml line 2: there is no setting \"wokers\"; did you mean workers?");
    refused("workers = \"many\"\n", "\"many\" from workers in cluster.toml line 1");
    refused("workers = \"many\"\n", "for example workers = 4");
    refused("drain-timeout = 5\n", "for example drain-timeout = \"30s\"");
    refused("workers = 4\nport 3000\n", "cluster.toml line 2: not TOML");
    refused("command = 'no-such-program'\n", "no executable file");
    let (code, output) = Balancer::new(&["--config", "missing.toml"]).output();
    assert!(code == 2 && output.contains("could not read missing.toml"), "{output}");
    let (code, output) = Balancer::new(&["--config", ""]).output();
    assert!(code == 2 && output.contains("\"\" from --config"), "{output}");
    let foreign = file(Balancer::cluster(1), "[cluster]\nname = 'x'\n").start_ready();
    assert!(foreign.log().iter().any(|line| line.contains("taken for another program's")));
}

#[test]
fn config_shows_what_holds_and_who_has_set_it() {
    let sources = || {
        let text = "drain-timeout = \"20s\"\nredis-url = \"redis://:hunter2@h\"\n";
        let balancer = Balancer::new(&["config", "--workers", "2"]).env("CLUSTER_STRATEGY", "sticky");
        file(balancer, text).dotenv("# ours\nPORT=4000\nCLUSTER_WORKER=4\n")
    };
    let (code, text) = sources().output();
    assert_eq!(code, 0, "{text}");
    for words in [
        "* --workers 2 --workers",
        "* --strategy sticky variable CLUSTER_STRATEGY",
        "* --port 4000 .env:2 PORT",
        "* --drain-timeout 20s cluster.toml:1",
        "* --redis-url (hidden) cluster.toml:2",
        "--kill-timeout 5s default",
        "warning: CLUSTER_WORKER is no setting, and has no effect; did you mean CLUSTER_WORKERS?",
    ] {
        let is_it = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") == words;
        assert!(text.lines().any(is_it), "{words:?} is missing in: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let (code, text) = sources().with(&["--json"]).output();
    let shown: Value = serde_json::from_str(&text).unwrap();
    let of = |name: &str| {
        shown["settings"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (code, of("port")["value"].clone(), of("port")["from"].clone()),
        (0, json!("4000"), json!(".env"))
    );
    assert_eq!(
        (of("redis-url")["value"].clone(), of("redis-url")["hidden"].clone()),
        (Value::Null, json!(true))
    );
    assert_eq!(
        (of("kill-timeout")["set"].clone(), of("kill-timeout")["value"].clone()),
        (json!(false), json!("5s"))
    );
    assert!(!text.contains("hunter2"), "{text}");
    let (code, text) = sources().with(&["--kill-timeout", "5", "--health-fall", "no"]).output();
    assert!(code == 2 && text.contains("--kill-timeout") && text.contains("--health-fall"), "{text}");
}

#[test]
fn check_says_that_it_would_start_and_leaves_nothing_behind() {
    let balancer = Balancer::new(&["check", "--port", "0", "--admin", "off"]);
    let balancer =
        balancer.with(&["--state-dir", "new/state", "--access-log", "access.log", "--control", "c.sock"]);
    let directory = balancer.directory().to_owned();
    std::fs::write(directory.join("kept"), "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.args(["check", "--port", "0", "--state-dir", "new/state", "--access-log", "access.log"]);
    let output = command.env_clear().env("TMPDIR", &directory).current_dir(&directory).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.lines().last(), Some("configuration is fine"), "{text}");
    for what in ["command", "file descriptors", "clients", "admin listener", "state", "access log"] {
        assert!(text.contains(&format!("ok        {what}: ")), "{what} is missing in: {text}");
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "nothing was made");
    let (code, text) = balancer.output();
    assert!(code == 0 && text.contains("ok        control socket: c.sock"), "{text}");
}

#[test]
fn check_finds_all_wrong_values_and_what_else_is_in_the_way() {
    let balancer = Balancer::new(&["check", "--drain-timeout", "5", "--access-log", "/nowhere/a.log"]);
    let (code, text) = file(balancer, "health-fall = 0\nwokers = 2\n").dotenv("PORT=x\n").output();
    assert_eq!(code, 2, "{text}");
    let wrong = lines(&text, "wrong").join("\n");
    for part in [
        "--drain-timeout",
        "health-fall in cluster.toml line 1",
        "cluster.toml line 2",
        "PORT in .env line 1",
    ] {
        assert!(wrong.contains(part), "{part} is missing in: {text}");
    }
    assert_eq!(lines(&text, "obstacle").len(), 1, "{text}");
    assert!(!text.contains("clients:"), "no default stands for the wrong port: {text}");
    assert_eq!(text.lines().last(), Some("configuration is wrong: 4 errors"));
}

#[test]
fn check_finds_a_command_that_cannot_be_run() {
    let (code, text) = Balancer::new(&["check", "--port", "0", "--", "no-such-program"]).output();
    assert_eq!(code, 2, "{text}");
    assert!(lines(&text, "wrong")[0].contains("no-such-program") && !text.contains("command:"), "{text}");
}

#[test]
fn check_says_nothing_of_addresses_when_it_cannot_know_them() {
    let (code, text) = file(Balancer::new(&["check"]), "port = 1\ndrain-timeout = 30s\n").output();
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with("wrong     cluster.toml line 2: not TOML") && !text.contains("ok  "), "{text}");
}

#[test]
fn check_names_who_has_the_address() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port().to_string();
    let (code, text) = Balancer::new(&["check", "--port", &port, "--admin", "off"]).output();
    assert_eq!(code, 1, "{text}");
    let found = lines(&text, "obstacle").join("\n");
    assert!(found.contains(&format!("(pid {})", std::process::id())) && found.contains(&port), "{text}");
    let (code, text) = Balancer::new(&["check", "--port", "0", "--admin", &port]).output();
    assert!(code == 1 && text.contains("obstacle  admin listener") && text.contains("--admin"), "{text}");
    let (code, text) = Balancer::new(&["check", "--host", "192.0.2.1"]).output();
    assert!(code == 1 && text.contains("not an address of this machine"), "{text}");
}

#[test]
fn check_knows_the_cluster_that_runs_here() {
    let cluster = Balancer::cluster(1).start_ready();
    let port = cluster.address.port().to_string();
    let (code, text, _) = cluster.operate(&["check", "--port", &port, "--admin", "off"]);
    assert_eq!(code, 0, "{text}");
    let taken = lines(&text, "warning").join("\n");
    let pid = format!("the cluster that runs here (pid {})", cluster.pid());
    assert!(taken.contains(&format!("clients: 127.0.0.1:{port} is taken by {pid}")), "{text}");
    assert!(taken.contains("control socket: ") && taken.contains("restart"), "{text}");
    assert_eq!(text.lines().last(), Some("configuration is fine"));
    assert_eq!(cluster.get("/health").status, 200);
}

#[test]
fn check_looks_at_files_and_limits() {
    let check = |arguments: &[&str], part: &str| {
        let (code, text) =
            Balancer::new(&["check", "--port", "0", "--admin", "off"]).with(arguments).output();
        assert!(
            code == 1 && lines(&text, "obstacle").join("\n").contains(part),
            "{part:?} is missing in: {text}"
        );
    };
    check(&["--state-dir", "/proc/nowhere"], "--state-dir");
    check(&["--access-log", "/nowhere/access.log"], "--access-log");
    check(&["--access-log", "/"], "could not open /");
    check(&["--control", "/nowhere/c.sock"], "control socket");
    check(&["--control", "/etc/hostname"], "no socket");
    check(&["--max-connections", "100000000"], "--max-connections");
    let few = Balancer::new(&["check", "--port", "0", "--workers", "60"]);
    let mut command = Command::new("sh");
    let script =
        format!("ulimit -n 100; exec {} check --port 0 --workers 60", env!("CARGO_BIN_EXE_balancer"));
    let output = command.args(["-c", &script]).current_dir(few.directory()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("60 workers need at least"), "{text}");
    let (code, text) = Balancer::new(&["check", "--redis-url", "http://h"]).output();
    assert!(code == 2 && lines(&text, "wrong")[0].contains("--redis-url"), "{text}");
}

#[test]
fn missing_dashes_are_suggested_and_mistyped_subcommands_still_named() {
    let path = || std::env::var("PATH").unwrap();
    let (code, text) = Balancer::new(&["sh", "-c", "a b"]).env("PATH", &path()).output();
    assert_eq!(
        (code, text.trim()),
        (2, "balancer: the program to run goes behind two dashes: balancer -- sh -c 'a b'")
    );
    let (_, text) = Balancer::new(&["--workers", "2", "sh", "start"]).env("PATH", &path()).output();
    assert!(text.contains("balancer --workers 2 -- sh start"), "{text}");
    let script = Balancer::new(&["app.py", "x"]);
    std::fs::write(script.directory().join("app.py"), "").unwrap();
    let (_, text) = script.output();
    assert!(text.contains("balancer -- python3 app.py x"), "{text}");
    let (code, text) = Balancer::new(&["relaod"]).env("PATH", &path()).output();
    assert!(
        code == 2 && text.contains("Did you mean balancer reload?") && !text.contains("-- relaod"),
        "{text}"
    );
    let (code, text) = Balancer::new(&["--workers", "2", "status"]).output();
    assert!(code == 2 && text.contains("Did you mean balancer status?"), "{text}");
}
