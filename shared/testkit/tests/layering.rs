//! Who may use whom: the table of ARCHITECTURE.md, held against `cargo metadata`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// A crate and the crates of this workspace that it may use. `shared-testkit` may
/// be used by the tests of every crate and by nothing else.
const MAY_USE: &[(&str, &[&str])] = &[
    ("shared-protocol", &[]),
    ("shared-settings", &[]),
    ("shared-telemetry", &[]),
    ("shared-process", &[]),
    ("shared-balance-stats", &[]),
    ("shared-http-client", &["shared-tls-client"]),
    ("shared-tls-client", &[]),
    ("shared-manual", &[]),
    ("shared-store", &["shared-protocol"]),
    ("shared-testkit", &["shared-process", "shared-protocol"]),
    ("balancer-http1", &[]),
    ("balancer-fleet", &["shared-protocol"]),
    ("balancer-pool", &["shared-protocol"]),
    ("balancer-state", &["balancer-pool", "shared-process", "shared-protocol"]),
    ("balancer-access-log", &["shared-protocol"]),
    (
        "balancer-proxy",
        &[
            "balancer-access-log",
            "balancer-http1",
            "balancer-pool",
            "balancer-state",
            "balancer-tls",
            "shared-protocol",
        ],
    ),
    ("balancer-tls", &["shared-protocol"]),
    ("balancer-acme", &["balancer-tls", "shared-protocol"]),
    (
        "balancer-supervisor",
        &[
            "balancer-fleet",
            "balancer-pool",
            "balancer-state",
            "shared-http-client",
            "shared-process",
            "shared-protocol",
            "shared-telemetry",
        ],
    ),
    (
        "balancer-admin",
        &["balancer-pool", "balancer-state", "balancer-supervisor", "shared-process", "shared-protocol"],
    ),
    ("balancer-ctl", &["shared-http-client", "shared-protocol", "shared-settings", "shared-telemetry"]),
    (
        "worker",
        &[
            "shared-manual",
            "shared-process",
            "shared-protocol",
            "shared-settings",
            "shared-store",
            "shared-telemetry",
        ],
    ),
    (
        "verify",
        &[
            "shared-balance-stats",
            "shared-http-client",
            "shared-manual",
            "shared-process",
            "shared-protocol",
            "shared-settings",
            "shared-store",
            "shared-telemetry",
            "shared-tls-client",
        ],
    ),
    (
        "loadtest",
        &[
            "shared-balance-stats",
            "shared-manual",
            "shared-process",
            "shared-protocol",
            "shared-settings",
            "shared-telemetry",
            "shared-tls-client",
        ],
    ),
];

/// The program, which builds and connects everything.
const PROGRAM: &str = "balancer";
/// For tests only.
const TESTKIT: &str = "shared-testkit";
/// Other people's crates that must not be used, directly, by whom.
const NEVER: &[(&str, &[&str])] = &[
    ("balancer-http1", &["tokio", "pingora"]),
    ("shared-protocol", &["tokio", "pingora"]),
    ("shared-balance-stats", &["tokio", "pingora"]),
    ("balancer-fleet", &["tokio", "pingora"]),
    ("balancer-pool", &["pingora"]),
    ("balancer-state", &["pingora"]),
    ("balancer-supervisor", &["pingora"]),
    ("balancer-admin", &["pingora"]),
    ("balancer-ctl", &["pingora"]),
    ("balancer", &["pingora"]),
    ("worker", &["pingora"]),
    ("verify", &["pingora"]),
    ("loadtest", &["pingora"]),
];

#[derive(Debug, Default)]
struct Dependencies {
    normal: BTreeSet<String>,
    tests: BTreeSet<String>,
}

fn workspace() -> BTreeMap<String, Dependencies> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| {
            let mut found = Dependencies::default();
            for dependency in package["dependencies"].as_array().unwrap() {
                let kind = if dependency["kind"] == "dev" { &mut found.tests } else { &mut found.normal };
                kind.insert(name(dependency));
            }
            (name(package), found)
        })
        .collect()
}

/// What is wrong with the dependencies of `workspace`, a line each.
fn violations(workspace: &BTreeMap<String, Dependencies>) -> Vec<String> {
    let is_ours = |name: &&String| workspace.contains_key(*name) && !is_stand_in(name);
    let mut wrong = Vec::new();
    for (name, found) in workspace.iter().filter(|(name, _)| !is_stand_in(name)) {
        if found.normal.contains(TESTKIT) {
            wrong.push(format!("{name} uses {TESTKIT} outside tests"));
        }
        let forbidden = NEVER.iter().filter(|(who, _)| who == name).flat_map(|(_, never)| *never);
        for never in forbidden.filter(|never| found.normal.contains(**never)) {
            wrong.push(format!("{name} must not use {never}"));
        }
        if name == PROGRAM {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(who, _)| who == name) else {
            wrong.push(format!("{name} is not in the table: add it here and to ARCHITECTURE.md"));
            continue;
        };
        let used = found.normal.iter().filter(is_ours);
        let used = used.chain(found.tests.iter().filter(is_ours).filter(|used| *used != TESTKIT));
        for used in used.filter(|used| !allowed.contains(&used.as_str())) {
            wrong.push(format!("{name} must not use {used}"));
        }
    }
    wrong
}

/// Crates that only make up for something of the build, and hold no code of ours.
fn is_stand_in(name: &str) -> bool {
    matches!(name, "libz-ng-sys" | "workspace-hack")
}

#[test]
fn each_crate_uses_only_those_that_it_may() {
    let wrong = violations(&workspace());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_forbidden_dependency_is_found() {
    for (who, used) in
        [("balancer-proxy", "balancer-supervisor"), ("balancer-http1", "tokio"), ("worker", TESTKIT)]
    {
        let mut workspace = workspace();
        workspace.get_mut(who).unwrap().normal.insert(used.to_owned());
        let wrong = violations(&workspace);
        assert!(wrong.iter().any(|line| line.starts_with(who) && line.contains(used)), "{who}: {wrong:?}");
    }
}
