//! TLS handshakes of clients: in the task that serves the connection, within the time for a
//! head, and counted by how they end.

use std::io;

use balancer_state::handshakes::HandshakeResult;
use balancer_tls::{ACME_TLS_ALPN, Tls};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{Error as TlsError, HandshakeKind, PeerIncompatible};
use tracing::debug;

use crate::client::{ClientStream, TlsSession};
use crate::listener::AcceptedSocket;
use crate::proxy::Proxy;
use crate::timer;

/// How a connection to a listener with TLS began.
pub(crate) enum Opened {
    Session(ClientStream),
    /// With a request in plain HTTP, of which nothing was read yet.
    PlainHttp(ClientStream),
    Failed,
}

/// Does the handshake. Nobody is answered who does not do it in time.
pub(crate) async fn accept(proxy: &Proxy, tls: &Tls, socket: AcceptedSocket) -> Opened {
    let peer = socket.peer();
    let handshake = shake_hands(tls, socket);
    let result = timer::timeout(proxy.limits.head_timeout, handshake).await;
    let (opened, result) = match result {
        Some(Ok((opened, result))) => (opened, result),
        Some(Err(err)) => {
            debug!(?peer, %err, "a TLS handshake failed");
            (Opened::Failed, result_of(&err))
        }
        None => (Opened::Failed, HandshakeResult::Timeout),
    };
    proxy.counters.handshakes.add(result);
    opened
}

async fn shake_hands(tls: &Tls, socket: AcceptedSocket) -> io::Result<(Opened, HandshakeResult)> {
    if let AcceptedSocket::Tcp(stream, _) = &socket {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            // A method begins with a letter, a handshake with 22 (RFC 8446, section 5.1).
            _ if first[0].is_ascii_alphabetic() => {
                return Ok((Opened::PlainHttp(socket.into()), HandshakeResult::PlainHttp));
            }
            _ => {}
        }
    }
    let stream = TlsAcceptor::from(tls.config()).accept(ClientStream::from(socket)).await?;
    let session = TlsSession::new(stream);
    // The server of ACME has seen the certificate, and that was all it wanted (RFC 8737, section 3).
    if session.session().alpn_protocol() == Some(ACME_TLS_ALPN) {
        return Ok((Opened::Failed, HandshakeResult::AcmeChallenge));
    }
    let result = match session.session().handshake_kind() {
        Some(HandshakeKind::Resumed) => HandshakeResult::Resumed,
        _ => HandshakeResult::Full,
    };
    Ok((Opened::Session(ClientStream::Tls(Box::new(session))), result))
}

/// Why a handshake has failed.
fn result_of(err: &io::Error) -> HandshakeResult {
    let Some(error) = err.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return HandshakeResult::Closed;
    };
    match error {
        TlsError::AlertReceived(_) => HandshakeResult::Alert,
        TlsError::NoApplicationProtocol => HandshakeResult::Alpn,
        TlsError::NoCertificatesPresented | TlsError::InvalidCertificate(_) => {
            HandshakeResult::ClientCertificate
        }
        TlsError::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            // Came with TLS 1.2 (RFC 5246, section 7.4.1.4.1).
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => HandshakeResult::Version,
        TlsError::PeerIncompatible(_) => HandshakeResult::Incompatible,
        TlsError::InvalidMessage(_)
        | TlsError::InappropriateMessage { .. }
        | TlsError::InappropriateHandshakeMessage { .. }
        | TlsError::DecryptError
        | TlsError::PeerSentOversizedRecord
        | TlsError::PeerMisbehaved(_) => HandshakeResult::Invalid,
        _ => HandshakeResult::Failed,
    }
}
