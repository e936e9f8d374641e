//! Each route as the contract has it, in single-process mode on the embedded
//! store.

use std::thread;
use std::time::Duration;

use serde_json::json;

use shared_testkit::wait_until;

use crate::http::{FromWorker, connect, delete, get, post, post_empty, request};
use crate::process::Worker;

#[test]
fn info_says_who_answers() {
    let worker = Worker::start();
    let info = get(worker.port, "/cluster/info").ok();
    assert_eq!(info["worker"], json!({"id": 0, "pid": worker.pid(), "isPrimary": true, "isWorker": false}));
    let cpus = thread::available_parallelism().unwrap().get();
    assert_eq!(info["system"]["cpus"], cpus);
    assert_eq!(info["system"]["platform"], "linux");
    assert!(info["system"]["rustVersion"].as_str().unwrap().starts_with("1."), "{info}");
    for field in ["rss", "heapUsed", "heapTotal"] {
        let text = info["memory"][field].as_str().unwrap();
        let number = text.strip_suffix(" MB").unwrap_or_else(|| panic!("{field} {text}"));
        assert!(number.parse::<f64>().unwrap() > 0.0 && number.split_once('.').unwrap().1.len() == 2);
    }
    let uptime = info["stats"]["uptime"].as_str().unwrap().strip_suffix('s').unwrap();
    assert!((0.0..60.0).contains(&uptime.parse::<f64>().unwrap()));
    assert_eq!(info["stats"]["requestCount"], 1);
}

#[test]
fn a_process_without_a_cluster_can_have_a_name() {
    for (variables, name) in [
        (&[("POD_NAME", "worker-7d9f-x2x4q")][..], "worker-7d9f-x2x4q"),
        (&[("POD_NAME", "worker-7d9f-x2x4q"), ("WORKER_NAME", "left")], "left"),
    ] {
        let worker = Worker::start_with(&[], variables);
        let me = json!({"id": 0, "pid": worker.pid(), "name": name});
        assert_eq!(get(worker.port, "/health").ok()["worker"], me);
        assert_eq!(get(worker.port, "/cluster/info").ok()["worker"]["name"], name);
        let local = get(worker.port, "/cluster/local-state");
        assert_eq!(local.header("x-worker-id"), Some("0"));
        let message = format!("This counter is LOCAL to worker {name} and NOT shared between workers");
        assert_eq!(local.ok()["message"], message);
        let problem = get(worker.port, "/no/such/route");
        assert_eq!(problem.json()["worker"], me);
    }
}

#[test]
fn the_request_count_leaves_health_probes_out() {
    let worker = Worker::start();
    let mut connection = connect(worker.port);
    for path in ["/health", "/cluster/memory", "/no/such/route", "/health", "/cluster/info"] {
        connection.send("GET", path, &[], b"").unwrap();
        connection.receive(false).unwrap();
    }
    connection.send("GET", "/cluster/info", &[], b"").unwrap();
    assert_eq!(connection.receive(false).unwrap().ok()["stats"]["requestCount"], 4);
}

#[test]
fn health_names_the_worker_and_its_store() {
    let worker = Worker::start();
    assert_eq!(
        get(worker.port, "/health").ok(),
        json!({
            "status": "ok",
            "worker": {"id": 0, "pid": worker.pid()},
            "store": {"backend": "embedded", "reachable": true}
        })
    );
}

#[test]
fn a_single_process_has_no_workers() {
    let worker = Worker::start();
    let expected = json!({"primary": {"pid": worker.pid()}, "workers": [], "count": 0});
    assert_eq!(get(worker.port, "/cluster/workers").ok(), expected);
}

#[test]
fn shared_state_is_stored_read_counted_and_deleted() {
    let worker = Worker::start();
    let me = json!({"id": 0, "pid": worker.pid()});
    let stored = post(worker.port, "/cluster/shared-state", r#"{"key":"myKey","value":{"a":[1,null,"ü"]}}"#);
    assert_eq!(
        stored.ok(),
        json!({
            "worker": me, "action": "stored_in_embedded", "key": "cluster:myKey", "value": {"a": [1, null, "ü"]},
            "message": "This value is now shared across all workers via the embedded store"
        })
    );
    assert_eq!(
        get(worker.port, "/cluster/shared-state/myKey").ok(),
        json!({
            "worker": me, "key": "cluster:myKey", "value": {"a": [1, null, "ü"]}, "found": true,
            "message": "Retrieved from the embedded store by worker 0"
        })
    );
    let conflict = post_empty(worker.port, "/cluster/shared-state/myKey/increment");
    conflict.assert_problem(409, &["not an integer"]);
    assert_eq!(
        delete(worker.port, "/cluster/shared-state/myKey").ok(),
        json!({"worker": me, "key": "cluster:myKey", "deleted": true})
    );
    let missing = get(worker.port, "/cluster/shared-state/myKey");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.header("content-type"), Some("application/json"));
    let mut missing = missing.json();
    assert!(missing["message"].take().as_str().unwrap().contains("cluster:myKey"));
    assert_eq!(
        missing,
        json!({"worker": me, "key": "cluster:myKey", "value": null, "found": false, "message": null})
    );
    assert_eq!(delete(worker.port, "/cluster/shared-state/myKey").ok()["deleted"], false);
}

#[test]
fn counting_goes_by_one_or_as_asked() {
    let worker = Worker::start();
    let path = "/cluster/shared-state/n/increment";
    let counted = post_empty(worker.port, path).ok();
    assert_eq!(counted, json!({"worker": {"id": 0, "pid": worker.pid()}, "key": "cluster:n", "value": 1}));
    assert_eq!(post(worker.port, path, r#"{"by": 41}"#).ok()["value"], 42);
    assert_eq!(post(worker.port, path, "{}").ok()["value"], 43);
    assert_eq!(post(worker.port, path, r#"{"by": -43}"#).ok()["value"], 0);
    let max = i64::MAX.to_string();
    assert_eq!(post(worker.port, path, &format!("{{\"by\": {max}}}")).ok()["value"], i64::MAX);
    post_empty(worker.port, path).assert_problem(409, &["64 bits"]);
    assert_eq!(get(worker.port, "/cluster/shared-state/n").ok()["value"], i64::MAX);
}

#[test]
fn a_value_with_a_time_to_live_goes_away() {
    let worker = Worker::start();
    post(worker.port, "/cluster/shared-state", r#"{"key":"k","value":1,"ttlSeconds":1}"#).ok();
    assert_eq!(get(worker.port, "/cluster/shared-state/k").ok()["value"], 1);
    wait_until("the value is gone", Duration::from_secs(2), || {
        get(worker.port, "/cluster/shared-state/k").status == 404
    });
}

#[test]
fn keys_keep_slashes_and_letters_of_all_kinds() {
    let worker = Worker::start();
    let long = "x".repeat(256);
    for (name, path) in [
        ("a/b", "a%2Fb"),
        ("a/b/increment", "a%2fb%2Fincrement"),
        ("ü😀", "%C3%BC%F0%9F%98%80"),
        ("a b+c", "a%20b+c"),
        ("100%", "100%25"),
        ("%2F", "%252F"),
        ("..", "%2E%2E"),
        ("?#", "%3F%23"),
        (long.as_str(), long.as_str()),
    ] {
        let body = json!({"key": name, "value": name}).to_string();
        assert_eq!(post(worker.port, "/cluster/shared-state", &body).ok()["key"], format!("cluster:{name}"));
        let read = get(worker.port, &format!("/cluster/shared-state/{path}")).ok();
        assert_eq!(read["value"], name);
        let deleted = delete(worker.port, &format!("/cluster/shared-state/{path}")).ok();
        assert_eq!(deleted["deleted"], true);
        let counted = post_empty(worker.port, &format!("/cluster/shared-state/{path}/increment")).ok();
        assert_eq!(counted["key"], format!("cluster:{name}"));
    }
}

#[test]
fn a_stored_value_keeps_its_text() {
    let worker = Worker::start();
    let text = r#"{"z": 1.10,  "a": 12345678901234567890}"#;
    post(worker.port, "/cluster/shared-state", &format!("{{\"key\":\"k\",\"value\":{text}}}")).ok();
    let read = get(worker.port, "/cluster/shared-state/k");
    assert!(String::from_utf8(read.body).unwrap().contains(text));
}

#[test]
fn local_state_counts_its_own_calls() {
    let worker = Worker::start();
    get(worker.port, "/cluster/info").ok();
    for count in 1..=3 {
        assert_eq!(
            get(worker.port, "/cluster/local-state").ok(),
            json!({
                "worker": {"id": 0, "pid": worker.pid()},
                "requestCount": count,
                "message": "This counter is LOCAL to worker 0 and NOT shared between workers",
                "explanation": "Each worker has its own memory space. Use Redis for shared state."
            })
        );
    }
}

#[test]
fn memory_follows_what_is_used() {
    let worker = Worker::start_with(&[], &[("CLUSTER_MAX_BODY", "100000000")]);
    let memory = || get(worker.port, "/cluster/memory").ok();
    let before = memory();
    for field in ["rss", "peakRss", "virtual", "heapUsed", "heapTotal"] {
        let bytes = before["bytes"][field].as_u64().unwrap();
        let text = format!("{:.2} MB", bytes as f64 / 1_048_576.0);
        assert_eq!(before["memory"][field], text);
    }
    // A body that has been announced and mostly sent is held in memory.
    let mut connection = connect(worker.port);
    connection
        .write(
            "POST /cluster/shared-state HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n".as_bytes(),
        )
        .unwrap();
    connection.write(&vec![b' '; 29_000_000]).unwrap();
    wait_until("the heap has grown", Duration::from_secs(10), || {
        let after = memory();
        let grown = |field: &str| {
            after["bytes"][field].as_i64().unwrap() - before["bytes"][field].as_i64().unwrap() > 25_000_000
        };
        grown("heapUsed") && grown("heapTotal") && grown("rss") && grown("peakRss")
    });
}

#[test]
fn head_is_get_without_a_body() {
    let worker = Worker::start();
    post(worker.port, "/cluster/shared-state", r#"{"key":"k","value":1}"#).ok();
    for path in [
        "/cluster/info",
        "/cluster/workers",
        "/cluster/local-state",
        "/cluster/memory",
        "/cluster/shared-state/k",
        "/health",
        "/openapi.json",
    ] {
        let mut connection = connect(worker.port);
        connection.send("HEAD", path, &[], b"").unwrap();
        let head = connection.receive(true).unwrap();
        assert_eq!(head.status, 200, "{path}");
        assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 10, "{path}");
        // The connection is where it should be: nothing was sent after the head.
        connection.send("GET", "/health", &[], b"").unwrap();
        connection.receive(false).unwrap().ok();
    }
}

#[test]
fn a_request_id_is_kept_when_it_is_well_formed() {
    let worker = Worker::start();
    let id_of = |path: &str, header: (&str, &str)| {
        let response = request(worker.port, "GET", path, &[header], b"");
        assert_eq!(response.header("x-worker-id"), Some("0"));
        response.header("x-request-id").unwrap().to_owned()
    };
    let id = |id| ("x-request-id", id);
    assert_eq!(id_of("/cluster/info", id("abc-123")), "abc-123");
    assert_eq!(id_of("/no/such/route", id("abc-123")), "abc-123");
    let fresh = id_of("/cluster/info", id("has spaces \"and quotes\""));
    assert!(fresh.len() == 32 && fresh.bytes().all(|byte| byte.is_ascii_hexdigit()), "{fresh}");
    let other = ("x-other", "1");
    assert_ne!(id_of("/cluster/info", other), id_of("/cluster/info", other));
}

#[test]
fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let worker = Worker::start();
    let mut connection = connect(worker.port);
    connection.send("POST", "/cluster/cpu-intensive", &[("content-length", "0")], b"").unwrap();
    connection.stop_sending().unwrap();
    connection.receive(false).unwrap().ok();
    assert!(connection.is_at_end());
}
