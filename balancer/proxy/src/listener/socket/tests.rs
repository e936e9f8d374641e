use std::net::TcpStream;

use rustix::io::Errno;

use super::*;

/// What waits in the sockets of all threads.
fn accept(divided: &[Vec<Share>]) -> Vec<(TcpStream, SocketAddr)> {
    let tcp = |share: &Share| match &share.socket {
        ShareSocket::Tcp(listener) => std::iter::from_fn(|| listener.accept().ok()).collect(),
        ShareSocket::Unix(_) => Vec::new(),
    };
    divided.iter().flatten().flat_map(tcp).collect()
}

#[test]
fn accepted_connections_inherit_what_detects_dead_peers() {
    let first = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = first.address().unwrap().unwrap();
    let listeners = divide(vec![first], 2).unwrap();
    let _clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (socket, _) in accept(&listeners) {
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), KEEPALIVE_COUNT);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), USER_TIMEOUT_MS);
    }
}

#[test]
fn what_waits_in_an_inherited_socket_is_left_to_who_has_it_as_well() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let divided = divide(vec![Listener::inherit(kept.try_clone().unwrap()).unwrap()], 3).unwrap();
    assert!(divided.iter().all(|listeners| listeners.len() == 1), "each thread accepts from it");
    let clients: Vec<_> = (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
    let ShareSocket::Tcp(third) = &divided[2][0].socket else { panic!("it is of TCP") };
    let (socket, _) = third.accept().unwrap();
    assert!(sockopt::socket_keepalive(&socket).unwrap(), "with the options of one that is bound here");
    assert!(sockopt::tcp_nodelay(&socket).unwrap());
    drop(divided);
    let waiting = std::iter::from_fn(|| kept.accept().ok()).count();
    assert_eq!(waiting, clients.len() - 1);
}

#[test]
fn what_came_before_the_division_is_kept_and_the_port_stays_in_use() {
    let first = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = first.address().unwrap().unwrap();
    let early = TcpStream::connect(address).unwrap();
    let divided = divide(vec![first], 3).unwrap();
    let later: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut accepted: Vec<_> = accept(&divided).into_iter().map(|(_, peer)| peer).collect();
    let mut clients: Vec<_> =
        later.iter().chain([&early]).map(|client| client.local_addr().unwrap()).collect();
    clients.sort();
    accepted.sort();
    assert_eq!(accepted, clients);
    let refused = bind(address).unwrap_err();
    assert_eq!(Errno::from_io_error(&refused), Some(Errno::ADDRINUSE), "as for another cluster");
}

#[test]
fn a_listener_for_ipv6_alone_leaves_ipv4_its_port() {
    let ipv4 = Listener::bind(([0, 0, 0, 0], 0).into()).unwrap();
    let port = ipv4.address().unwrap().unwrap().port();
    let all = SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, port, 0, 0);
    assert!(Listener::bind(all.into()).is_err(), "it would have both");
    let ipv6 = Listener::bind_ipv6_only(all).unwrap();
    let divided = divide(vec![ipv4, ipv6], 2).unwrap();
    let clients: Vec<_> =
        ["127.0.0.1", "::1"].iter().map(|host| TcpStream::connect((*host, port)).unwrap()).collect();
    assert_eq!(accept(&divided).len(), clients.len());
}
