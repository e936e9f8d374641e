//! Connections that begin with a header of the PROXY protocol: who may send one, and how it
//! is taken off the connection, byte for byte, before anything else reads from it.
//!
//! Without the header nothing is known of the client, and with one from anybody a client
//! could claim any address, so such connections are closed, counted and, now and then, said.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use balancer_state::counters::Counters;
use ipnet::IpNet;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::time::timeout;
use tracing::warn;

use crate::listener::AcceptedSocket;
use crate::proxy_header::{HeaderError, HeaderReader, Progress};

/// Time between two lines about connections that were closed. Metrics count each.
const SAY_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes that are looked at in one go: more than the headers that are usual have.
const LOOK: usize = 536;

/// Who may say for whom a connection is.
#[derive(Debug, Clone)]
pub enum ProxySources {
    /// Whoever can connect: for Unix sockets, whose permissions decide on that.
    All,
    Networks(Vec<IpNet>),
}

impl ProxySources {
    fn include(&self, address: Option<IpAddr>) -> bool {
        match (self, address.map(|address| address.to_canonical())) {
            (Self::All, _) => true,
            (Self::Networks(networks), Some(address)) => {
                networks.iter().any(|network| network.contains(&address))
            }
            (Self::Networks(_), None) => false,
        }
    }
}

/// Why a connection is closed before its first request.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it is none of those whose PROXY headers are believed (proxy-protocol in --listen)")]
    Source,
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("its PROXY header did not come in time")]
    Timeout,
    #[error("it ended within its PROXY header")]
    Truncated,
    /// Load balancers look in this way whether somebody listens.
    #[error("it sent nothing")]
    Empty,
    #[error("it is broken: {0}")]
    Broken(#[from] io::Error),
}

/// When a closed connection was said last.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<Option<Instant>>);

impl RefusalLog {
    /// May one be said that is closed `now`?
    fn admit(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= SAY_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }

    fn note(&self, peer: Option<IpAddr>, refusal: &Refusal, counters: &Counters) {
        let count = match refusal {
            Refusal::Source => &counters.proxy_protocol.wrong_source,
            Refusal::Empty | Refusal::Broken(_) => return,
            _ => &counters.proxy_protocol.wrong_header,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if self.admit(Instant::now()) {
            let peer = peer.map_or_else(|| "unix:".to_owned(), |peer| peer.to_canonical().to_string());
            warn!(%peer, "a connection was closed: {refusal}");
        }
    }
}

/// Takes the header off the connection. Inside, the client's address, or none where the
/// connection's own counts; `None` when the connection is to be closed.
pub(crate) async fn take_header(
    socket: &AcceptedSocket,
    sources: &ProxySources,
    head_timeout: Duration,
    (counters, log): (&Counters, &RefusalLog),
) -> Option<Option<IpAddr>> {
    let peer = socket.peer();
    let taken = if sources.include(peer) {
        timeout(head_timeout, read(socket)).await.unwrap_or(Err(Refusal::Timeout))
    } else {
        Err(Refusal::Source)
    };
    taken.inspect_err(|refusal| log.note(peer, refusal, counters)).ok()
}

async fn read(socket: &AcceptedSocket) -> Result<Option<IpAddr>, Refusal> {
    let (mut reader, mut bytes) = (HeaderReader::default(), [0; LOOK]);
    loop {
        // Only looks, as what follows the header is not for this reader.
        match receive(socket, &mut bytes, RecvFlags::PEEK).await? {
            0 if reader.has_begun() => return Err(Refusal::Truncated),
            0 => return Err(Refusal::Empty),
            seen => {
                let (used, client) = match reader.read(&bytes[..seen])? {
                    Progress::Partial => (seen, None),
                    Progress::Complete { used, client } => (used, Some(client)),
                };
                let mut taken = 0;
                while taken < used {
                    taken += receive(socket, &mut bytes[taken..used], RecvFlags::empty()).await?;
                }
                if let Some(client) = client {
                    return Ok(client);
                }
            }
        }
    }
}

async fn receive(socket: &AcceptedSocket, bytes: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    loop {
        let mut receive = |socket: &dyn AsFd| {
            let (count, _) = rustix::net::recv(socket.as_fd(), &mut *bytes, flags)?;
            Ok(count)
        };
        let received = match socket {
            AcceptedSocket::Tcp(stream, _) => {
                stream.readable().await?;
                stream.try_io(Interest::READABLE, || receive(stream))
            }
            AcceptedSocket::Unix(stream) => {
                stream.readable().await?;
                stream.try_io(Interest::READABLE, || receive(stream))
            }
        };
        match received {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_are_named_are_believed() {
        let networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"];
        let sources = ProxySources::Networks(networks.iter().map(|text| text.parse().unwrap()).collect());
        let include = |text: &str| sources.include(Some(text.parse().unwrap()));
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:ffff::1", "192.0.2.1"] {
            assert!(include(inside), "{inside}");
        }
        for outside in ["11.0.0.1", "::ffff:11.0.0.1", "2001:db9::1", "192.0.2.2", "::1"] {
            assert!(!include(outside), "{outside}");
        }
        assert!(!sources.include(None) && ProxySources::All.include(None));
    }

    #[test]
    fn closed_connections_are_said_once_a_minute() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        let admit = |seconds| log.admit(start + Duration::from_secs(seconds));
        assert!(admit(0));
        assert!(!admit(1) && !admit(59));
        assert!(admit(60) && !admit(61));
    }
}
