//! The strategy hash, which leads requests by a key, and what the cookie of the strategy
//! sticky looks like.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::harness::{Answer, Balancer, Cluster, Connection, eventually, send_signal};

const KEYS: usize = 60;

fn hashed(workers: u32, key: &str) -> Balancer {
    Balancer::cluster(workers).with(&["--strategy", "hash", "--hash-key", key])
}

/// The worker of a request with this key in a field.
fn home(cluster: &Cluster, key: usize) -> u64 {
    cluster.request("GET", "/cluster/info", &[("x-key", &key.to_string())], b"").worker_id()
}

fn homes(cluster: &Cluster) -> Vec<u64> {
    (0..KEYS).map(|key| home(cluster, key)).collect()
}

fn distinct(homes: &[u64]) -> usize {
    homes.iter().collect::<HashSet<_>>().len()
}

fn pid_of(cluster: &Cluster, id: u64) -> u32 {
    let workers = cluster.workers();
    workers.iter().find(|worker| worker["id"] == id).unwrap()["pid"].as_u64().unwrap() as u32
}

#[test]
fn a_key_outlives_reloads_and_restarts_of_the_balancer() {
    let cluster = hashed(4, "header:X-Key").start_ready();
    let before = homes(&cluster);
    assert_eq!(distinct(&before), 4);
    assert_eq!(homes(&cluster), before);
    let pids = cluster.worker_pids();
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert!(cluster.worker_pids().iter().all(|pid| !pids.contains(pid)));
    assert_eq!(homes(&cluster), before, "after a reload");
    drop(cluster);
    assert_eq!(homes(&hashed(4, "header:x-key").start_ready()), before, "in another cluster");
}

#[test]
fn every_part_of_a_request_can_be_the_key() {
    let key = |number: usize| format!("key-{number}");
    type Request = fn(&Cluster, &str) -> Answer;
    let parts: [(&str, Request); 4] = [
        ("header:x-key", |cluster, key| cluster.request("GET", "/cluster/info", &[("X-Key", key)], b"")),
        ("cookie:session", |cluster, key| {
            let cookie = format!("theme=dark; session={key}; lang=en");
            cluster.request("GET", "/cluster/info", &[("cookie", &cookie)], b"")
        }),
        ("query:room", |cluster, key| cluster.get(&format!("/cluster/info?a=b&room={key}&room=other"))),
        ("client-ip", |cluster, key| {
            let address = format!("203.0.113.9, 198.51.100.{}", key.trim_start_matches("key-"));
            cluster.request("GET", "/cluster/info", &[("x-forwarded-for", &address)], b"")
        }),
    ];
    for (part, request) in parts {
        let cluster = hashed(4, part).with(&["--trust-forwarded"]).start_ready();
        let of = |number| request(&cluster, &key(number));
        let homes: Vec<_> = (0..KEYS).map(|number| of(number).worker_id()).collect();
        assert_eq!(distinct(&homes), 4, "{part}: {homes:?}");
        assert_eq!(homes, (0..KEYS).map(|number| of(number).worker_id()).collect::<Vec<_>>(), "{part}");
        assert_eq!(of(1).header("set-cookie"), None, "{part}: no cookie is needed");
        // Without it the client's address counts, which is the same for all of these.
        let without = [("X-Other", "1"), ("x-key", ""), ("cookie", "session="), ("cookie", "Session=1")];
        let homes: Vec<_> = without
            .map(|field| cluster.request("GET", "/cluster/info?room", &[field], b"").worker_id())
            .into();
        assert_eq!(distinct(&homes), 1, "{part}: {homes:?}");
    }
}

#[test]
fn the_address_of_a_client_is_not_what_it_says() {
    let cluster = hashed(4, "client-ip").start_ready();
    let of = |number: usize| {
        let address = format!("198.51.100.{number}");
        cluster.request("GET", "/cluster/info", &[("x-forwarded-for", &address)], b"").worker_id()
    };
    assert_eq!(distinct(&(0..KEYS).map(of).collect::<Vec<_>>()), 1);
}

#[test]
fn a_worker_that_comes_or_goes_moves_the_keys_that_it_must() {
    let cluster = hashed(4, "header:x-key").start_ready();
    let of_all = || -> Vec<_> {
        let mut connection = Connection::open(cluster.address).unwrap();
        let mut home = |key: usize| {
            connection.send("GET", "/cluster/info", &[("x-key", &key.to_string())], b"").unwrap();
            connection.receive(false).unwrap().worker_id()
        };
        (0..1_000).map(&mut home).collect()
    };
    let four = of_all();
    assert_eq!(cluster.operate(&["scale", "5"]).0, 0);
    let five = of_all();
    let moved: Vec<_> = four.iter().zip(&five).filter(|(before, now)| before != now).collect();
    assert!(moved.iter().all(|(_, now)| **now == 5), "{moved:?}");
    assert!((150..250).contains(&moved.len()), "{} of 1000 moved, 200 would be ideal", moved.len());
    assert_eq!(cluster.operate(&["scale", "4"]).0, 0);
    assert_eq!(of_all(), four);
}

#[test]
fn a_key_moves_while_its_worker_is_away_and_comes_back() {
    let options = ["--health-interval", "100ms", "--health-timeout", "100ms", "--hang-timeout", "60s"];
    let cluster = hashed(4, "header:x-key").with(&options).start_ready();
    let before = homes(&cluster);
    let victim = before[0];
    let pid = pid_of(&cluster, victim);
    send_signal(pid, Signal::STOP);
    let state = |state: &str| {
        let is = cluster.workers().iter().any(|worker| worker["id"] == victim && worker["state"] == state);
        is.then_some(())
    };
    eventually("it is out of turn", || state("unhealthy"));
    let meanwhile = homes(&cluster);
    assert_eq!(homes(&cluster), meanwhile, "the next one of each key is always the same");
    send_signal(pid, Signal::CONT);
    let moved = before.iter().zip(&meanwhile).filter(|(home, _)| **home == victim);
    let heirs: HashSet<_> = moved.map(|(_, heir)| *heir).collect();
    assert!(heirs.len() >= 2 && !heirs.contains(&victim), "they are shared out: {heirs:?}");
    let stayed = before.iter().zip(&meanwhile).all(|(home, now)| *home == victim || home == now);
    assert!(stayed, "nobody else moves");
    eventually("it is back", || state("online"));
    assert_eq!(homes(&cluster), before);
}

#[test]
fn no_request_is_lost_when_the_worker_of_a_key_dies() {
    let cluster = hashed(3, "client-ip").start_ready();
    let load = crate::load::Load::start(&cluster, 4);
    let home = cluster.get("/cluster/info").worker_id();
    for _ in 0..3 {
        let pid = eventually("the worker is online", || {
            let workers = cluster.workers();
            let worker = workers.iter().find(|worker| worker["id"] == home && worker["state"] == "online")?;
            worker["pid"].as_u64().map(|pid| pid as u32)
        });
        send_signal(pid, Signal::KILL);
        eventually("it is replaced", || {
            let worker = cluster.workers().into_iter().find(|worker| worker["id"] == home)?;
            (worker["state"] == "online" && worker["pid"] != pid).then_some(())
        });
        assert_eq!(cluster.get("/cluster/info").worker_id(), home);
    }
    load.finish_unharmed();
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_key_whose_worker_is_full_goes_to_its_next_one() {
    let options = ["--strategy", "hash", "--hash-key", "query:name", "--max-concurrency", "1"];
    let cluster = Balancer::program(3, &options).start_ready();
    let home = cluster.get("/pid?name=mine").worker_id();
    let mut held: Vec<_> = (0..3)
        .map(|count: u64| {
            let mut connection = Connection::open(cluster.address).unwrap();
            connection
                .send("GET", &format!("/held?name=mine&ms={}", 3_000 + count * 20_000), &[], b"")
                .unwrap();
            eventually("it is there", || {
                let in_flight =
                    cluster.workers().iter().map(|worker| worker["inFlight"].as_u64().unwrap()).sum::<u64>();
                (in_flight == count + 1).then_some(())
            });
            connection
        })
        .collect();
    // All are full: this one waits, and the first to be free is its own.
    let queued = cluster.get("/pid?name=mine");
    let mut first = held.remove(0);
    assert_eq!((first.receive(false).unwrap().worker_id(), queued.worker_id()), (home, home));
    assert_eq!(cluster.get("/pid?name=mine").worker_id(), home, "it comes back");
}

/// The cookie that a cluster with these options sets, after its value.
fn attributes(options: &[&str], path: &str, fields: &[(&str, &str)]) -> Option<String> {
    let cluster = Balancer::cluster(1).with(&["--strategy", "sticky"]).with(options).start_ready();
    let answer = cluster.request("GET", path, fields, b"");
    let (pair, attributes) = answer.header("set-cookie")?.split_once("; ")?;
    Some(format!("{} {attributes}", pair.split_once('=')?.0))
}

#[test]
fn name_and_attributes_of_the_cookie_are_settings() {
    let of =
        |options: &[&str], fields: &[(&str, &str)]| attributes(options, "/cluster/info", fields).unwrap();
    let https = [("x-forwarded-proto", "https")];
    assert_eq!(of(&[], &[]), "cluster_worker Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(
        of(&["--sticky-cookie", "__Host-w", "--sticky-same-site", "none", "--sticky-secure"], &[]),
        "__Host-w Path=/; HttpOnly; SameSite=None; Secure"
    );
    assert_eq!(
        of(&["--sticky-path", "/cluster", "--sticky-same-site", "strict", "--trust-forwarded"], &https),
        "cluster_worker Path=/cluster; HttpOnly; SameSite=Strict; Secure"
    );
    assert_eq!(of(&["--sticky-same-site", "off"], &https), "cluster_worker Path=/; HttpOnly");
    assert_eq!(attributes(&["--sticky-path", "/app"], "/cluster/info", &[]), None);
}

#[test]
fn a_cookie_under_another_name_brings_clients_back() {
    let cluster =
        Balancer::cluster(3).with(&["--strategy", "sticky", "--sticky-cookie", "mine"]).start_ready();
    let first = cluster.get("/cluster/info");
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..6 {
        let answer = cluster.request("GET", "/cluster/info", &[("cookie", &cookie)], b"");
        assert_eq!((answer.worker_id(), answer.header("set-cookie")), (first.worker_id(), None));
    }
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    for (options, said) in [
        (&["--sticky-same-site", "none"][..], "--sticky-secure"),
        (&["--sticky-cookie", "__Secure-a"], "--sticky-secure"),
        (&["--sticky-cookie", "a b"], "--sticky-cookie"),
        (&["--sticky-path", "app"], "--sticky-path"),
        (&["--hash-key", "sid"], "query:NAME"),
        (&["--hash-key", "header:"], "--hash-key"),
    ] {
        let (code, text) = Balancer::cluster(1).with(options).output();
        assert!(code == 2 && text.contains(said), "{options:?}: {code} {text}");
    }
}

fn program(options: &[&str]) -> Cluster {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/fields.js");
    Balancer::cluster(4)
        .with(options)
        .with(&["--", "node", script])
        .env("PATH", &std::env::var("PATH").unwrap())
        .start_ready()
}

fn path_for(fields: &str) -> String {
    let encoded: String = fields.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("/?fields={encoded}")
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_shared_cache_brings_its_clients_to_all_workers() {
    let cluster = program(&["--strategy", "sticky"]);
    // A cache that stores what it may, for each path, with its cookie.
    let mut stored: HashMap<&str, Answer> = HashMap::new();
    let mut counts: HashMap<u64, u32> = HashMap::new();
    let page = path_for(r#"{"cache-control":"public, max-age=60"}"#);
    for _ in 0..100 {
        let answer = stored.entry(&page).or_insert_with(|| cluster.get(&page));
        let cookie = answer.header("set-cookie").map(|cookie| cookie.split(';').next().unwrap().to_owned());
        let fields: Vec<_> = cookie.iter().map(|cookie| ("cookie", cookie.as_str())).collect();
        *counts.entry(cluster.request("GET", "/", &fields, b"").worker_id()).or_default() += 1;
    }
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert!(counts.values().all(|&count| count == 25), "{counts:?}");
    let sets = |method: &str, fields: &str, sent: &[(&str, &str)]| {
        cluster.request(method, &path_for(fields), sent, b"").header("set-cookie").is_some()
    };
    for (fields, is_set) in [
        ("{}", true),
        (r#"{"cache-control":"private, max-age=60"}"#, true),
        (r#"{"cache-control":["no-transform","Max-Age=\"60\""]}"#, false),
        (r#"{"cache-control":"max-age=60, no-cache=\"set-cookie\""}"#, true),
        (r#"{"expires":"Fri, 01 Jan 2100 00:00:00 GMT"}"#, false),
        (r#"{"expires":"Fri, 01 Jan 2010 00:00:00 GMT"}"#, true),
    ] {
        assert_eq!(sets("GET", fields, &[]), is_set, "{fields}");
        assert_eq!(sets("HEAD", fields, &[]), is_set, "{fields}");
        assert!(sets("POST", fields, &[]), "{fields}");
    }
    assert!(sets("GET", r#"{"cache-control":"max-age=60"}"#, &[("authorization", "Basic eDp5")]));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn an_upgrade_sets_the_cookie_and_comes_back() {
    let cluster = program(&["--strategy", "sticky"]);
    let upgrade = |cookie: &str| {
        let mut client = TcpStream::connect(cluster.address).unwrap();
        write!(client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n{cookie}\r\n")
            .unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(char::from(byte[0]));
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(str::to_owned)
        };
        (field("X-Worker-Id").unwrap(), field("Set-Cookie"))
    };
    let (home, cookie) = upgrade("");
    let cookie = cookie.unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    for _ in 0..8 {
        assert_eq!(upgrade(&cookie), (home.clone(), None));
    }
}
