//! Control sockets in all their places and troubles.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use shared_testkit::control;

use super::{ask, port, text};
use crate::harness::{Balancer, eventually, send_signal};

/// Makes something at a path.
type Make = fn(&Path);

/// A cluster of one worker whose socket is at a path that a test has chosen.
fn at(path: &Path) -> Balancer {
    Balancer::cluster(1).with(&["--control", text(path)])
}

#[test]
fn a_socket_is_found_although_the_environment_is_another() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Balancer::cluster(1).env("XDG_RUNTIME_DIR", text(directory.path())).start_ready();
    let port = port(&cluster);
    assert_eq!(cluster.control, directory.path().join(format!("balancer-{port}.sock")));
    for variables in [&[][..], &[("XDG_RUNTIME_DIR", "/nonexistent")], &[("TMPDIR", "/nonexistent")]] {
        let found = ask(&["status", "--port", &port, "--json"], variables);
        assert_eq!(found.code, 0, "{variables:?}: {}", found.err);
        let status: Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(status["primary"]["pid"], cluster.pid());
    }
    // Also where somebody has chosen the place.
    let chosen = directory.path().join("chosen.sock");
    let other = at(&chosen).start_ready();
    let found = ask(&["status", "--port", &other.address.port().to_string()], &[]);
    assert!(found.code == 0 && found.out.contains(&other.address.to_string()), "{}", found.err);
}

#[test]
fn a_place_that_does_not_do_is_passed_over() {
    let long = tempfile::tempdir().unwrap();
    let deep = long.path().join("d".repeat(100));
    let shared = long.path().join("shared");
    for path in [&deep, &shared] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    let file = long.path().join("file");
    std::fs::write(&file, "").unwrap();
    let gone = long.path().join("gone");
    for runtime in [&deep, &shared, &file, &gone, Path::new("relative")] {
        let cluster = Balancer::cluster(1).env("XDG_RUNTIME_DIR", text(runtime)).start_ready();
        assert!(!cluster.control.starts_with(runtime), "{}", cluster.control.display());
        let directory = cluster.control.parent().unwrap();
        let found = std::fs::metadata(directory).unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (0o700, rustix::process::getuid().as_raw()));
        let status = ask(&["status", "--port", &port(&cluster)], &[("TMPDIR", text(cluster.directory()))]);
        assert_eq!(status.code, 0, "{}", status.err);
    }
}

/// Each way in which the file may get lost.
#[test]
fn a_socket_that_is_gone_is_made_anew() {
    let ways: [Make; 4] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::remove_dir_all(path.parent().unwrap()).unwrap(),
        |path| std::fs::rename(path, path.with_extension("moved")).unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            // Another one, on which nobody listens.
            drop(UnixListener::bind(path).unwrap());
        },
    ];
    let clusters = ways.map(|way| {
        let runtime = tempfile::tempdir().unwrap();
        let cluster = Balancer::cluster(1).env("XDG_RUNTIME_DIR", text(runtime.path())).start_ready();
        way(&cluster.control);
        (cluster, runtime)
    });
    for (mut cluster, _runtime) in clusters {
        let made: PathBuf = eventually("it is made anew", || {
            let events = cluster.events();
            let event = events
                .iter()
                .find(|event| event["message"].as_str().is_some_and(|text| text.contains("made anew")));
            Some(event?["control"].as_str()?.into())
        });
        assert!(control::status(&made).is_some());
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o600);
        let status = ask(&["status", "--port", &port(&cluster)], &[]);
        assert_eq!(status.code, 0, "{}", status.err);
        cluster.signal(Signal::TERM);
        assert!(cluster.wait().success());
        assert!(!made.exists(), "and removed in the end");
    }
}

#[test]
fn two_clusters_with_one_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let mut first = at(&path).start_ready();
    let (code, text) = at(&path).output();
    assert_eq!(code, 1);
    let whose = format!("another cluster listens on it: process {}", first.pid());
    assert!(text.contains(&whose) && text.contains("--control"), "{text}");
    // One that stands still has it as well.
    first.signal(Signal::STOP);
    let (code, text) = at(&path).output();
    assert!(code == 1 && text.contains(&whose), "{text}");
    first.signal(Signal::CONT);
    // The file is gone for a moment, and the second one is faster: the first leaves it alone.
    first.signal(Signal::STOP);
    std::fs::remove_file(&path).unwrap();
    let second = at(&path).start_ready();
    first.signal(Signal::CONT);
    eventually("the first one has noticed", || {
        first.log().iter().any(|line| line.contains("cannot be made anew yet")).then_some(())
    });
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    assert_eq!(control::address(&path), Some(second.address));
    drop(second);
    // What the kill has left is replaced.
    assert!(path.exists());
    let third = at(&path).start_ready();
    assert_eq!(control::address(&path), Some(third.address));
}

#[test]
fn what_is_no_socket_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let makes: [(&str, Make); 5] = [
        ("a directory", |path| std::fs::create_dir(path).unwrap()),
        ("another file", |path| std::fs::write(path, "precious").unwrap()),
        ("another file", |path| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("a symbolic link", |path| std::os::unix::fs::symlink("/nonexistent", path).unwrap()),
        ("a symbolic link", |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap()),
    ];
    for (kind, make) in makes {
        make(&path);
        let before = std::fs::symlink_metadata(&path).unwrap().ino();
        let (code, text) = at(&path).output();
        let named = format!("control.sock: there is {kind}, which is not a socket");
        assert!(code == 1 && text.contains(&named), "{kind}: {text}");
        let asked = ask(&["status", "--control", super::text(&path)], &[]);
        let known = asked.err.contains("is not a socket") || asked.err.contains("no cluster listens on");
        assert!(asked.code == 1 && known, "{kind}: {}", asked.err);
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().ino(), before, "{kind}");
        let moved = tempfile::tempdir().unwrap();
        std::fs::rename(&path, moved.path().join("old")).unwrap();
    }
    let (code, text) = at(&directory.path().join("no/control.sock")).output();
    assert!(code == 1 && text.contains("there is no such directory"), "{text}");
}

#[test]
fn a_directory_that_is_open_to_all_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let cluster = at(&directory.path().join("control.sock")).start_ready();
    let log = cluster.log().join("\n");
    assert!(log.contains("the control socket is not safe: everybody can replace it"), "{log}");
}

/// Programs of the same user that are no cluster.
#[test]
fn who_answers_nonsense_is_not_believed_for_ever() {
    use std::io::{Read, Write};
    let directory = tempfile::tempdir().unwrap();
    let answers: [&[u8]; 3] = [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        let path = directory.path().join(format!("{index}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer);
                // A body without an end.
                let chunk = [&b"100000\r\n"[..], &[b' '; 0x10_0000], b"\r\n"].concat();
                while index == 2 && stream.write_all(&chunk).is_ok() {}
            }
        });
        for command in [&["status"][..], &["reload"], &["scale", "2"], &["stop"], &["healthcheck"]] {
            let begun = Instant::now();
            let asked = ask(&[command, &["--control", text(&path)]].concat(), &[]);
            assert_eq!(asked.code, 1, "{index} {command:?}: {} {}", asked.out, asked.err);
            assert!(begun.elapsed() < Duration::from_secs(9), "{command:?}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn a_cluster_whose_socket_is_lost_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("place/control.sock");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let mut cluster = at(&path).start_ready();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let (pid, port) = (cluster.pid(), port(&cluster));
    let advice = format!(
        "balancer pid {pid} listens on {}; kill -TERM {pid} stops it, kill -HUP {pid} reloads it",
        cluster.address
    );
    for command in [&["status"][..], &["reload"], &["stop"]] {
        for named in [["--port", &port], ["--control", text(&path)]] {
            let asked = ask(&[command, &named].concat(), &[]);
            assert!(asked.code == 1 && asked.err.contains("no cluster listens on"), "{}", asked.err);
            let expected = if named[0] == "--port" { &*advice } else { &advice[..12] };
            assert!(asked.err.contains(expected), "{command:?} {named:?}: {}", asked.err);
        }
    }
    let listed = ask(&["status", "--all"], &[]).out;
    assert!(
        listed.lines().any(|line| line.contains(&pid.to_string()) && line.contains("lost (kill -TERM")),
        "{listed}"
    );
    send_signal(pid, Signal::TERM);
    assert!(cluster.wait().success());
}

#[test]
fn a_single_process_is_not_taken_for_a_cluster_whose_socket_is_lost() {
    let single = Balancer::new(&["--port", "0", "--cluster", "off"]).start();
    let asked = ask(&["status", "--port", &port(&single)], &[]);
    assert_eq!(asked.code, 1);
    let what = format!("balancer pid {} listens on {} as a single process", single.pid(), single.address);
    assert!(asked.err.contains(&what) && !asked.err.contains("-HUP"), "{}", asked.err);
    let health = ask(&["healthcheck"], &[("PORT", &port(&single))]);
    assert_eq!(health.code, 0, "{}", health.out);
}
