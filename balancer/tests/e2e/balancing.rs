//! Who gets which request.

use std::collections::HashMap;
use std::thread;

use crate::harness::{Balancer, Connection, eventually};

#[test]
fn a_fresh_cluster_serves_one_two_three_four_and_again() {
    let cluster = Balancer::cluster(4).start_ready();
    let ids: Vec<_> =
        (0..8).map(|_| cluster.get("/cluster/info").json()["worker"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 1, 2, 3, 4]);
}

#[test]
fn round_robin_is_exact_over_keep_alive_connections_and_many_clients() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 50;
    let cluster = Balancer::cluster(4).start_ready();
    let address = cluster.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                let mut seen = Vec::new();
                for _ in 0..REQUESTS {
                    connection.send("GET", "/cluster/info", &[], b"").unwrap();
                    seen.push(connection.receive(false).unwrap().worker_id());
                }
                seen
            })
        })
        .collect();
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for id in clients.into_iter().flat_map(|client| client.join().unwrap()) {
        *counts.entry(id).or_default() += 1;
    }
    let share = CLIENTS * REQUESTS / 4;
    assert_eq!(counts, HashMap::from([(1, share), (2, share), (3, share), (4, share)]));
}

#[test]
fn the_primary_counts_what_it_hands_out() {
    let cluster = Balancer::cluster(2).start_ready();
    for _ in 0..10 {
        cluster.get("/cluster/info");
    }
    // A client may have its answer a moment before the balancer has let go of it.
    let workers = eventually("nothing is in flight", || {
        Some(cluster.workers()).filter(|workers| workers.iter().all(|worker| worker["inFlight"] == 0))
    });
    assert_eq!(workers.len(), 2);
    for (worker, id) in workers.iter().zip(1..) {
        assert_eq!(worker["id"], id);
        assert_eq!(worker["state"], "online");
        assert_eq!(
            (&worker["requests"], &worker["inFlight"], &worker["restarts"]),
            (&5.into(), &0.into(), &0.into())
        );
        assert!(worker["port"].as_u64().unwrap() > 0 && worker["rss"].as_str().unwrap().ends_with(" MB"));
    }
}
