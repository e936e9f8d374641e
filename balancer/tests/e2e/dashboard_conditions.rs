//! What the dashboard shows beside workers and rates: strategy, queue, faults, rejections,
//! certificates, changes over the curves, and shares on a scale that reads right.

use crate::browser::Browser;
use crate::harness::{Balancer, Cluster};
use crate::tls::client::write_pair;

fn open(cluster: &Cluster) -> Browser {
    let browser = Browser::start();
    browser.look(1280, 900, "light");
    browser.open(&format!("http://{}/", cluster.admin.unwrap()));
    browser
}

/// The page says in the row `name` what begins like this.
fn until_said(browser: &Browser, name: &str, begins: &str) {
    let script = format!(
        "const box = [...document.querySelectorAll('#conditions > div')].find((box) => box.firstChild.textContent === '{name}');
         return box !== undefined && !box.hidden && box.lastChild.textContent.startsWith('{begins}');"
    );
    browser.until(&format!("{name}: {begins}"), &script);
}

#[test]
#[ignore = "needs chromium, chromium-driver and node: bash .ci/setup"]
fn faults_rejections_and_the_queue_are_shown_by_kind() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/faulty.js");
    let cluster = Balancer::cluster(1)
        .with(&["--health-path", "tcp", "--strategy", "least-connections", "--max-concurrency", "2"])
        .with(&["--", "node", script])
        .env("PATH", &std::env::var("PATH").unwrap())
        .start_ready();
    let browser = open(&cluster);
    until_said(&browser, "Strategy", "least-connections");
    until_said(&browser, "Queue", "0 waiting, 2 at a time for each worker");
    until_said(&browser, "Faults of workers", "none since the start");
    until_said(&browser, "Rejected", "none since the start");
    assert_eq!(cluster.request("POST", "/close", &[], b"").status, 502);
    until_said(&browser, "Faults of workers", "1 closed at worker 1");
    assert_eq!(cluster.operate(&["maintenance", "on"]).0, 0);
    assert_eq!(cluster.get("/").status, 503);
    until_said(&browser, "Rejected", "1 maintenance");
    browser.until(
        "the change is a line over the curves",
        "return document.querySelector('.spark .mark:not(.bad)').getAttribute('d').startsWith('M');",
    );
}

#[test]
#[ignore = "needs chromium and chromium-driver: bash .ci/setup"]
fn certificates_are_shown_and_a_share_fills_its_part_of_the_bar() {
    let certificates = tempfile::tempdir().unwrap();
    write_pair(certificates.path(), "a.pem", &["a.test"]);
    let directory = certificates.path().to_str().unwrap();
    let secure = Balancer::cluster(2).with(&["--tls-dir", directory]).start_ready();
    until_said(&open(&secure), "Certificates", "a.test: expires in ");

    let cluster = Balancer::cluster(4).start_ready();
    let browser = open(&cluster);
    for _ in 0..40 {
        assert_eq!(cluster.get("/cluster/info").status, 200);
    }
    browser.until(
        "a quarter of the requests is a quarter of a bar",
        "const rows = [...document.querySelectorAll('#workers tr')];
         return rows.length === 4 && rows.every((row) => {
             const width = parseFloat(row.querySelector('.bar span').style.width);
             return width > 20 && width < 30 && Math.abs(width - parseInt(row.querySelector('.percent').textContent)) <= 1;
         });",
    );
}
