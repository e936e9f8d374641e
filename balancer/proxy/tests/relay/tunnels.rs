//! Upgraded connections and their limit.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;
use balancer_state::faults::Rejection;
use shared_testkit::eventually;

use crate::harness::{Upstream, read_until, status};
use crate::witness::Witness;

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// Agrees to every upgrade, and answers everything else.
fn upgrading() -> Upstream {
    Upstream::with(|stream, seen| {
        let upgrades = seen.head.contains("\r\nUpgrade: x\r\n");
        stream
            .write_all(if upgrades { UPGRADED } else { b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" })
            .unwrap();
    })
}

fn upgrade(witness: &Witness) -> TcpStream {
    let request = witness.request("GET").replace("close", "upgrade\r\nUpgrade: x");
    witness.relay.send(request.as_bytes())
}

fn tunnels(witness: &Witness) -> Vec<u64> {
    witness.relay.pool.ready().iter().map(|worker| worker.tunnels()).collect()
}

#[test]
fn a_request_to_upgrade_is_refused_once_all_workers_have_as_many_as_they_may() {
    let (first, second) = (upgrading(), upgrading());
    let limits = ProxyLimits { max_tunnels: Some(1), ..ProxyLimits::default() };
    let witness = Witness::start("tunnels", &[first.address, second.address], limits);
    let mut open: Vec<_> = (0..2).map(|_| upgrade(&witness)).collect();
    for client in &mut open {
        assert_eq!(status(&read_until(client, "\r\n\r\n")), 101);
    }
    assert_eq!(tunnels(&witness), [1, 1]);
    let answer = read_until(&mut upgrade(&witness), "}");
    assert!(status(&answer) == 503 && answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    assert_eq!(witness.status("GET"), 200, "other requests are not concerned");
    let said = witness.warning();
    assert_eq!(said["fault"], "max-tunnels");
    assert!(said["message"].as_str().unwrap().contains("--max-tunnels"), "{said}");
    assert_eq!(witness.relay.counters.rejections.count(Rejection::MaxTunnels), 1);
    let line = witness.access_lines(2).into_iter().find(|line| line["status"] == 503).unwrap();
    assert_eq!((&line["fault"], &line["attempts"]), (&"max-tunnels".into(), &0.into()));
    assert_eq!(first.take().len() + second.take().len(), 3, "no worker was asked");
    open.pop();
    eventually("one has ended", || (tunnels(&witness).iter().sum::<u64>() == 1).then_some(()));
    assert_eq!(status(&read_until(&mut upgrade(&witness), "\r\n\r\n")), 101);
}

#[test]
fn a_worker_gets_no_more_tunnels_than_it_may_when_it_agrees_to_several_at_once() {
    let (agree, agreed) = (std::sync::Barrier::new(2), std::sync::Arc::new(std::sync::Mutex::new(())));
    let upstream = Upstream::with(move |stream, _| {
        // Both requests are here before either is answered.
        agree.wait();
        let _one = agreed.lock().unwrap();
        stream.write_all(UPGRADED).unwrap();
    });
    let limits = ProxyLimits { max_tunnels: Some(1), ..ProxyLimits::default() };
    let witness = Witness::start("tunnels-at-once", &[upstream.address], limits);
    let start = Instant::now();
    let mut clients: Vec<_> = (0..2).map(|_| upgrade(&witness)).collect();
    let mut codes: Vec<_> =
        clients.iter_mut().map(|client| status(&read_until(client, "\r\n\r\n"))).collect();
    codes.sort_unstable();
    assert!(start.elapsed() < Duration::from_millis(900), "nobody waits for the other to end");
    assert_eq!(codes, [101, 503]);
    assert_eq!(tunnels(&witness), [1]);
}
