//! What a successor has of its predecessor: sockets, the number of workers, secrets.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::slice::from_ref;

use rustix::process::Signal;

use super::{Last, arguments, primary, stop, try_upgrade, upgrade};
use crate::harness::{Balancer, Cluster, eventually};
use crate::tls::client::{ask, connect, is_resumed, trusting, write_pair};

fn swept(cluster: &Cluster) -> Option<()> {
    cluster.control.exists().then_some(())
}

#[test]
fn a_control_socket_that_was_made_anew_leads_to_the_successor() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    fs::remove_file(&cluster.control).unwrap();
    eventually("the file is made anew", || swept(&cluster));
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    assert!(cluster.wait().success());
    let (code, out, err) = cluster.operate(&["status"]);
    assert!(code == 0 && out.contains(&format!("primary {pid}")), "{out}{err}");
    stop(&cluster, pid);
}

#[test]
fn a_control_socket_that_is_swept_as_an_upgrade_begins_is_made_anew_by_the_successor() {
    let mut cluster = Balancer::cluster(1).start_ready();
    fs::remove_file(&cluster.control).unwrap();
    cluster.signal(Signal::USR2);
    assert!(cluster.wait().success());
    let pid = u32::try_from(primary(&cluster)).unwrap();
    let _last = Last(vec![pid]);
    eventually("operators find the successor", || {
        let (code, out, _) = cluster.operate(&["status"]);
        (code == 0 && out.contains(&format!("primary {pid}"))).then_some(())
    });
    stop(&cluster, pid);
}

#[test]
fn a_number_of_workers_that_an_operator_has_chosen_stays_until_the_arguments_say_another_one() {
    let cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    assert_eq!(cluster.operate(&["scale", "3"]).0, 0);
    upgrade(&cluster, &mut last, &[], &[]);
    assert_eq!(cluster.workers().len(), 3);
    upgrade(&cluster, &mut last, &[], &arguments(&cluster, 1, &["--strategy", "least-connections"]));
    assert_eq!(cluster.workers().len(), 3, "the number in the arguments is the one that it was");
    let pid = upgrade(&cluster, &mut last, &[], &arguments(&cluster, 2, &[]));
    assert_eq!(cluster.workers().len(), 2);
    stop(&cluster, pid);
}

#[test]
fn sticky_clients_keep_their_workers_without_a_chosen_secret() {
    let cluster = Balancer::cluster(4).with(&["--strategy", "sticky"]).start_ready();
    let mut last = Last::none();
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let answer = cluster.get("/cluster/info");
            let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
            (cookie, answer.worker_id())
        })
        .collect();
    let mut pid = 0;
    // The one in the middle has no use for the secret.
    for strategy in ["round-robin", "sticky"] {
        pid = upgrade(&cluster, &mut last, &[], &arguments(&cluster, 4, &["--strategy", strategy]));
    }
    for (cookie, worker) in &clients {
        let answer = cluster.request("GET", "/cluster/info", &[("cookie", cookie)], b"");
        assert_eq!(answer.worker_id(), *worker, "{cookie}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    stop(&cluster, pid);
}

#[test]
fn sessions_of_tls_are_resumed_by_the_successor() {
    let certificates = tempfile::tempdir().unwrap();
    let own = write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = crate::tls::cluster(certificates.path(), &[]);
    let mut last = Last::none();
    let config = trusting(from_ref(&own));
    let mut session = connect(cluster.address, &config, "a.test").unwrap();
    assert!(!is_resumed(&session));
    assert!(ask(&mut session, "/cluster/info").unwrap().starts_with("HTTP/1.1 200 "));
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    let mut session = connect(cluster.address, &config, "a.test").unwrap();
    assert!(is_resumed(&session));
    assert!(ask(&mut session, "/cluster/info").unwrap().starts_with("HTTP/1.1 200 "));
    stop(&cluster, pid);
}

#[test]
fn words_of_arguments_are_any_bytes() {
    let cluster = Balancer::cluster(1).start_ready();
    let mut last = Last::none();
    let line = arguments(&cluster, 1, &["--", "sh", "-c", "exec \"$0\" worker"]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.args(["upgrade", "--json", "--control"]).arg(&cluster.control).arg("--").args(line);
    // The program's name, and arguments that it does not look at.
    command.arg("/nowhere/at/all").arg("two\nlines").arg(OsStr::from_bytes(b"\xff\xfe"));
    let output = command.env_clear().current_dir(cluster.directory()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // It has come as far as the program, whose name is nobody's.
    assert!(said.contains("worker 1 of the new balancer"), "{said}{:?}", output.stderr);
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    stop(&cluster, pid);
    let (code, ..) = try_upgrade(&cluster, &[], &[]);
    assert_ne!(code, 0, "nobody is there any more");
}
