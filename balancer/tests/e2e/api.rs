//! The HTTP API through the balancer: every route, and every form of error.

use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, Connection};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn info_says_who_served_and_counts() {
    let cluster = Balancer::cluster(2).start_ready();
    let answer = cluster.get("/cluster/info");
    let body = answer.json();
    assert_eq!(keys(&body), ["memory", "stats", "system", "worker"]);
    assert_eq!(body["worker"]["isPrimary"], false);
    assert_eq!(body["worker"]["isWorker"], true);
    assert_eq!(body["worker"]["id"], answer.worker_id());
    assert!(cluster.worker_pids().contains(&(body["worker"]["pid"].as_u64().unwrap() as u32)));
    assert_eq!(body["stats"]["requestCount"], 1);
    cluster.get("/cluster/info");
    assert_eq!(cluster.get("/cluster/info").json()["stats"]["requestCount"], 2);
}

#[test]
fn health_and_the_list_of_workers_come_from_the_primary() {
    let cluster = Balancer::cluster(3).start_ready();
    let health = cluster.get("/health");
    assert_eq!((health.status, health.worker_id()), (200, 0));
    assert_eq!(
        health.json(),
        json!({"status": "ok", "workers": {"online": 3, "desired": 3},
               "store": {"backend": "embedded", "reachable": true}})
    );
    let list = cluster.get("/cluster/workers").json();
    assert_eq!((&list["primary"]["pid"], &list["count"]), (&cluster.pid().into(), &3.into()));
    let head = cluster.request("HEAD", "/health", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), health.header("content-length"));
    for path in ["/health", "/cluster/workers"] {
        let refused = cluster.request("DELETE", path, &[], b"");
        assert!(refused.problem(405).contains("DELETE"));
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
}

#[test]
fn fibonacci_is_computed_by_a_worker() {
    let cluster = Balancer::cluster(2).start_ready();
    let body = cluster.post("/cluster/cpu-intensive", &json!({"n": 27})).json();
    assert_eq!(
        (&body["calculation"]["input"], &body["calculation"]["result"]),
        (&27.into(), &196_418.into())
    );
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with("Fibonacci(27) = 196418 calculated in "), "{message}");
    for bad in [json!({"n": -1}), json!({"n": 46}), json!({"n": 1e9}), json!({"n": "35"}), json!({"n": 35.5})]
    {
        let detail = cluster.post("/cluster/cpu-intensive", &bad).problem(400);
        assert!(detail.contains('n') && detail.contains("45"), "{bad}: {detail}");
    }
}

#[test]
fn memory_and_local_state_are_each_workers_own() {
    let cluster = Balancer::cluster(2).start_ready();
    let counts: Vec<_> = (0..4)
        .map(|_| cluster.get("/cluster/local-state").json()["requestCount"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1, 1, 2, 2]);
    let memory = cluster.get("/cluster/memory").json();
    assert!(memory["memory"]["rss"].as_str().unwrap().ends_with(" MB"));
    assert!(memory["bytes"]["heapUsed"].as_u64().unwrap() > 0);
}

#[test]
fn openapi_describes_every_route() {
    let cluster = Balancer::cluster(1).start_ready();
    let document = cluster.get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in [
        "/cluster/info",
        "/cluster/workers",
        "/cluster/cpu-intensive",
        "/cluster/shared-state",
        "/cluster/shared-state/{key}",
        "/cluster/shared-state/{key}/increment",
        "/cluster/local-state",
        "/cluster/crash",
        "/cluster/memory",
        "/health",
        "/openapi.json",
    ] {
        assert!(document["paths"][path].is_object(), "{path} is missing");
    }
}

#[test]
fn shared_state_crosses_workers() {
    let cluster = Balancer::cluster(3).start_ready();
    let value = json!({"message": "Hello", "count": 42});
    let stored = cluster.post("/cluster/shared-state", &json!({"key": "myKey", "value": value})).json();
    assert_eq!((&stored["action"], &stored["key"]), (&"stored_in_embedded".into(), &"cluster:myKey".into()));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let read = cluster.get("/cluster/shared-state/myKey").json();
        assert_eq!((&read["found"], &read["value"]), (&true.into(), &value));
        readers.push(read["worker"]["id"].as_u64().unwrap());
    }
    readers.sort_unstable();
    assert_eq!(readers, [1, 2, 3]);
    let deleted = cluster.request("DELETE", "/cluster/shared-state/myKey", &[], b"").json();
    assert_eq!(deleted["deleted"], true);
    let missing = cluster.get("/cluster/shared-state/myKey");
    assert_eq!(
        (missing.status, &missing.json()["found"], &missing.json()["value"]),
        (404, &false.into(), &Value::Null)
    );
}

#[test]
fn keys_arrive_as_the_client_meant_them() {
    let cluster = Balancer::cluster(2).start_ready();
    for (key, path) in [
        ("a/b c", "a%2Fb%20c"),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
        ("p%q", "p%25q"),
        ("x?y#z", "x%3Fy%23z"),
    ] {
        cluster.post("/cluster/shared-state", &json!({"key": key, "value": key}));
        let read = cluster.get(&format!("/cluster/shared-state/{path}"));
        assert_eq!(read.json()["value"], key, "{path}");
    }
    let longest = "k".repeat(256);
    assert_eq!(cluster.post("/cluster/shared-state", &json!({"key": longest, "value": 1})).status, 200);
    assert_eq!(cluster.get(&format!("/cluster/shared-state/{longest}")).json()["value"], 1);
    let detail = cluster.get(&format!("/cluster/shared-state/{longest}k")).problem(400);
    assert!(detail.contains("256"), "{detail}");
}

#[test]
fn errors_of_workers_come_through_as_they_are() {
    let cluster = Balancer::cluster(1).start_ready();
    let send = |body: &[u8], kind: &str| {
        cluster.request("POST", "/cluster/shared-state", &[("content-type", kind)], body)
    };
    cluster.get("/no/such/route").problem(404);
    let wrong_method = cluster.request("PUT", "/cluster/info", &[], b"");
    wrong_method.problem(405);
    assert!(wrong_method.header("allow").unwrap().contains("GET"));
    send(b"{\"key\":", "application/json").problem(400);
    send(b"[]", "application/json").problem(400);
    send(b"key=a", "application/x-www-form-urlencoded").problem(415);
    send(&vec![b' '; 1024 * 1024 + 1], "application/json").problem(413);
    let deep = format!("{{\"key\":\"deep\",\"value\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    send(deep.as_bytes(), "application/json").problem(400);
    cluster.post("/cluster/shared-state", &json!({"key": "text", "value": "no number"}));
    cluster.post("/cluster/shared-state/text/increment", &json!({"by": 1})).problem(409);
    assert_eq!(cluster.workers()[0]["restarts"], 0, "nothing a client sends ends a worker");
}

#[test]
fn a_body_shorter_than_announced_harms_nobody() {
    let cluster = Balancer::cluster(1).start_ready();
    let mut liar = Connection::open(cluster.address).unwrap();
    let head = "POST /cluster/shared-state HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    liar.write(head.as_bytes()).unwrap();
    liar.write(br#"{"key":"half","value":1}"#).unwrap();
    drop(liar);
    assert_eq!(cluster.get("/cluster/shared-state/half").status, 404, "nothing was stored");
    assert_eq!(cluster.get("/cluster/info").status, 200);
}

#[test]
fn every_answer_names_worker_and_request() {
    let cluster = Balancer::cluster(2).start_ready();
    for path in ["/cluster/info", "/health", "/cluster/workers", "/nope"] {
        let own = cluster.request("GET", path, &[("x-request-id", "my-id.1")], b"");
        assert_eq!(own.header("x-request-id"), Some("my-id.1"), "{path}");
        assert!(own.header("x-worker-id").is_some(), "{path}");
        let replaced = cluster.request("GET", path, &[("x-request-id", "not \"well\" formed")], b"");
        let id = replaced.header("x-request-id").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{path}: {id}");
    }
}

#[test]
fn crash_is_refused_where_it_is_not_enabled() {
    let cluster = Balancer::cluster(1).env("CLUSTER_CRASH_ENABLED", "false").start_ready();
    let detail = cluster.post("/cluster/crash", &json!({})).problem(403);
    assert!(detail.contains("CLUSTER_CRASH_ENABLED"), "{detail}");
    assert_eq!(cluster.workers()[0]["restarts"], 0);
}

#[test]
fn a_single_process_serves_the_same_api() {
    let cluster: Cluster = Balancer::new(&["--cluster", "off", "--port", "0"]).start();
    let info = cluster.get("/cluster/info").json();
    assert_eq!((&info["worker"]["id"], &info["worker"]["isPrimary"]), (&0.into(), &true.into()));
    assert_eq!(info["worker"]["pid"], cluster.pid());
    let list = cluster.get("/cluster/workers").json();
    assert_eq!(list, json!({"primary": {"pid": cluster.pid()}, "workers": [], "count": 0}));
}
