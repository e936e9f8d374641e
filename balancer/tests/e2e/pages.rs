//! Pages for errors of the balancer itself, and maintenance.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::browser::Browser;
use crate::dashboard::{assert_accessible, axe, keep_picture};
use crate::harness::{Answer, Balancer, Cluster, Connection, DEADLINE, eventually};

/// What Chromium sends when somebody opens a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

fn ask(cluster: &Cluster, method: &str, path: &str, accept: &str) -> Answer {
    cluster.request(method, path, &[("accept", accept)], b"")
}

fn maintenance(cluster: &Cluster, arguments: &[&str]) -> String {
    let (code, out, err) = cluster.operate(&[&["maintenance"], arguments].concat());
    assert_eq!(code, 0, "{err}");
    out
}

#[test]
fn browsers_get_a_page_and_programs_a_problem() {
    let cluster = Balancer::cluster(1).start_ready();
    for (method, path, status) in [("TRACE", "/", 405), ("POST", "/health", 405), ("GET", "/\u{7f}", 400)] {
        let page = ask(&cluster, method, path, BROWSER);
        assert_eq!(page.status, status);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{method} {path}");
        assert_eq!(page.header("vary"), Some("Accept"));
        assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
        let text = page.text();
        assert!(text.contains(page.header("x-request-id").unwrap()) && text.len() <= 4096, "{text}");
        for accept in ["*/*", "application/json", "application/json, text/plain, */*"] {
            let problem = ask(&cluster, method, path, accept);
            problem.problem(status);
            assert_eq!(problem.header("vary"), Some("Accept"));
        }
    }
    let own = ask(&cluster, "GET", "/no/such/route", BROWSER);
    assert_ne!(
        own.header("content-type"),
        Some("text/html; charset=utf-8"),
        "a worker's response is its own"
    );
}

#[test]
fn maintenance_lets_requests_in_flight_end_and_answers_all_others() {
    let options = ["--health-path", "/pid", "--access-log", "access.log", "--access-log-format", "json"];
    let cluster = Balancer::program(1, &options).start_ready();
    let mut in_flight = Connection::open(cluster.address).unwrap();
    in_flight.send("GET", "/held?name=first&ms=700", &[], b"").unwrap();
    let mut stream = BufReader::new(TcpStream::connect(cluster.address).unwrap());
    stream.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
    stream.get_mut().write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let tick = |stream: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        while !line.contains("data: ") {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "the stream has ended");
        }
    };
    tick(&mut stream);
    eventually("the request is at the worker", || {
        cluster.get("/seen").json()["now"].as_u64().filter(|&now| now == 1)
    });

    let said = maintenance(&cluster, &["on", "--retry-after", "10m"]);
    assert!(said.contains("600 s"), "{said}");
    let refused = ask(&cluster, "GET", "/mode?x", "*/*");
    assert!(refused.problem(503).contains("maintenance"));
    assert_eq!(refused.header("retry-after"), Some("600"));
    let page = ask(&cluster, "GET", "/", BROWSER);
    assert!(page.status == 503 && page.text().contains("Down for maintenance"));
    assert_eq!(cluster.request("POST", "/sink", &[], b"body").status, 503);
    assert_eq!(ask(&cluster, "HEAD", "/", BROWSER).status, 503);
    assert_eq!(in_flight.receive(false).unwrap().status, 200, "what was in flight is finished");
    in_flight.send("GET", "/mode", &[], b"").unwrap();
    assert_eq!(in_flight.receive(false).unwrap().status, 503, "the next one on the connection is not");
    (0..3).for_each(|_| tick(&mut stream));
    // The balancer in front still sends its clients here.
    assert_eq!(cluster.get("/pid").status, 200);

    let (_, status, _) = cluster.operate(&["status"]);
    assert!(status.contains("maintenance on"), "{status}");
    let (_, json, _) = cluster.operate(&["status", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["maintenance"]["retryAfterSeconds"], 600);
    assert_eq!(cluster.metric("maintenance"), 1);
    let rejected = cluster.metric("rejections_total{reason=\"maintenance\"}");
    assert_eq!(rejected, 5, "each of them was rejected once");
    let log = eventually("the access log has them", || {
        let log = fs::read_to_string(cluster.directory().join("access.log")).unwrap_or_default();
        (log.matches("\"maintenance\"").count() == 5).then_some(log)
    });
    assert!(log.contains("\"fault\":\"maintenance\""), "{log}");

    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(ask(&cluster, "GET", "/mode", "*/*").status, 503, "a reload does not end it");
    maintenance(&cluster, &["off"]);
    assert_eq!(ask(&cluster, "GET", "/mode", "*/*").status, 200);
    assert_eq!(cluster.metric("maintenance"), 0);
    let events = cluster.admin("/events").text();
    assert_eq!(events.matches("\"kind\":\"maintenance\"").count(), 2, "{events}");
}

#[test]
fn under_load_everybody_is_answered() {
    let cluster = Balancer::cluster(2).start_ready();
    let statuses = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut statuses = Vec::new();
                    let mut connection = Connection::open(cluster.address).unwrap();
                    // Until it has been on and is off again.
                    while !(statuses.contains(&503) && statuses.last() == Some(&200)) {
                        connection.send("GET", "/cluster/info", &[], b"").unwrap();
                        statuses.push(connection.receive(false).unwrap().status);
                    }
                    statuses
                })
            })
            .collect();
        maintenance(&cluster, &["on"]);
        let rejected = || cluster.metric("rejections_total{reason=\"maintenance\"}");
        eventually("clients are turned away", || (rejected() > 100).then_some(()));
        assert_eq!(cluster.get("/health").status, 200, "/health stays what it is");
        let (code, _, err) = cluster.operate(&["reload", "--wait"]);
        assert_eq!(code, 0, "{err}");
        maintenance(&cluster, &["off"]);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
}

#[test]
fn a_slip_at_maintenance_changes_nothing() {
    let cluster = Balancer::cluster(1).start_ready();
    for arguments in [
        &["maintenance"][..],
        &["maintenance", "maybe"],
        &["maintenance", "on", "--retry-after", "0s"],
        &["maintenance", "on", "--retry-after", "10"],
        &["maintenance", "off", "--retry-after", "10s"],
    ] {
        let (code, _, err) = cluster.operate(arguments);
        assert!(code != 0 && !err.is_empty(), "{arguments:?}: {err}");
    }
    assert_eq!(cluster.metric("maintenance"), 0);
}

#[test]
fn own_pages_are_read_anew_by_a_reload_and_stay_when_they_are_broken() {
    let mut balancer = Balancer::cluster(1).with(&["--error-pages", "pages"]);
    let pages = balancer.directory().join("pages");
    fs::create_dir(&pages).unwrap();
    fs::write(pages.join("maintenance.html"), "<h1>first {{status}} {{request_id}}</h1>").unwrap();
    fs::write(pages.join("5xx.json"), r#"{"mine":{{status}}}"#).unwrap();
    balancer = balancer.with(&["--reload-mode", "all"]);
    let cluster = balancer.start_ready();
    maintenance(&cluster, &["on"]);
    let page = ask(&cluster, "GET", "/", BROWSER);
    assert_eq!(page.text(), format!("<h1>first 503 {}</h1>", page.header("x-request-id").unwrap()));
    let json = ask(&cluster, "GET", "/", "*/*");
    assert_eq!(
        (json.header("content-type"), json.text()),
        (Some("application/json"), r#"{"mine":503}"#.into())
    );

    fs::write(pages.join("maintenance.html"), "second").unwrap();
    fs::write(pages.join("50x.html"), "a wrong name").unwrap();
    let (code, out, err) = cluster.operate(&["reload"]);
    assert!(code == 0 && out.contains("stay as they were") && out.contains("50x.html"), "{out}{err}");
    assert!(ask(&cluster, "GET", "/", BROWSER).text().contains("first"));
    fs::remove_file(pages.join("50x.html")).unwrap();
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(ask(&cluster, "GET", "/", BROWSER).text(), "second");
}

#[test]
fn pages_that_cannot_be_used_keep_it_from_starting() {
    let (code, text) = Balancer::cluster(1).with(&["--error-pages", "missing"]).output();
    assert!(code == 1 && text.contains("missing") && text.contains("--error-pages"), "{text}");
}

#[test]
#[ignore = "needs chromium, chromium-driver and axe-core: bash .ci/setup"]
fn pages_are_readable_in_a_browser() {
    let (axe, browser) = (axe(), Browser::start());
    let cluster = Balancer::cluster(1).start_ready();
    maintenance(&cluster, &["on"]);
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
        browser.look(width, 800, scheme);
        browser.open(&format!("http://{}/", cluster.address));
        assert_eq!(browser.run("return document.querySelector('h1').textContent"), "Down for maintenance");
        let display = browser.run("return getComputedStyle(document.body).display");
        assert_eq!(display, "grid", "the policy allows the page's style");
        let overflow = browser.run("return document.documentElement.scrollWidth - window.innerWidth");
        assert!(overflow.as_i64().unwrap() <= 0, "{width} px: {overflow} px too wide");
        assert_accessible(&browser, &axe, &format!("{scheme}, {width} px"));
        keep_picture(&browser, &format!("page-{scheme}-{width}"));
    }
    let complaints = browser.complaints();
    let beside_status: Vec<_> = complaints.iter().filter(|text| !text.contains("status of 503")).collect();
    assert!(beside_status.is_empty(), "{beside_status:#?}");
}
