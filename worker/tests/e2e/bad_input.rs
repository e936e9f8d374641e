//! What clients send that they should not: each gets its answer, and the worker
//! is well after it.

use serde_json::json;

use crate::http::{FromWorker, connect, delete, get, post, post_empty, request};
use crate::process::Worker;

const JSON: (&str, &str) = ("content-type", "application/json");

/// The worker still answers, and is the same process.
fn assert_well(worker: &mut Worker) {
    assert!(worker.is_running());
    assert_eq!(get(worker.port, "/health").ok()["worker"]["pid"], worker.pid());
}

#[test]
fn unknown_routes_and_methods() {
    let worker = Worker::start();
    get(worker.port, "/").assert_problem(404, &["there is no route /"]);
    get(worker.port, "/cluster").assert_problem(404, &["/openapi.json"]);
    get(worker.port, "/cluster/info/").assert_problem(404, &[]);
    get(worker.port, "/cluster/shared-state/a/b").assert_problem(404, &["%2F"]);
    for (method, path, allow) in [
        ("POST", "/cluster/info", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
        ("GET", "/cluster/shared-state", "POST"),
        ("PUT", "/cluster/shared-state/k", "GET, HEAD, DELETE"),
        ("GET", "/cluster/shared-state/k/increment", "POST"),
        ("GET", "/cluster/crash", "POST"),
        ("HEAD", "/cluster/cpu-intensive", "POST"),
        ("OPTIONS", "/cluster/local-state", "GET, HEAD"),
        ("BREW", "/cluster/memory", "GET, HEAD"),
    ] {
        let mut connection = connect(worker.port);
        connection.send(method, path, &[], b"").unwrap();
        if method == "HEAD" {
            let response = connection.receive(true).unwrap();
            assert_eq!((response.status, response.header("allow")), (405, Some(allow)));
            continue;
        }
        let response = connection.receive(false).unwrap();
        response.assert_problem(405, &[method, allow]);
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
    }
}

#[test]
fn numbers_that_are_none_or_out_of_range() {
    let mut worker = Worker::start();
    let compute = |body: &str| post(worker.port, "/cluster/cpu-intensive", body);
    for bad in ["-1", "46", "1e9", "\"35\"", "35.5", "true", "[]", "{}", "1e400", "99999999999999999999999"] {
        let response = compute(&format!("{{\"n\": {bad}}}"));
        response.assert_problem(400, &["n must be an integer from 0 to 45", "{\"n\": 35}", bad]);
    }
    for missing in ["{}", "{\"n\": null}"] {
        assert_eq!(compute(missing).ok()["calculation"]["result"], 9_227_465);
    }
    assert_eq!(compute("{\"n\": 0}").ok()["calculation"]["result"], 0);
    let by = |body: &str| post(worker.port, "/cluster/shared-state/k/increment", body);
    by(r#"{"by": 1.5}"#).assert_problem(400, &["by must be an integer"]);
    by(r#"{"by": 9223372036854775808}"#).assert_problem(400, &["9223372036854775807"]);
    let ttl = |ttl: &str| {
        post(worker.port, "/cluster/shared-state", &format!(r#"{{"key":"k","value":1,"ttlSeconds":{ttl}}}"#))
    };
    for bad in ["0", "-1", "1.5", "\"1\"", "315360001"] {
        ttl(bad).assert_problem(400, &["ttlSeconds must be an integer from 1 to 315360000"]);
    }
    get(worker.port, "/cluster/shared-state/k").json()["found"].as_bool().filter(|found| !found).unwrap();
    assert_well(&mut worker);
}

#[test]
fn bodies_that_are_not_the_expected_json() {
    let mut worker = Worker::start();
    let store = |body: &str| post(worker.port, "/cluster/shared-state", body);
    store("").assert_problem(400, &["not valid JSON"]);
    store("{").assert_problem(400, &["not valid JSON"]);
    store("{\"key\":\"k\",\"value\":}").assert_problem(400, &["not valid JSON", "line 1"]);
    store("{\"key\":\"k\",\"value\":1} x").assert_problem(400, &["not valid JSON"]);
    store("[\"k\", 1]").assert_problem(400, &["must be a JSON object"]);
    store("null").assert_problem(400, &["must be a JSON object"]);
    store("{\"value\":1}").assert_problem(400, &["key is missing"]);
    store("{\"key\":\"k\"}").assert_problem(400, &["value is missing"]);
    store("{\"key\":7,\"value\":1}").assert_problem(400, &["key must be a string", "7"]);
    store("{\"key\":null,\"value\":1}").assert_problem(400, &["key must be a string"]);
    store("{\"key\":\"k\",\"value\":1,\"ttl\":5}").assert_problem(400, &["`ttl`", "`ttlSeconds`"]);
    store("{\"key\":\"k\",\"key\":\"l\",\"value\":1}").assert_problem(400, &["duplicate field `key`"]);
    store("{\"key\":\"k\",\"value\":\"\\ud800\"}").assert_problem(400, &["value cannot be stored"]);
    post(worker.port, "/cluster/crash", "{\"mode\":\"explode\"}")
        .assert_problem(400, &["\"hang\"", "explode"]);
    let not_utf8 =
        request(worker.port, "POST", "/cluster/shared-state", &[JSON], b"{\"key\":\"\xff\",\"value\":1}");
    not_utf8.assert_problem(400, &[]);
    // null is a value.
    assert_eq!(store("{\"key\":\"k\",\"value\":null}").ok()["value"], json!(null));
    assert_eq!(get(worker.port, "/cluster/shared-state/k").ok()["found"], true);
    assert_well(&mut worker);
}

#[test]
fn values_nested_ten_thousand_deep() {
    let mut worker = Worker::start();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for value in [&deep, &objects] {
        let body = format!("{{\"key\":\"k\",\"value\":{value}}}");
        post(worker.port, "/cluster/shared-state", &body).assert_problem(400, &["value", "recursion limit"]);
        post(worker.port, "/cluster/cpu-intensive", &format!("{{\"n\":{value}}}"))
            .assert_problem(400, &["n must"]);
        post(worker.port, "/cluster/cpu-intensive", value);
        post(worker.port, "/cluster/shared-state", &format!("{{\"x\":{value}}}"))
            .assert_problem(400, &["`x`"]);
    }
    assert_eq!(get(worker.port, "/cluster/shared-state/k").status, 404, "nothing was stored");
    assert_well(&mut worker);
}

#[test]
fn content_types_and_encodings() {
    let worker = Worker::start();
    let body = br#"{"key":"k","value":1}"#;
    let send =
        |headers: &[(&str, &str)]| request(worker.port, "POST", "/cluster/shared-state", headers, body);
    for good in [
        ("content-type", "application/json"),
        ("content-type", "Application/JSON; charset=UTF-8"),
        ("content-type", "application/merge-patch+json"),
    ] {
        send(&[good]).ok();
    }
    for bad in [
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "text/plain"),
        ("content-type", "application/json; charset=latin1"),
        ("content-type", "nonsense"),
        ("x-other", "none at all"),
    ] {
        send(&[bad]).assert_problem(415, &["Content-Type: application/json"]);
    }
    send(&[JSON, ("content-encoding", "gzip")]).assert_problem(415, &["Content-Encoding"]);
}

#[test]
fn keys_that_are_too_long_or_badly_encoded() {
    let mut worker = Worker::start();
    let (fits, too_long) = ("x".repeat(256), "x".repeat(257));
    let path = |key: &str| format!("/cluster/shared-state/{key}");
    let store =
        |key: &str| post(worker.port, "/cluster/shared-state", &json!({"key": key, "value": 1}).to_string());
    store(&fits).ok();
    get(worker.port, &path(&fits)).ok();
    store(&too_long).assert_problem(400, &["257 bytes", "256"]);
    get(worker.port, &path(&too_long)).assert_problem(400, &["257 bytes", "256"]);
    delete(worker.port, &path(&too_long)).assert_problem(400, &["257 bytes"]);
    post_empty(worker.port, &format!("{}/increment", path(&too_long))).assert_problem(400, &["257 bytes"]);
    // Bytes after decoding count, not characters.
    get(worker.port, &path(&"%C3%BC".repeat(128))).json()["found"].as_bool().expect("256 bytes fit");
    get(worker.port, &path(&"%C3%BC".repeat(129))).assert_problem(400, &["258 bytes"]);
    store("").assert_problem(400, &["empty"]);
    get(worker.port, &path("")).assert_problem(400, &["empty"]);
    store("a\nb").assert_problem(400, &["control character"]);
    for control in ["a%0Ab", "%00", "%7F", "%C2%85"] {
        get(worker.port, &path(control)).assert_problem(400, &["control character"]);
    }
    for broken in ["%", "%2", "%zz", "a%"] {
        get(worker.port, &path(broken)).assert_problem(400, &["%"]);
    }
    get(worker.port, &path("%ff")).assert_problem(400, &["UTF-8"]);
    assert_well(&mut worker);
}

#[test]
fn bodies_over_the_limit() {
    let mut worker = Worker::start();
    let value = "x".repeat(1 << 20);
    let body = json!({"key": "k", "value": value}).to_string();
    post(worker.port, "/cluster/shared-state", &body)
        .assert_problem(413, &["1048576 bytes", "CLUSTER_MAX_BODY"]);

    // Announced only.
    let mut connection = connect(worker.port);
    connection
        .send("POST", "/cluster/shared-state", &[JSON, ("content-length", "99999999999")], b"")
        .unwrap();
    connection.receive(false).unwrap().assert_problem(413, &[]);

    // Not announced at all.
    let mut connection = connect(worker.port);
    connection.send("POST", "/cluster/shared-state", &[JSON, ("transfer-encoding", "chunked")], b"").unwrap();
    let chunk = [b"10000\r\n", " ".repeat(0x10000).as_bytes(), b"\r\n"].concat();
    for _ in 0..17 {
        connection.write(&chunk).unwrap();
    }
    connection.receive(false).unwrap().assert_problem(413, &[]);

    // As large as it may be.
    let frame = json!({"key": "k", "value": ""}).to_string().len();
    let body = json!({"key": "k", "value": "x".repeat((1 << 20) - frame)}).to_string();
    assert_eq!(body.len(), 1 << 20);
    post(worker.port, "/cluster/shared-state", &body).ok();
    assert_well(&mut worker);
}

#[test]
fn chunked_bodies_work() {
    let worker = Worker::start();
    let mut connection = connect(worker.port);
    connection
        .send("POST", "/cluster/cpu-intensive", &[JSON, ("transfer-encoding", "chunked")], b"")
        .unwrap();
    connection.write("4\r\n{\"n\"\r\n4\r\n: 10\r\n1\r\n}\r\n0\r\n\r\n".as_bytes()).unwrap();
    assert_eq!(connection.receive(false).unwrap().ok()["calculation"]["result"], 55);
}

#[test]
fn bodies_that_lie_about_their_length() {
    let mut worker = Worker::start();
    // Shorter than announced, and then the end.
    let mut connection = connect(worker.port);
    connection.send("POST", "/cluster/shared-state", &[JSON, ("content-length", "100")], b"").unwrap();
    connection.write(r#"{"key":"k","value":1}"#.as_bytes()).unwrap();
    connection.stop_sending().unwrap();
    if let Ok(response) = connection.receive(false) {
        response.assert_problem(400, &["did not arrive"]);
    }
    assert_eq!(get(worker.port, "/cluster/shared-state/k").status, 404, "nothing was stored");

    // Longer than announced: the rest is no request, and no harm.
    let mut connection = connect(worker.port);
    connection.send("POST", "/cluster/cpu-intensive", &[JSON, ("content-length", "9")], b"").unwrap();
    connection.write("{\"n\": 10}GARBAGE \r\n\r\n".as_bytes()).unwrap();
    assert_eq!(connection.receive(false).unwrap().ok()["calculation"]["result"], 55);
    assert_eq!(connection.receive(false).unwrap().status, 400);
    assert!(connection.is_at_end());

    for bad in
        [("content-length", "-1"), ("content-length", "x"), ("content-length", "1\r\nContent-Length: 2")]
    {
        let mut connection = connect(worker.port);
        connection.send("POST", "/cluster/shared-state", &[JSON, bad], b"").unwrap();
        assert_eq!(connection.receive(false).unwrap().status, 400, "{bad:?}");
    }
    assert_well(&mut worker);
}

#[test]
fn requests_that_are_no_http() {
    let mut worker = Worker::start();
    let answer = |bytes: &[u8]| {
        let mut connection = connect(worker.port);
        connection.write(bytes).unwrap();
        connection.receive(false).unwrap()
    };
    answer(b"GET /cluster/info HTTP/1.0\r\n\r\n").ok();
    // These end in the HTTP library, which answers without a body.
    for nonsense in [
        &b"GET /cluster/info HTTP/1.1\r\n\r\n"[..], // without Host
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /cluster/info HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!((400..500).contains(&answer(nonsense).status), "{}", nonsense.escape_ascii());
    }
    let mut connection = connect(worker.port);
    connection.write("GET /cluster/info HTTP/1.1\r\nHost: x\r\nX: ".as_bytes()).unwrap();
    // It may refuse and close before it has taken all.
    let _ = connection.write(&vec![b'x'; 1 << 20]);
    assert!(connection.receive(false).is_ok_and(|answer| answer.status >= 400) || connection.is_at_end());
    assert_well(&mut worker);
}

#[test]
fn a_slow_client_only_waits_for_itself() {
    let mut worker = Worker::start();
    let mut slow = connect(worker.port);
    slow.send("POST", "/cluster/cpu-intensive", &[JSON, ("content-length", "9")], b"").unwrap();
    slow.write("{\"n\"".as_bytes()).unwrap();
    let mut slower = connect(worker.port);
    slower.write("GET /cluster/inf".as_bytes()).unwrap();
    assert_well(&mut worker);
    slow.write(": 10}".as_bytes()).unwrap();
    assert_eq!(slow.receive(false).unwrap().ok()["calculation"]["result"], 55);
    slower.write("o HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes()).unwrap();
    slower.receive(false).unwrap().ok();
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body() {
    let worker = Worker::start();
    let mut connection = connect(worker.port);
    let headers = [JSON, ("content-length", "9"), ("expect", "100-continue")];
    connection.send("POST", "/cluster/cpu-intensive", &headers, b"").unwrap();
    assert_eq!(connection.receive(false).unwrap().status, 100);
    connection.write("{\"n\": 10}".as_bytes()).unwrap();
    assert_eq!(connection.receive(false).unwrap().ok()["calculation"]["result"], 55);
}
