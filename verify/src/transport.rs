//! How a target is spoken to: whom the client trusts, and which HTTP.

use std::path::PathBuf;
use std::sync::Arc;

use shared_http_client::{Client, Limits, Tls};
use shared_tls_client::{Trust, TrustError, client_config};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::target::Target;

/// What the command line says of it.
#[derive(Debug, Clone, Default)]
pub struct Transport {
    /// Authorities instead of the system's.
    pub cacert: Option<PathBuf>,
    /// Whatever the certificate is, the checks go on; that of TLS judges it all the same.
    pub insecure: bool,
    pub http2: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("{0:?} is no name that a certificate could be checked against")]
    Name(String),
}

impl Transport {
    /// The same, with anybody.
    pub fn trusting_anybody(&self) -> Self {
        Self { insecure: true, ..self.clone() }
    }

    /// Whom a certificate has to be signed by, `--insecure` or not.
    pub fn authorities(&self) -> Trust {
        Trust::of_flags(self.cacert.as_deref(), false)
    }

    /// # Errors
    /// When the authorities cannot be read, or the host is no name.
    pub fn client(&self, target: &Target, limits: Limits) -> Result<Client, TransportError> {
        let client = Client::new(target.address(), limits);
        let client = if self.http2 { client.with_http2() } else { client };
        if !target.https {
            return Ok(client);
        }
        let trust = Trust::of_flags(self.cacert.as_deref(), self.insecure);
        let alpn: &[u8] = if self.http2 { b"h2" } else { b"http/1.1" };
        let config = Arc::new(client_config(&trust, &[alpn])?);
        Ok(client.with_tls(Tls { config, name: server_name(target)? }))
    }
}

/// # Errors
/// When the host is neither a name nor an address.
pub fn server_name(target: &Target) -> Result<ServerName<'static>, TransportError> {
    ServerName::try_from(target.host.clone()).map_err(|_| TransportError::Name(target.host.clone()))
}
