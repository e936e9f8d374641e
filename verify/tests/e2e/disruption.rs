//! The disruptive checks, against balancers that cannot cope.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::harness::verify;
use crate::misbehaving::name;

/// Writes a program that is a balancer with a fault.
pub fn balancer_with(fault: Fault, directory: &Path) -> PathBuf {
    let own = |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_misbehaving-balancer");
        format!("*) exec '{program}' --fault {} {arguments} -- \"$@\" ;;", name(fault))
    };
    // The mark lets the proxy know that a change goes on. The real balancer is
    // behind the proxy, and so is its control socket.
    let marked = format!(
        "reload|scale) for path; do :; done\n\
         case \"$1\" in reload) set -- reload ;; scale) set -- scale \"$2\" ;; esac\n\
         : > '{mark}'; \"$real\" \"$@\" --control \"$path.real\"; code=$?; rm -f '{mark}'; exit $code ;;\n{}",
        own(&format!("--mark '{}'", mark(directory).display())),
        mark = mark(directory).display(),
    );
    let cases = match fault {
        Fault::ReloadDrops | Fault::ScaleDrops => &marked,
        Fault::ReloadOnlySaysSo | Fault::BrokenReloadSaysOk => "reload) exit 0 ;;",
        Fault::ScaleOnlySaysSo => "scale) exit 0 ;;",
        // The status has a worker's pid behind its id.
        Fault::BrokenReloadKills => {
            "reload) pids=$(\"$real\" status --json \"$2\" \"$3\" | tr -d ' \\n' \
             | grep -o '\"id\":[0-9]*,\"pid\":[0-9]*' | grep -o '[0-9]*$')\n\
             kill -KILL $pids; echo rolled back >&2; exit 1 ;;"
        }
        _ => &own(""),
    };
    lying(directory, cases)
}

/// The file that is there while the cluster of `directory` is reloaded or scaled.
fn mark(directory: &Path) -> PathBuf {
    directory.join("changing")
}

#[test]
fn a_balancer_that_does_not_start_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balancer");
    std::fs::write(&path, "#!/bin/sh\necho no such luck >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = verify(&["--spawn", "--balancer", path.to_str().unwrap()]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(
        outcome.stderr.contains("exit status: 7 at start; the end of its log: no such luck"),
        "{outcome:?}"
    );
}

/// The balancer itself, with other answers of its subcommands.
fn lying(directory: &Path, cases: &str) -> PathBuf {
    let real = crate::harness::balancer();
    let path = directory.join("balancer");
    let script = format!(
        "#!/bin/sh\nreal='{}'\ncase \"$1\" in\n{cases}\nesac\nexec \"$real\" \"$@\"\n",
        real.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_balancer_without_a_subcommand_is_not_judged_by_it() {
    for (cases, check) in [("reload) exit 2 ;;", "reload"), ("scale) exit 2 ;;", "scale")] {
        let directory = tempfile::tempdir().unwrap();
        let path = lying(directory.path(), cases);
        let path = path.to_str().unwrap();
        let arguments =
            ["--spawn", "--workers", "2", "--balancer", path, "--only", check, "--format", "json"];
        let judged = verify(&arguments);
        assert_eq!((judged.of(check).as_str(), judged.code), ("inconclusive", 4), "{cases}: {judged:?}");
    }
}
