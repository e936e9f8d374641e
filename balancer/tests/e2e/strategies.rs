//! Strategies other than round-robin: who is avoided, how the rest is shared out,
//! and who comes back to whom.

use std::collections::HashMap;
use std::thread;

use rustix::process::Signal;

use crate::harness::{Answer, Balancer, Cluster, Connection, eventually, send_signal};

/// Keeps a worker busy; returns who it is, and the connection that does it.
fn keep_busy(cluster: &Cluster) -> (u64, Connection) {
    let mut slow = Connection::open(cluster.address).unwrap();
    slow.send("GET", "/slow?ms=20000", &[], b"").unwrap();
    let busy = eventually("a worker is busy", || {
        let workers = cluster.workers();
        workers.iter().find(|worker| worker["inFlight"] == 1).map(|worker| worker["id"].as_u64().unwrap())
    });
    (busy, slow)
}

/// A client may have its answer a moment before the balancer has let go of it.
fn wait_until_only(cluster: &Cluster, busy: u64) {
    eventually("nobody else is busy", || {
        cluster.workers().iter().all(|worker| worker["id"] == busy || worker["inFlight"] == 0).then_some(())
    });
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_worker_with_a_long_request_is_avoided() {
    for strategy in ["least-connections", "power-of-two"] {
        let cluster = Balancer::program(3, &["--strategy", strategy]).start_ready();
        let (busy, _slow) = keep_busy(&cluster);
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for _ in 0..30 {
            wait_until_only(&cluster, busy);
            *counts.entry(cluster.get("/pid").worker_id()).or_default() += 1;
        }
        assert_eq!(counts.get(&busy), None, "{strategy}: {counts:?}");
        assert!(counts.len() == 2 && counts.values().all(|&count| count >= 3), "{strategy}: {counts:?}");
    }
}

#[test]
fn equals_share_evenly_with_least_connections_and_roughly_with_two_choices() {
    for (strategy, fewest, most) in [("least-connections", 20, 20), ("power-of-two", 5, 45)] {
        let cluster = Balancer::cluster(4).with(&["--strategy", strategy]).start_ready();
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for _ in 0..80 {
            wait_until_only(&cluster, 0);
            *counts.entry(cluster.get("/cluster/info").worker_id()).or_default() += 1;
        }
        assert_eq!(counts.len(), 4, "{strategy}: {counts:?}");
        assert!(counts.values().all(|count| (fewest..=most).contains(count)), "{strategy}: {counts:?}");
    }
}

#[test]
fn no_strategy_loses_a_request_when_workers_die() {
    for strategy in ["least-connections", "power-of-two", "sticky", "hash"] {
        let cluster = Balancer::cluster(3).with(&["--strategy", strategy]).start_ready();
        let load = crate::load::Load::start(&cluster, 4);
        for round in 0..3 {
            let victim = eventually("the worker is online", || {
                let worker = cluster.workers()[round].clone();
                (worker["state"] == "online").then(|| worker["pid"].as_u64().unwrap() as u32)
            });
            send_signal(victim, Signal::KILL);
            eventually("it is replaced", || {
                let worker = cluster.workers()[round].clone();
                (worker["state"] == "online" && worker["pid"] != victim).then_some(())
            });
        }
        load.finish_unharmed();
    }
}

/// The cookie that an answer sets, as a client sends it back.
fn cookie_of(answer: &Answer) -> String {
    let cookie =
        answer.header("set-cookie").unwrap_or_else(|| panic!("a cookie is set: {:?}", answer.headers));
    assert!(cookie.contains("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn get_with(cluster: &Cluster, path: &str, cookie: &str) -> Answer {
    cluster.request("GET", path, &[("cookie", cookie)], b"")
}

#[test]
fn a_client_comes_back_to_its_worker_also_after_a_reload() {
    let cluster = Balancer::cluster(4).with(&["--strategy", "sticky"]).start_ready();
    let newcomers: Vec<_> = (0..8).map(|_| cluster.get("/cluster/info").worker_id()).collect();
    assert_eq!(newcomers, [1, 2, 3, 4, 1, 2, 3, 4], "without a cookie they take turns");
    let first = cluster.get("/cluster/info");
    let (home, mine) = (first.worker_id(), format!("theme=dark; {}", cookie_of(&first)));
    let sticks = || {
        for _ in 0..50 {
            let answer = get_with(&cluster, "/cluster/info", &mine);
            assert_eq!((answer.worker_id(), answer.header("set-cookie")), (home, None));
        }
    };
    sticks();
    for path in ["/health", "/cluster/workers"] {
        assert_eq!(cluster.get(path).header("set-cookie"), None, "{path} is no worker's");
    }
    let before = cluster.worker_pids();
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert!(cluster.worker_pids().iter().all(|pid| !before.contains(pid)));
    sticks();
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_client_whose_worker_is_gone_moves_to_another_and_stays_there() {
    let balancer = Balancer::program(3, &["--strategy", "sticky"]);
    let mode = balancer.directory().join("mode");
    std::fs::write(&mode, "ok").unwrap();
    let file = mode.to_str().unwrap().to_owned();
    let cluster = balancer.env("MODE_FILE", &file).start_ready();
    let first = cluster.get("/pid");
    let (home, cookie) = (first.worker_id(), cookie_of(&first));
    // Its successor takes a while to be ready.
    std::fs::write(&mode, "slow").unwrap();
    send_signal(first.text().parse().unwrap(), Signal::KILL);
    eventually("it is gone", || {
        cluster
            .workers()
            .iter()
            .find(|worker| worker["id"] == home)
            .filter(|worker| worker["state"] != "online")?;
        Some(())
    });
    let moved = get_with(&cluster, "/pid", &cookie);
    assert_ne!(moved.worker_id(), home);
    let cookie = cookie_of(&moved);
    cluster.wait_ready();
    for _ in 0..10 {
        assert_eq!(get_with(&cluster, "/pid", &cookie).worker_id(), moved.worker_id());
    }
}

#[test]
fn a_cookie_that_is_not_ours_counts_as_none() {
    let cluster = Balancer::cluster(3).with(&["--strategy", "sticky"]).start_ready();
    let other = Balancer::cluster(1).with(&["--strategy", "sticky"]).start_ready();
    let mine = cookie_of(&cluster.get("/cluster/info"));
    let (_, tag) = mine.split_once('.').unwrap();
    let foreign = cookie_of(&other.get("/cluster/info"));
    for bad in [
        format!("cluster_worker=2.{tag}"),
        format!("cluster_worker=3.{tag}"),
        "cluster_worker=2".to_owned(),
        "cluster_worker=".to_owned(),
        foreign,
        mine.to_uppercase(),
    ] {
        let seen: Vec<_> = (0..3).map(|_| get_with(&cluster, "/cluster/info", &bad)).collect();
        let mut ids: Vec<_> = seen.iter().map(Answer::worker_id).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3], "{bad}: they take turns");
        seen.iter().for_each(|answer| assert_ne!(cookie_of(answer), bad));
    }
}

#[test]
fn a_cookie_is_secure_where_the_client_speaks_https() {
    let of = |options: &[&str]| {
        let cluster = Balancer::cluster(1).with(&["--strategy", "sticky"]).with(options).start_ready();
        let answer = cluster.request("GET", "/cluster/info", &[("x-forwarded-proto", "https")], b"");
        answer.header("set-cookie").unwrap().ends_with("; Secure")
    };
    assert!(of(&["--trust-forwarded"]));
    assert!(!of(&[]), "anybody can say so");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_secret_makes_cookies_outlive_the_cluster_and_stays_with_the_primary() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let by_variable =
        || Balancer::program(3, &["--strategy", "sticky"]).env("CLUSTER_STICKY_SECRET", SECRET).start_ready();
    let cookie = {
        let cluster = by_variable();
        cluster.get("/pid");
        cookie_of(&cluster.get("/pid"))
    };
    let cluster = by_variable();
    for _ in 0..5 {
        let answer = get_with(&cluster, "/env", &cookie);
        assert_eq!((answer.worker_id(), answer.header("set-cookie")), (2, None));
        assert!(!answer.text().contains(SECRET), "workers need not know it");
    }
    let cluster = Balancer::program(1, &["--strategy", "sticky"])
        .dotenv(&format!("CLUSTER_STICKY_SECRET={SECRET}\n"))
        .start_ready();
    assert!(!cluster.get("/env").text().contains(SECRET));
}

#[test]
fn many_clients_at_once_stay_with_their_own_worker() {
    let cluster = Balancer::cluster(3).with(&["--strategy", "sticky"]).start_ready();
    let address = cluster.address;
    let clients: Vec<_> = (0..9)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                connection.send("GET", "/cluster/info", &[], b"").unwrap();
                let first = connection.receive(false).unwrap();
                let cookie = cookie_of(&first);
                for _ in 0..50 {
                    connection.send("GET", "/cluster/info", &[("cookie", &cookie)], b"").unwrap();
                    assert_eq!(connection.receive(false).unwrap().worker_id(), first.worker_id());
                }
                first.worker_id()
            })
        })
        .collect();
    let mut homes: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    homes.sort_unstable();
    assert_eq!(homes, [1, 1, 1, 2, 2, 2, 3, 3, 3]);
}
