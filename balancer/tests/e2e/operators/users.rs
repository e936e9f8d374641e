//! Several users on one machine. Each test has users of its own, whom nobody else has, so
//! that it sees what it has started and nothing else. Root may become any of them.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::process::{Gid, Signal, Uid};
use serde_json::Value;

use super::{Asked, ask, finish, port, text};
use crate::harness::{Balancer, Cluster, eventually};

/// A user without a name, and a directory that is theirs.
struct User {
    id: u32,
    home: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        static USERS: AtomicU32 = AtomicU32::new(0);
        let id = 1_000_000 + std::process::id() * 16 + USERS.fetch_add(1, Ordering::Relaxed);
        let home = tempfile::tempdir().unwrap();
        chown(home.path(), Some(id), Some(id)).unwrap();
        Self { id, home }
    }

    /// A cluster of this user on a free port, whose sockets are below `temporary`.
    fn balancer(&self, temporary: &Path) -> Balancer {
        self.own(Balancer::cluster(1)).env("TMPDIR", text(temporary))
    }

    fn own(&self, balancer: Balancer) -> Balancer {
        let id = self.id.to_string();
        chown(balancer.directory(), Some(self.id), Some(self.id)).unwrap();
        balancer.run_as(program()).run_below("setpriv", &["--reuid", &id, "--regid", &id, "--clear-groups"])
    }

    fn ask(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Asked {
        let mut command = Command::new(program());
        command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir("/");
        finish(command.uid(self.id).gid(self.id))
    }

    /// Runs this as the user, on a thread of its own.
    fn act<T: Send + 'static>(&self, action: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
        let (user, group) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        thread::spawn(move || {
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            action()
        })
    }
}

/// The executable, where everybody may run it.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let directory = open_to_all(0o755);
        let path = directory.path().join("balancer");
        std::fs::copy(env!("CARGO_BIN_EXE_balancer"), &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path)
    });
    path
}

fn open_to_all(mode: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    directory
}

/// A directory as /tmp is.
fn temporary() -> tempfile::TempDir {
    open_to_all(0o1777)
}

fn stop(mut cluster: Cluster) {
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn one_cluster_alone_is_shown_and_several_are_listed() {
    let (user, temporary) = (User::new(), temporary());
    let variables = [("TMPDIR", text(temporary.path()))];
    let none = user.ask(&["status"], &variables);
    assert!(none.code == 1 && none.err.contains("no cluster listens on port 3100"), "{}", none.err);
    let first = user.balancer(temporary.path()).start_ready();
    let directory = temporary.path().join(format!("balancer-{}", user.id));
    assert_eq!(first.control.parent(), Some(&*directory));
    let alone = user.ask(&["status"], &variables);
    assert!(alone.out.contains(&format!("ok on http://{}", first.address)), "{}{}", alone.out, alone.err);

    let second = user.balancer(temporary.path()).start_ready();
    let listed = user.ask(&["status"], &variables);
    assert_eq!(listed.code, 0, "{}", listed.err);
    assert_eq!(listed.out.lines().count(), 3, "{}", listed.out);
    for cluster in [&first, &second] {
        let line = listed.out.lines().find(|line| line.starts_with(&port(cluster))).unwrap();
        let has = |part: &str| assert!(line.contains(part), "{part}: {line}");
        has(&cluster.pid().to_string());
        has(&user.id.to_string());
        has("1/1");
        has(" ok ");
        has(text(&cluster.control));
    }
    let json: Value = serde_json::from_str(&user.ask(&["status", "--json"], &variables).out).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(json[0]["health"]["workers"]["online"], 1);
    for command in [&["reload"][..], &["scale", "+1"], &["stop"], &["status", "--watch"]] {
        let refused = user.ask(command, &variables);
        assert_eq!(refused.code, 1, "{command:?}: {}", refused.out);
        assert!(refused.err.contains("--port says which one is meant"), "{}", refused.err);
        assert!(
            refused.err.contains(&port(&first)) && refused.err.contains(&port(&second)),
            "{}",
            refused.err
        );
    }
    first.signal(Signal::STOP);
    let listed = user.ask(&["status"], &variables);
    let line = listed.out.lines().find(|line| line.contains(&first.pid().to_string())).unwrap();
    assert!(line.contains("no answer") && line.contains(text(&first.control)), "{line}");
    first.signal(Signal::CONT);
    let stopped = user.ask(&["stop", "--port", &port(&first)], &variables);
    assert_eq!(stopped.code, 0, "{}", stopped.err);
    let scaled = user.ask(&["scale", "+1"], &variables);
    assert!(scaled.out.contains("done: 2 workers"), "one is left: {}{}", scaled.out, scaled.err);
    stop(second);
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn root_sees_everybodys_clusters_and_users_only_their_own() {
    let (users, temporary) = ([User::new(), User::new()], temporary());
    let variables = [("TMPDIR", text(temporary.path()))];
    let clusters = users.each_ref().map(|user| user.balancer(temporary.path()).start_ready());
    let all = ask(&["status", "--all"], &variables);
    for (user, cluster) in users.iter().zip(&clusters) {
        let line = all.out.lines().find(|line| line.starts_with(&port(cluster)));
        assert!(line.is_some_and(|line| line.contains(&user.id.to_string())), "{}", all.out);
        let shown = ask(&["status", "--port", &port(cluster)], &variables);
        assert!(shown.out.contains(&format!("run by user {}", user.id)), "{}{}", shown.out, shown.err);
        let own = user.ask(&["status", "--all"], &variables);
        assert_eq!(own.out.lines().count(), 2, "{}", own.out);
    }
    // Also without the right to look into other processes, as in a container.
    let mut contained = Command::new("setpriv");
    contained.args(["--bounding-set", "-sys_ptrace"]).arg(program());
    contained.args(["status", "--port", &port(&clusters[0])]).env_clear().envs(variables).current_dir("/");
    let contained = finish(&mut contained);
    assert_eq!(contained.code, 0, "{}", contained.err);
    // Another user's is neither found nor asked.
    let other = users[0].ask(&["status", "--port", &port(&clusters[1])], &variables);
    assert!(other.code == 1 && other.err.contains("no cluster listens on port"), "{}", other.err);
    let other = users[0].ask(&["stop", "--control", text(&clusters[1].control)], &variables);
    assert!(other.code == 1 && other.err.contains("ermission denied"), "{}", other.err);
    let [first, second] = clusters;
    let stopped = ask(&["stop", "--port", &port(&first)], &variables);
    assert_eq!(stopped.code, 0, "{}", stopped.err);
    stop(second);
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn a_place_that_somebody_has_taken_first_is_not_used() {
    let (user, squatter, temporary) = (User::new(), User::new(), temporary());
    let taken = temporary.path().join(format!("balancer-{}", user.id));
    let (path, target) = (taken.clone(), squatter.home.path().to_owned());
    squatter.act(move || std::fs::create_dir(&path).unwrap()).join().unwrap();
    let variables = [("TMPDIR", text(temporary.path()))];
    let cluster = user.balancer(temporary.path()).start_ready();
    let directory = cluster.control.parent().unwrap();
    assert_ne!(directory, taken);
    assert!(directory.starts_with(temporary.path()), "{}", directory.display());
    assert_eq!(std::fs::metadata(directory).unwrap().uid(), user.id);
    for found in [user.ask(&["status"], &variables), ask(&["status", "--port", &port(&cluster)], &variables)]
    {
        assert!(found.out.contains(&cluster.address.to_string()), "{}{}", found.out, found.err);
    }
    stop(cluster);
    // Nor is a link to a directory of theirs, which they have opened to all.
    std::fs::remove_dir(&taken).unwrap();
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o777)).unwrap();
    let link = taken.clone();
    squatter.act(move || std::os::unix::fs::symlink(target, link).unwrap()).join().unwrap();
    let cluster = user.balancer(temporary.path()).start_ready();
    assert_eq!(std::fs::read_dir(squatter.home.path()).unwrap().count(), 0);
    let found = user.ask(&["status"], &variables);
    assert!(found.out.contains(&cluster.address.to_string()), "{}{}", found.out, found.err);
}

/// What a stranger's program does with those who ask it.
#[derive(Debug, Clone, Copy)]
enum Stranger {
    Silent,
    Garbage,
    /// A status that looks like a cluster's.
    False,
    Endless,
}

impl Stranger {
    /// Listens on `path` as this user; returns once it does. Counts those who have said something.
    fn listen(self, user: &User, path: &Path, heard: &'static AtomicU32) {
        let path = path.to_owned();
        let listening = user.act(move || {
            let listener = UnixListener::bind(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
            listener
        });
        let listener = listening.join().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                self.answer(stream.unwrap(), heard);
            }
        });
    }

    fn answer(self, mut stream: std::os::unix::net::UnixStream, heard: &AtomicU32) {
        if !stream.read(&mut [0; 1024]).is_ok_and(|length| length > 0) {
            return;
        }
        heard.fetch_add(1, Ordering::Relaxed);
        let body = r#"{"status":"ok","workers":{"online":9,"desired":9},"pid":1}"#;
        let _ = match self {
            Self::Silent => stream.read(&mut [0; 1]).map(|_| ()),
            Self::Garbage => stream.write_all(b"\0garbage"),
            Self::False => {
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Self::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                loop {
                    if let Err(err) = stream.write_all(&[b'x'; 65536]) {
                        break Err(err);
                    }
                }
            }
        };
    }
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn a_strangers_socket_is_not_asked_and_is_named() {
    static HEARD: AtomicU32 = AtomicU32::new(0);
    // Root asks it for the list, and believes nothing of it.
    static LISTED: AtomicU32 = AtomicU32::new(0);
    let kinds = [Stranger::Silent, Stranger::Garbage, Stranger::False, Stranger::Endless];
    for (number, kind) in kinds.into_iter().enumerate() {
        let (user, stranger, temporary) = (User::new(), User::new(), temporary());
        let variables = [("TMPDIR", text(temporary.path()))];
        let port = (number + 1).to_string();
        // Where versions up to 0.1 had the sockets of the user and of root, and a path of one's choice.
        let paths = [
            temporary.path().join(format!("balancer-{}-{port}.sock", user.id)),
            temporary.path().join(format!("balancer-0-{port}.sock")),
            temporary.path().join("chosen.sock"),
        ];
        // And where only root looks: in a directory of the stranger's own.
        let own = temporary.path().join(format!("balancer-{}", stranger.id));
        std::fs::DirBuilder::new().mode(0o700).create(&own).unwrap();
        chown(&own, Some(stranger.id), None).unwrap();
        kind.listen(&stranger, &own.join(format!("balancer-{port}.sock")), &LISTED);
        for path in &paths {
            kind.listen(&stranger, path, &HEARD);
        }
        let whose = format!("user {} (pid {})", stranger.id, std::process::id());
        for command in [&["status"][..], &["reload"], &["scale", "+1"], &["stop"]] {
            for named in [["--port", &port], ["--control", text(&paths[2])]] {
                let arguments = [command, &named].concat();
                for asked in [user.ask(&arguments, &variables), ask(&arguments, &variables)] {
                    assert_eq!(asked.code, 1, "{kind:?} {arguments:?}: {}", asked.out);
                    let said = asked.err.contains(&whose) && asked.err.contains("was not asked");
                    assert!(said, "{kind:?} {arguments:?}: {}", asked.err);
                }
            }
        }
        for asked in [
            user.ask(&["healthcheck", "--port", &port], &variables),
            ask(&["healthcheck", "--port", &port], &variables),
        ] {
            assert_eq!(asked.code, 1, "{kind:?}: {}", asked.out);
        }
        let listed = ask(&["status", "--all"], &variables);
        assert!(!listed.out.contains(&stranger.id.to_string()), "{}", listed.out);
    }
    assert_eq!(HEARD.load(Ordering::Relaxed), 0, "nothing was said to them");
    assert!(LISTED.load(Ordering::Relaxed) > 0);
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn a_strangers_socket_does_not_keep_a_cluster_from_starting() {
    static HEARD: AtomicU32 = AtomicU32::new(0);
    let (user, stranger, temporary) = (User::new(), User::new(), temporary());
    let free = shared_testkit::ReservedPort::take().unwrap();
    let port = free.number().to_string();
    let former = temporary.path().join(format!("balancer-{}-{port}.sock", user.id));
    Stranger::False.listen(&stranger, &former, &HEARD);
    let cluster =
        user.own(Balancer::new(&["--port", &port, "--workers", "1"])).env("TMPDIR", text(temporary.path()));
    let cluster = cluster.start_ready();
    let found = user.ask(&["status", "--port", &port], &[("TMPDIR", text(temporary.path()))]);
    assert!(found.code == 0 && found.out.contains(&cluster.pid().to_string()), "{}{}", found.out, found.err);
    // A path of one's choice that is taken is an error, as it was meant.
    let chosen = temporary.path().join("chosen.sock");
    Stranger::Silent.listen(&stranger, &chosen, &HEARD);
    let (code, said) = user.own(Balancer::cluster(1)).with(&["--control", text(&chosen)]).output();
    let whose = format!("process {} of user {}", std::process::id(), stranger.id);
    assert!(code == 1 && said.contains(&whose), "{said}");
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn a_directory_that_takes_no_files_is_passed_over_or_named() {
    let (user, temporary) = (User::new(), temporary());
    std::fs::set_permissions(user.home.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let home = text(user.home.path());
    let cluster = user.balancer(temporary.path()).env("XDG_RUNTIME_DIR", home).start_ready();
    assert!(cluster.control.starts_with(temporary.path()), "{}", cluster.control.display());
    stop(cluster);
    let control = user.home.path().join("control.sock");
    let (code, said) = user.balancer(temporary.path()).with(&["--control", text(&control)]).output();
    assert!(code == 1 && said.contains("control.sock: Permission denied"), "{said}");
    // In a directory of somebody else's, who can replace it.
    let (other, shared) = (User::new(), open_to_all(0o1777));
    chown(shared.path(), Some(other.id), None).unwrap();
    let control = shared.path().join("control.sock");
    let cluster = user.balancer(temporary.path()).with(&["--control", text(&control)]).start_ready();
    let log = cluster.log().join("\n");
    assert!(log.contains(&format!("not safe: user {} can replace it", other.id)), "{log}");
    let root = ask(&["status", "--control", text(&control)], &[]);
    assert!(root.code == 1 && root.err.contains("was not asked"), "its place proves nothing: {}", root.err);
    let root = ask(&["status", "--port", &port(&cluster)], &[]);
    assert!(root.code == 0, "what serves the port does: {}", root.err);
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn a_lost_socket_is_said_once_and_made_when_it_can_be() {
    let (user, temporary) = (User::new(), temporary());
    let place = user.home.path().join("place");
    std::fs::create_dir(&place).unwrap();
    chown(&place, Some(user.id), None).unwrap();
    let control = place.join("control.sock");
    let cluster = user.balancer(temporary.path()).with(&["--control", text(&control)]).start_ready();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o500)).unwrap();
    std::fs::remove_file(&control).unwrap();
    let said = || cluster.log().iter().filter(|line| line.contains("cannot be made anew yet")).count();
    eventually("it is said", || (said() > 0).then_some(()));
    let lost = user.ask(&["status", "--port", &port(&cluster)], &[]);
    assert!(lost.code == 1 && lost.err.contains(&format!("balancer pid {}", cluster.pid())), "{}", lost.err);
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
    eventually("it is made", || control.exists().then_some(()));
    assert_eq!(said(), 1);
    let found = user.ask(&["status", "--control", text(&control)], &[]);
    assert_eq!(found.code, 0, "{}", found.err);
}

#[test]
#[ignore = "needs root: cargo test -- --include-ignored"]
fn the_health_check_works_for_other_users_of_a_container() {
    let (user, other, temporary) = (User::new(), User::new(), temporary());
    let cluster = user.balancer(temporary.path()).start_ready();
    let (port, admin) = (port(&cluster), cluster.admin.unwrap().to_string());
    let variables = [("PORT", &*port), ("CLUSTER_ADMIN", &*admin), ("TMPDIR", text(temporary.path()))];
    for found in [
        user.ask(&["healthcheck"], &variables),
        other.ask(&["healthcheck"], &variables),
        ask(&["healthcheck"], &variables),
    ] {
        assert!(found.code == 0 && found.out.contains(r#""online":1"#), "{}", found.out);
    }
}
