//! What the balancer adds to, and takes from, what it passes on. The bundled
//! worker does not echo headers, so these tests look at both ends of answers and
//! at requests that would misbehave if they were passed on as they came.

use serde_json::json;

use crate::harness::{Balancer, Connection, eventually};

#[test]
fn http_1_1_needs_a_host() {
    let cluster = Balancer::cluster(1).start_ready();
    let mut connection = Connection::open(cluster.address).unwrap();
    connection.write(b"GET /cluster/info HTTP/1.1\r\n\r\n").unwrap();
    let detail = connection.receive(false).unwrap().problem(400);
    assert!(detail.contains("Host"), "{detail}");
}

#[test]
fn http_1_0_is_answered() {
    let cluster = Balancer::cluster(1).start_ready();
    let mut connection = Connection::open(cluster.address).unwrap();
    connection.write(b"GET /cluster/info HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(connection.receive(false).unwrap().status, 200);
}

#[test]
fn a_client_that_stops_sending_gets_its_answer_with_half_close() {
    let cluster = Balancer::cluster(1).with(&["--half-close"]).start_ready();
    let mut connection = Connection::open(cluster.address).unwrap();
    let body = json!({"n": 30}).to_string();
    connection
        .send("POST", "/cluster/cpu-intensive", &[("content-type", "application/json")], body.as_bytes())
        .unwrap();
    connection.stop_sending().unwrap();
    assert_eq!(connection.receive(false).unwrap().json()["calculation"]["result"], 832_040);
}

#[test]
fn chunked_and_expected_bodies_arrive() {
    let cluster = Balancer::cluster(1).start_ready();
    let mut connection = Connection::open(cluster.address).unwrap();
    let head = "POST /cluster/cpu-intensive HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    connection.write(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    for chunk in ["3\r\n{\"n\r\n", "5\r\n\":10}\r\n", "0\r\n\r\n"] {
        connection.write(chunk.as_bytes()).unwrap();
    }
    assert_eq!(connection.receive(false).unwrap().json()["calculation"]["result"], 55);

    connection.write(format!("{head}content-length: 8\r\nexpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(connection.receive(false).unwrap().status, 100);
    connection.write(b"{\"n\":11}").unwrap();
    assert_eq!(connection.receive(false).unwrap().json()["calculation"]["result"], 89);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let cluster = Balancer::cluster(2).start_ready();
    let post = |n: u32| {
        let body = json!({ "n": n }).to_string();
        let head = "POST /cluster/cpu-intensive HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
        format!("{head}content-length: {}\r\n\r\n{body}", body.len())
    };
    let mut client = Connection::open(cluster.address).unwrap();
    // In one packet, and an empty line that old clients put behind a body.
    client.write(format!("{}\r\n{}{}", post(30), post(5), post(7)).as_bytes()).unwrap();
    let results: Vec<_> = (0..3)
        .map(|_| client.receive(false).unwrap().json()["calculation"]["result"].as_u64().unwrap())
        .collect();
    assert_eq!(results, [832_040, 5, 13]);
    // Behind a request that a worker has in hands.
    client.write(post(33).as_bytes()).unwrap();
    eventually("a worker has it", || {
        cluster.workers().iter().any(|worker| worker["inFlight"] == 1).then_some(())
    });
    client.write(format!("\r\n{}", post(6)).as_bytes()).unwrap();
    let results: Vec<_> = (0..2)
        .map(|_| client.receive(false).unwrap().json()["calculation"]["result"].as_u64().unwrap())
        .collect();
    assert_eq!(results, [3_524_578, 8]);
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let cluster = Balancer::cluster(1).start_ready();
    let answer = cluster.request(
        "GET",
        "/cluster/info",
        &[("connection", "x-secret"), ("x-secret", "1"), ("te", "trailers"), ("keep-alive", "timeout=1")],
        b"",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.headers.iter().filter(|(name, _)| name == "connection").count(), 1);
}
