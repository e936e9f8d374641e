//! How TLS handshakes of clients end.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a handshake has ended. The names are those in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeResult {
    Full,
    /// With a ticket of an earlier session.
    Resumed,
    /// It showed the certificate of a challenge to an ACME server.
    AcmeChallenge,
    /// It was not over in time.
    Timeout,
    /// The client closed the connection.
    Closed,
    /// The client spoke plain HTTP.
    PlainHttp,
    /// The client's versions are too old.
    Version,
    /// The client has nothing else in common with the server, such as a cipher.
    Incompatible,
    /// None of the client's application protocols is spoken.
    Alpn,
    /// The client showed no certificate, or none that is believed.
    ClientCertificate,
    /// The client gave up, such as for the server's certificate.
    Alert,
    /// The client sent something that is no TLS.
    Invalid,
    /// For another reason, such as that there is no certificate yet.
    Failed,
}

impl HandshakeResult {
    pub const ALL: [Self; 13] = [
        Self::Full,
        Self::Resumed,
        Self::AcmeChallenge,
        Self::Timeout,
        Self::Closed,
        Self::PlainHttp,
        Self::Version,
        Self::Incompatible,
        Self::Alpn,
        Self::ClientCertificate,
        Self::Alert,
        Self::Invalid,
        Self::Failed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::AcmeChallenge => "acme-challenge",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::PlainHttp => "plain-http",
            Self::Version => "version",
            Self::Incompatible => "incompatible",
            Self::Alpn => "alpn",
            Self::ClientCertificate => "client-certificate",
            Self::Alert => "alert",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

/// Handshakes, by how they ended.
#[derive(Debug, Default)]
pub struct Handshakes([AtomicU64; HandshakeResult::ALL.len()]);

impl Handshakes {
    pub fn add(&self, result: HandshakeResult) {
        self.0[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self, result: HandshakeResult) -> u64 {
        self.0[result as usize].load(Ordering::Relaxed)
    }
}
