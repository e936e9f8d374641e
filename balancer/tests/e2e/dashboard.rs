//! The dashboard as a person has it: in a browser, while the cluster lives.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use shared_process::port::ReservedPort;

use crate::browser::Browser;
use crate::harness::{Balancer, Cluster, send_signal};
use crate::load::Load;

/// What is measured on the machine's clock, from an event in the balancer to its
/// showing on the page.
const SHOWN_WITHIN_MS: u64 = 2_000;

/// On ports that stay its own while it is away.
fn on_ports([port, admin]: &[ReservedPort; 2]) -> Balancer {
    let (port, admin) = (port.number().to_string(), admin.number().to_string());
    Balancer::new(&["--workers", "4", "--port", &port, "--admin", &admin])
}

fn url(cluster: &Cluster) -> String {
    format!("http://{}/", cluster.admin.unwrap())
}

/// Nothing was asked of anybody but the listener, and the console is silent.
fn assert_self_contained(browser: &Browser, cluster: &Cluster) {
    let (own, requests) = (url(cluster), browser.requests());
    let outside: Vec<_> =
        requests.iter().filter(|asked| !asked.starts_with(&own) && !asked.starts_with("data:")).collect();
    assert!(requests.iter().any(|asked| asked.ends_with("/events/stream")), "{requests:?}");
    assert!(outside.is_empty(), "asked for from outside: {outside:?}");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

const FOUR_ONLINE: &str = "
    const rows = [...document.querySelectorAll('#workers tr')];
    const states = rows.map((row) => row.querySelector('.badge').textContent);
    return states.length === 4 && states.every((state) => state === 'online');";

/// Notes when the page first shows what the test is about.
const WATCH: &str = "
    window.seen = {};
    const note = (what) => { window.seen[what] ??= Date.now(); };
    const look = () => {
        for (const item of document.querySelectorAll('#events li')) {
            note(`${item.dataset.kind} ${item.querySelector('.whom').textContent} ${item.querySelector('.detail').textContent}`);
        }
        for (const row of document.querySelectorAll('#workers tr')) {
            const pid = row.querySelector('[data-label=Pid]').textContent;
            note(`row ${row.dataset.worker} ${row.querySelector('.badge').textContent} ${pid}`);
            if (row.classList.contains('changed')) note(`changed ${row.dataset.worker}`);
        }
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
    look();";

/// When the page showed something that begins and ends like this, in milliseconds
/// since 1970.
fn seen(browser: &Browser, begins: &str, ends: &str) -> u64 {
    let script = format!(
        "const found = Object.keys(window.seen).find((key) => key.startsWith({}) && key.endsWith({}));
         return found && window.seen[found];",
        Value::from(begins),
        Value::from(ends)
    );
    browser.until(&format!("the page shows {begins} … {ends}"), &script).as_u64().unwrap()
}

fn all_events(cluster: &Cluster) -> Vec<Value> {
    cluster.admin("/events").json().as_array().unwrap().clone()
}

#[test]
#[ignore = "needs chromium and chromium-driver: bash .ci/setup"]
fn the_dashboard_shows_the_cluster_at_work() {
    let ports = [(); 2].map(|()| ReservedPort::take().unwrap());
    let mut cluster = on_ports(&ports).start_ready();
    let load = Load::start(&cluster, 4);
    let browser = Browser::start();
    browser.open(&url(&cluster));
    browser.until("four workers are online", FOUR_ONLINE);
    let rate =
        "return parseInt(document.querySelector('#figure-requests').textContent.replaceAll(',', '')) > 10;";
    browser.until("the rate is shown", rate);
    browser.until(
        "the state is in words",
        "return document.querySelector('#state').textContent.startsWith('all is well');",
    );
    browser.until(
        "latencies are shown",
        "return /\\d ms/.test(document.querySelector('#figure-p99').textContent);",
    );
    let even = "return [...document.querySelectorAll('#workers .percent')].every((share) => Math.abs(parseInt(share.textContent) - 25) <= 5);";
    browser.until("each worker has its share", even);

    // A worker dies and comes back.
    browser.run(WATCH);
    let victim = cluster.workers()[1].clone();
    let pid = victim["pid"].as_u64().unwrap();
    send_signal(pid as u32, Signal::KILL);
    let shown = seen(&browser, "crashed worker 2", &format!("signal: 9 (SIGKILL) (pid {pid})"));
    let events = all_events(&cluster);
    let at = |kind: &str, after: u64| {
        let found = events.iter().find(|event| {
            event["kind"] == kind && event["worker"] == 2 && event["sequence"].as_u64().unwrap() > after
        });
        found.unwrap_or_else(|| panic!("{kind} in {events:#?}")).clone()
    };
    let crashed = at("crashed", 0);
    let lag = shown.saturating_sub(crashed["atMs"].as_u64().unwrap());
    seen(&browser, "restarted worker 2", "because of crash, restart number 1");
    let new = crate::harness::eventually("worker 2 has a successor", || {
        let worker = cluster.workers()[1].clone();
        (worker["state"] == "online" && worker["pid"] != pid).then(|| worker["pid"].clone())
    });
    let back = seen(&browser, "row 2 online", &format!(" {new}"));
    let events = all_events(&cluster);
    let ready = events.iter().find(|event| event["kind"] == "ready" && event["pid"] == new).unwrap();
    let back = back.saturating_sub(ready["atMs"].as_u64().unwrap());
    println!("crash shown after {lag} ms, its successor {back} ms after it was ready");
    assert!(lag <= SHOWN_WITHIN_MS && back <= SHOWN_WITHIN_MS, "shown after {lag} and {back} ms");
    seen(&browser, "changed 2", "");

    // All of them are replaced.
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    seen(&browser, "reload cluster reload begins", "");
    for worker in 1..=4 {
        seen(&browser, &format!("started worker {worker} on trial"), "");
        seen(&browser, &format!("draining worker {worker}"), "");
    }
    seen(&browser, "reload cluster new workers take over: 4", "");
    seen(&browser, "reload cluster reload done", "");
    for worker in 1..=4 {
        seen(&browser, &format!("stopped worker {worker}"), "");
    }
    let newest = "return document.querySelector('#events li').dataset.kind";
    assert_eq!(browser.run(newest), "stopped", "the newest event is first");
    browser.until("four workers are online", FOUR_ONLINE);
    load.finish_unharmed();
    assert_self_contained(&browser, &cluster);

    // It goes away.
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    drop(cluster);
    let away = "return document.querySelector('#state').textContent.includes('does not answer')
        && document.body.classList.contains('stale') && document.title.includes('no answer')
        && !document.querySelector('#silence').hidden;";
    browser.until("the page says that it is old", away);

    // And comes back.
    let cluster = on_ports(&ports).start_ready();
    browser.until("four workers are online", FOUR_ONLINE);
    let well = "return !document.body.classList.contains('stale') && document.querySelector('#state').textContent.startsWith('all is well')
        && document.querySelector('#silence').hidden;";
    browser.until("the page has recovered", well);
    assert_eq!(browser.run("return [...document.querySelectorAll('#events li')].filter((item) => item.dataset.kind === 'reload').length"), 0);
    assert_self_contained(&browser, &cluster);
}

#[test]
#[ignore = "needs chromium, chromium-driver and node: bash .ci/setup"]
fn what_a_program_says_of_itself_is_text() {
    // Written to end up in the reason that it is not ready.
    let html = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>";
    let script = format!(
        "exec node -e \"require('http').createServer((q, r) => {{ r.statusCode = 503; r.statusMessage = process.argv[1]; r.end(process.argv[1]); }}).listen(process.env.PORT, process.env.HOST)\" \"{html}\""
    );
    let cluster = Balancer::cluster(1)
        .env("PATH", &std::env::var("PATH").unwrap())
        .with(&["--startup-timeout", "500ms", "--", "sh", "-c", &script])
        .start();
    let browser = Browser::start();
    browser.open(&url(&cluster));
    browser.until(
        "it is shown as not ready",
        "return document.querySelector('#events [data-kind=not-ready]') !== null;",
    );
    browser.until(
        "and as unavailable",
        "return document.querySelector('#state').textContent.startsWith('unavailable');",
    );
    browser.run("window.addEventListener('error', () => {});");
    // As the balancer may come to tell it one day, whatever it tells now.
    let told = browser.run_async(&format!(
        "const [html, done] = [{}, arguments[0]];
         Promise.all([import('/events.js'), import('/workers.js'), import('/tour.js')]).then(([events, workers, tour]) => {{
             events.drawEvent({{ sequence: 1e9, atMs: 0, kind: html, worker: html, pid: html, detail: html }});
             workers.drawWorkers({{ workers: [{{ id: html, pid: html, state: html, stateSeconds: 1, port: html, restarts: html,
                 lastRestart: html, requests: 1, inFlight: 1, rss: html }}] }});
             tour.drawTour({{ bundled: true, address: html }});
             done(document.querySelectorAll('#events img, #workers img, #lines img, main script').length);
         }}, (error) => done(String(error)));",
        Value::from(html)
    ));
    assert_eq!(told, 0);
    assert_ne!(browser.run("return document.title"), "owned");
    assert_self_contained(&browser, &cluster);
    let bundled = Balancer::cluster(1).start_ready();
    browser.open(&url(&bundled));
    browser.until(
        "a bundled worker can be tried",
        "return document.querySelectorAll('#try:not([hidden]) #lines li').length >= 10;",
    );
    browser.open(&url(&cluster));
    browser.until("it is connected", "return document.querySelector('#workers tr') !== null;");
    assert_eq!(
        browser.run("return document.querySelector('#try').hidden"),
        true,
        "a program has other routes"
    );
}

#[test]
#[ignore = "needs chromium, chromium-driver and axe-core: bash .ci/setup"]
fn the_dashboard_is_accessible() {
    let axe = axe();
    let cluster = Balancer::cluster(4).start_ready();
    let browser = Browser::start();
    let load = Load::start(&cluster, 2);
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
        browser.look(width, 900, scheme);
        browser.open(&url(&cluster));
        browser.until("four workers are online", FOUR_ONLINE);
        assert_accessible(&browser, &axe, &format!("{scheme}, {width} px"));
        let overflow = browser.run("return document.documentElement.scrollWidth - window.innerWidth");
        assert!(overflow.as_i64().unwrap() <= 0, "{width} px: {overflow} px too wide");
        keep_picture(&browser, &format!("{scheme}-{width}"));
    }
    load.finish_unharmed();
    // Every colour of a state, and a page that is old.
    let states = "
        const badges = [...document.querySelectorAll('.badge')];
        ['starting', 'unhealthy', 'backoff', 'draining'].forEach((state, index) => {
            badges[index].className = `badge ${state}`;
            badges[index].textContent = state;
        });
        document.querySelector('#workers tr').classList.add('changed');";
    for scheme in ["light", "dark"] {
        browser.look(1280, 900, scheme);
        browser.run(states);
        assert_accessible(&browser, &axe, &format!("{scheme}, all states"));
    }
    drop(cluster);
    browser.until("the page is old", "return document.body.classList.contains('stale');");
    assert_accessible(&browser, &axe, "an old page");
    keep_picture(&browser, "old");
}

/// Nothing that axe calls serious or critical. The script is the driver's, not the
/// page's, whose policy stays what it is.
pub(crate) fn assert_accessible(browser: &Browser, axe: &str, what: &str) {
    browser.run(axe);
    let violations = browser.run_async(
        "const done = arguments[0];
         axe.run(document, { preload: false }).then(
             ({ violations, passes }) => done({ passes: passes.length, violations: violations.map(
                 ({ id, impact, nodes }) => ({ id, impact, nodes: nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary) })) }),
             (error) => done({ passes: 0, error: String(error) }));",
    );
    assert!(violations["passes"].as_u64().unwrap() > 10, "{what}: {violations:#}");
    let bad: Vec<_> = violations["violations"].as_array().unwrap().iter().collect();
    for violation in &bad {
        println!("{what}: {} ({})", violation["id"], violation["impact"]);
    }
    let bad: Vec<_> = bad
        .into_iter()
        .filter(|found| found["impact"] == "serious" || found["impact"] == "critical")
        .collect();
    assert!(bad.is_empty(), "{what}: {bad:#?}");
}

/// The script that looks for what people with disabilities would stumble over.
pub(crate) fn axe() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/axe/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&path).unwrap_or_else(|err| {
        panic!("no axe-core: run .ci/setup, which installs it with npm: {}: {err}", path.display())
    })
}

/// For people to look at, where `DASHBOARD_PICTURES` says.
pub(crate) fn keep_picture(browser: &Browser, name: &str) {
    if let Some(directory) = std::env::var_os("DASHBOARD_PICTURES") {
        let path = Path::new(&directory).join(format!("{name}.png.base64"));
        std::fs::write(path, browser.screenshot()).unwrap();
    }
}
