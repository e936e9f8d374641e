//! TLS for `https://` targets: rustls with the ring provider.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared_tls_client::{Trust, TrustError, client_config};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, NamedGroup};

/// What ALPN calls HTTP/2 (RFC 9113, section 3.2).
pub(super) const H2: &[u8] = b"h2";

/// A connector that trusts as `trust` says. `http2` offers `h2` alone. Without
/// `resumption` each connection has a full handshake.
pub(super) fn connector(trust: &Trust, http2: bool, resumption: bool) -> Result<TlsConnector, TrustError> {
    let mut config: ClientConfig = client_config(trust, &[if http2 { H2 } else { b"http/1.1" }])?;
    config.resumption = match resumption {
        true => Resumption::store(Arc::new(Sessions::default())),
        false => Resumption::disabled(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Tickets that are kept: one for each of many connections that begin at the same time.
const TICKETS: usize = 16 * 1024;

/// Sessions of one server, for all threads. The lock is taken for a handshake only.
/// rustls's own store keeps eight tickets of a server, so that of many connections most
/// could not resume.
#[derive(Debug, Default)]
struct Sessions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    group: Option<NamedGroup>,
    /// TLS 1.2: for any number of connections.
    session: Option<Tls12ClientSessionValue>,
    /// TLS 1.3: each for one connection (RFC 8446, appendix C.4).
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, group: NamedGroup) {
        self.kept().group = Some(group);
    }

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept().group
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept().session = Some(value);
    }

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept().session.clone()
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {
        self.kept().session = None;
    }

    fn insert_tls13_ticket(&self, _server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        if kept.tickets.len() == TICKETS {
            kept.tickets.pop_front();
        }
        kept.tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().tickets.pop_back()
    }
}
