//! A browser on HTTPS: it chooses HTTP/2, and stays in touch over a reload.

use serde_json::Value;

use crate::browser::Browser;
use crate::harness::{Balancer, Cluster};
use crate::tls::client::write_pair;

/// What the page has seen of each way to be in touch.
fn state(browser: &Browser) -> Value {
    browser.run("return state()")
}

fn pids(cluster: &Cluster) -> Vec<String> {
    cluster.worker_pids().iter().map(u32::to_string).collect()
}

/// Waits until the page has heard of one of `pids` in each way.
fn in_touch(browser: &Browser, pids: &[String]) {
    let known = serde_json::to_string(pids).unwrap();
    for way in ["events", "socket", "pid"] {
        browser.until(
            &format!("the page hears of {known} by {way}"),
            &format!("return state().{way}.some((pid) => {known}.includes(pid))"),
        );
    }
}

#[test]
#[ignore = "needs chromium and node: bash .ci/setup"]
fn a_page_stays_in_touch_over_a_reload_in_both_protocols() {
    let certificates = tempfile::tempdir().unwrap();
    write_pair(certificates.path(), "a.pem", &["localhost", "127.0.0.1"]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/live_page.js");
    let browser = Browser::trusting_anybody();
    for (http2, protocol) in [("tls", "h2"), ("off", "http/1.1")] {
        let options = ["--tls-dir", certificates.path().to_str().unwrap(), "--http2", http2];
        let balancer = Balancer::cluster(2).with(&options).with(&["--health-path", "/pid"]);
        let balancer = balancer.with(&["--", "node", program]).env("PATH", &std::env::var("PATH").unwrap());
        let cluster = balancer.start_ready();
        browser.open(&format!("https://127.0.0.1:{}/", cluster.address.port()));
        let before = pids(&cluster);
        in_touch(&browser, &before);
        let (code, _, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{err}");
        let after = pids(&cluster);
        assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
        in_touch(&browser, &after);
        let state = state(&browser);
        assert_eq!(state["wrong"], serde_json::json!([]), "{state}");
        assert!(state["closed"].as_u64() >= Some(1), "the old worker has ended its WebSocket: {state}");
        assert_eq!(state["protocols"], serde_json::json!([protocol]), "{state}");
    }
}
