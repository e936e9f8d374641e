//! What a program is started with: its directory, its environment, and what it inherits.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Balancer, Cluster, eventually};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/place.py");
const INHERITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/inherits.sh");

/// A server that says where it runs, as two workers. Its balancer's directory has two
/// releases, and `current`, which leads to the first.
fn server(options: &[&str]) -> Balancer {
    let balancer = Balancer::cluster(2).with(options).with(&["--", "python3", SERVER]);
    let balancer = balancer.env("PATH", &std::env::var("PATH").unwrap());
    for version in ["1", "2"] {
        let release = balancer.directory().join("releases").join(version);
        fs::create_dir_all(&release).unwrap();
        fs::write(release.join("version"), version).unwrap();
    }
    link(balancer.directory(), "releases/1");
    balancer
}

/// As `ln -sfn target current`.
fn link(root: &Path, target: &str) {
    symlink(target, root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
}

fn release(cluster: &Cluster, version: &str) -> PathBuf {
    fs::canonicalize(cluster.directory()).unwrap().join("releases").join(version)
}

/// What each of the two workers says, once both are online.
fn both(cluster: &Cluster) -> [Value; 2] {
    cluster.wait_ready();
    let mut seen = [Value::Null, Value::Null];
    eventually("both workers answer", || {
        let answer = cluster.get("/").json();
        let id: usize = answer["env"]["WORKER_ID"].as_str()?.parse().ok()?;
        seen[id - 1] = answer;
        seen.iter().all(|seen| !seen.is_null()).then_some(())
    });
    seen
}

/// A field of the environment, or another one, of both workers.
fn fields(cluster: &Cluster, name: &str) -> [Value; 2] {
    both(cluster).map(|seen| seen.get(name).unwrap_or(&seen["env"][name]).clone())
}

/// Ends a worker by a request and waits until another is in its place.
fn crash_one(cluster: &Cluster) {
    let pid = cluster.get("/exit").json()["pid"].as_u64().unwrap() as u32;
    eventually("it is replaced", || (!cluster.worker_pids().contains(&pid)).then_some(()));
    eventually("its successor is online", || {
        cluster.workers().iter().all(|worker| worker["state"] == "online").then_some(())
    });
}

fn logged(cluster: &Cluster, part: &str) -> usize {
    cluster.log().iter().filter(|line| line.contains(part)).count()
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_symlink_release_is_taken_up_by_a_reload_and_by_nothing_else() {
    let cluster = server(&["--chdir", "current"]).start_ready();
    let (first, second) = (release(&cluster, "1"), release(&cluster, "2"));
    assert_eq!(fields(&cluster, "cwd"), [first.to_str().unwrap(); 2]);
    assert_eq!(fields(&cluster, "PWD"), [first.to_str().unwrap(); 2]);
    link(cluster.directory(), "releases/2");
    crash_one(&cluster);
    assert_eq!(fields(&cluster, "version"), ["1"; 2], "it comes back in the release of its siblings");
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&format!("directory: {}", second.display())), "{out}");
    assert_eq!(fields(&cluster, "version"), ["2"; 2]);
    assert_eq!(fields(&cluster, "PWD"), [second.to_str().unwrap(); 2]);
    fs::remove_dir_all(first).unwrap();
    crash_one(&cluster);
    assert_eq!(fields(&cluster, "version"), ["2"; 2]);
    fs::create_dir(release(&cluster, "3")).unwrap();
    fs::write(release(&cluster, "3").join("version"), "broken").unwrap();
    link(cluster.directory(), "releases/3");
    assert_eq!(cluster.operate(&["reload"]).0, 1);
    crash_one(&cluster);
    assert_eq!(fields(&cluster, "version"), ["2"; 2], "a failed reload moves nobody");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn the_directory_of_the_start_is_the_one_that_its_user_knows() {
    let shell = ["-c", "cd current && export PWD && exec \"$0\" \"$@\""];
    let cluster = server(&[]).run_below("/bin/sh", &shell).start_ready();
    assert_eq!(fields(&cluster, "version"), ["1"; 2]);
    link(cluster.directory(), "releases/2");
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(fields(&cluster, "version"), ["2"; 2]);
    // What PWD says is believed only when it is so.
    let shell = ["-c", "cd releases/1 && export PWD=/ && exec \"$0\" \"$@\""];
    let cluster = server(&[]).run_below("/bin/sh", &shell).start_ready();
    assert_eq!(fields(&cluster, "cwd"), [release(&cluster, "1").to_str().unwrap(); 2]);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn workers_whose_release_is_deleted_come_back_in_the_one_that_is_there() {
    let cluster = server(&["--chdir", "current"]).start_ready();
    link(cluster.directory(), "releases/2");
    fs::remove_dir_all(release(&cluster, "1")).unwrap();
    crash_one(&cluster);
    crash_one(&cluster);
    crash_one(&cluster);
    assert_eq!(logged(&cluster, "releases/1 does not exist: workers are started in"), 1, "one warning");
    assert!(fields(&cluster, "version").contains(&Value::from("2")));

    let (release, aside) = (release(&cluster, "2"), cluster.directory().join("aside"));
    fs::rename(&release, &aside).unwrap();
    fs::create_dir(&release).unwrap();
    fs::write(release.join("version"), "3").unwrap();
    crash_one(&cluster);
    assert_eq!(logged(&cluster, "releases/2 has been replaced by another one: workers"), 1);

    link(cluster.directory(), "nowhere");
    fs::remove_dir_all(&release).unwrap();
    let reason = "current is a link to nowhere, which does not exist";
    let (code, _, err) = cluster.operate(&["reload"]);
    assert!(code == 1 && err.contains(reason), "{err}");
    cluster.get("/exit");
    eventually("the reason is said", || (logged(&cluster, reason) > 1).then_some(()));
    let events = cluster.admin("/events").text();
    assert!(events.contains(reason), "{events}");
    fs::create_dir(cluster.directory().join("nowhere")).unwrap();
    eventually("it is tried again", || {
        cluster.workers().iter().all(|worker| worker["state"] == "online").then_some(())
    });
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_relative_program_is_the_one_of_the_release() {
    let balancer = server(&[]);
    let current = balancer.directory().join("releases/1/run");
    fs::write(&current, format!("#!/bin/sh\nexec python3 {SERVER}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&current, mode).unwrap();
    let root = balancer.directory().to_owned();
    let place = root.join("current");
    let cluster = Balancer::cluster(1)
        .with(&["--chdir", place.to_str().unwrap(), "--", "./run"])
        .env("PATH", &std::env::var("PATH").unwrap())
        .start_ready();
    assert_eq!(cluster.get("/").json()["version"], "1");
    link(&root, "releases/2");
    let (code, _, err) = cluster.operate(&["reload"]);
    assert!(code == 1 && err.contains("there is no executable file \"./run\""), "{err}");
    assert_eq!(cluster.get("/").json()["version"], "1", "the old worker stays");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn an_environment_file_is_read_anew_by_a_reload_which_names_what_has_changed() {
    let balancer = server(&["--env-file", "a.env", "--env-file", "b.env"]).env("FROM_OUTSIDE", "outside");
    let write = |root: &Path, name: &str, text: &str| fs::write(root.join(name), text).unwrap();
    let root = balancer.directory().to_owned();
    write(
        &root,
        "a.env",
        "KEPT=1\nTURNED='pa$word1 #'\nGONE=secret1\nFROM_OUTSIDE=inside\nPORT=1\nWORKER_ID=9\n",
    );
    write(&root, "b.env", "# later files win\nKEPT=2\n");
    let cluster = balancer.start_ready();
    let old = both(&cluster)[0]["env"].clone();
    assert_eq!(
        (&old["KEPT"], &old["TURNED"], &old["FROM_OUTSIDE"]),
        (&"2".into(), &"pa$word1 #".into(), &"inside".into())
    );
    assert_ne!(old["PORT"], "1");
    assert_eq!(logged(&cluster, "PORT, WORKER_ID of the environment files"), 1);

    write(&root, "a.env", "KEPT=1\nTURNED=secret2\nNEW=secret3\n");
    crash_one(&cluster);
    assert_eq!(fields(&cluster, "TURNED"), ["pa$word1 #"; 2], "only a reload reads it");
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    for line in [
        "variables added: NEW",
        "variables changed: TURNED",
        "variables removed: FROM_OUTSIDE, GONE, PORT, WORKER_ID",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    let new = both(&cluster)[1]["env"].clone();
    assert_eq!(
        (&new["TURNED"], &new["NEW"], &new["GONE"]),
        (&"secret2".into(), &"secret3".into(), &Value::Null)
    );
    assert_eq!(new["FROM_OUTSIDE"], "outside");
    let (_, out, _) = cluster.operate(&["reload", "--json"]);
    assert!(!out.contains("changes"), "nothing has changed: {out}");
    let told = [cluster.log().join("\n"), cluster.admin("/events").text(), out].concat();
    assert!(told.contains("variables added: NEW") && !told.contains("secret"), "{told}");
    crash_one(&cluster);
    assert_eq!(fields(&cluster, "TURNED"), ["secret2"; 2], "it is the cluster's now");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_reload_that_fails_leaves_the_environment_as_it_was() {
    let balancer = server(&["--chdir", "current", "--env-file", "a.env"]);
    let file = balancer.directory().join("a.env");
    fs::write(&file, "VALUE=old\n").unwrap();
    let cluster = balancer.start_ready();
    let before = cluster.worker_pids();
    let refused = |part: &str| {
        let (code, _, err) = cluster.operate(&["reload"]);
        assert!(code == 1 && err.contains(part) && !err.contains("secret"), "{part}: {err}");
        assert_eq!(cluster.worker_pids(), before);
    };
    fs::write(&file, "VALUE=new\nsecret\n").unwrap();
    refused("a.env line 2: it has no =");
    fs::remove_file(&file).unwrap();
    refused("a.env: No such file");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    refused("a.env is no regular file");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "VALUE=new\n").unwrap();
    fs::write(cluster.directory().join("current/version"), "broken").unwrap();
    refused("ended before it was ready");
    fs::write(cluster.directory().join("current/version"), "1").unwrap();
    crash_one(&cluster);
    assert_eq!(fields(&cluster, "VALUE"), ["old"; 2]);
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert_eq!(fields(&cluster, "VALUE"), ["new"; 2]);
}

#[test]
fn a_reload_says_which_settings_need_a_restart() {
    let balancer = Balancer::new(&["--port", "0"]).dotenv("CLUSTER_WORKERS=2\nCLUSTER_DRAIN_TIMEOUT=9s\n");
    let cluster = balancer.start_ready();
    let dotenv = cluster.directory().join(".env");
    assert_eq!(cluster.operate(&["reload"]).1.matches("restart").count(), 0);
    fs::write(&dotenv, "CLUSTER_WORKERS=3\nCLUSTER_DRAIN_TIMEOUT=9s\nPORT=1\n").unwrap();
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    let told = "CLUSTER_WORKERS changed in .env: takes effect with a restart";
    assert!(out.lines().any(|line| line == told), "{out}");
    assert!(!out.contains("PORT") && !out.contains("DRAIN"), "{out}");
    assert_eq!(cluster.workers().len(), 2);
    assert!(cluster.admin("/events").text().contains(told) && logged(&cluster, told) == 1);
}

#[test]
fn a_bundled_worker_has_the_variables_and_needs_no_directory() {
    let balancer = Balancer::cluster(1).with(&["--env-file", "a.env"]);
    fs::write(
        balancer.directory().join("a.env"),
        "CLUSTER_FIBONACCI_MAX=5\nCLUSTER_WORKERS=7\nCLUSTER_PORT=1\n",
    )
    .unwrap();
    fs::create_dir(balancer.directory().join("start")).unwrap();
    let shell = ["-c", "cd start && cp ../a.env . && exec \"$0\" \"$@\""];
    let cluster = balancer.run_below("/bin/sh", &shell).start_ready();
    let compute = || cluster.post("/cluster/cpu-intensive", &serde_json::json!({"n": 6})).status;
    assert_eq!(compute(), 400);
    assert_eq!(logged(&cluster, "CLUSTER_WORKERS of the environment files: a setting of the balancer"), 1);
    fs::remove_dir_all(cluster.directory().join("start")).unwrap();
    let victim = cluster.worker_pids()[0];
    crate::harness::send_signal(victim, rustix::process::Signal::KILL);
    eventually("it is replaced", || {
        let workers = cluster.workers();
        (workers[0]["state"] == "online" && workers[0]["pid"] != victim).then_some(())
    });
    assert_eq!(compute(), 400, "with the variables of the start");
}

#[test]
fn places_and_files_that_cannot_be_used_are_refused_in_words() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--chdir", "none"], &["none does not exist", "--chdir or CLUSTER_CHDIR"]),
        (&["--chdir", "file"], &["file is not a directory"]),
        (&["--chdir", "loop"], &["in a circle"]),
        (&["--chdir", "dangling"], &["is a link to none, which does not exist"]),
        (&["--env-file", "none.env"], &["none.env: No such file", "--env-file or CLUSTER_ENV_FILE"]),
        (&["--env-file", "file", "--env-file", "bad.env"], &["bad.env line 2: it has no ="]),
        (&["--env-file", "file,bad.env"], &["bad.env line 2: it has no ="]),
        (&["--env-file", "."], &["is no regular file"]),
        (&["--env-file", "pipe"], &["pipe is no regular file"]),
        (&["--env-file", "bytes"], &["bytes line 1: it is not UTF-8"]),
        (&["--env-file", "zero"], &["zero line 1", "zero byte"]),
        (&["--env-file", "long"], &["long line 1: A has 1048568 bytes"]),
        (&["--chdir", "dir", "--", "./absent"], &["there is no executable file \"./absent\""]),
        (
            &["--cluster", "off", "--chdir", "dir"],
            &["--chdir or CLUSTER_CHDIR is for the workers of a cluster"],
        ),
    ];
    for (arguments, parts) in cases {
        let balancer = Balancer::new(&["--port", "0"]).with(arguments);
        let root = balancer.directory();
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(root.join("file"), "A=1\n").unwrap();
        fs::write(root.join("bad.env"), "A=1\nsecret\n").unwrap();
        fs::write(root.join("bytes"), b"A=\xff\n").unwrap();
        fs::write(root.join("zero"), "A=secret\0\n").unwrap();
        fs::write(root.join("long"), format!("A={}\n", "secret42".repeat((1 << 17) - 1))).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("none", root.join("dangling")).unwrap();
        assert!(Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
        let (code, text) = balancer.output();
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{arguments:?}: {text}");
        assert!(!text.contains("secret") && text.lines().count() == 1, "{arguments:?}: {text}");
    }
}

/// A program finds the limits, signals and the rest as it does without a balancer.
#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_program_inherits_what_the_balancer_was_started_with() {
    for setup in [
        "true",
        "ulimit -S -n 300; ulimit -c 0; umask 027",
        "ulimit -S -n 2000; ulimit -S -s 4096; trap '' HUP INT TTIN",
    ] {
        let shell = format!("{setup}; exec \"$0\" \"$@\"");
        let path = std::env::var("PATH").unwrap();
        let balancer = Balancer::cluster(1).run_below("/bin/sh", &["-c", &shell]).env("PATH", &path);
        let (plain, below) = (balancer.directory().join("plain"), balancer.directory().join("below"));
        let [plain_name, below_name] = [&plain, &below].map(|path| path.to_str().unwrap());
        let status = Command::new("/bin/sh")
            .args(["-c", &shell, INHERITS, plain_name, "true"])
            .env_clear()
            .env("TMPDIR", balancer.directory())
            .env("PATH", &path)
            .current_dir(balancer.directory())
            .stdin(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
        let cluster = balancer.with(&["--", INHERITS, below_name, "python3", SERVER]).start_ready();
        let seen = |path: &Path| fs::read_to_string(path).unwrap();
        let (plain, below) = (seen(&plain), seen(&below));
        assert_eq!(plain, below, "{setup}");
        assert!(plain.contains("Max open files") && plain.contains("SigIgn"), "{plain}");
        drop(cluster);
    }
}
