//! What the programs that ask a server over TLS have in common: whom they trust, as
//! curl has it, and what went wrong in words.
//!
//! - [`Trust`] is what `--cacert` and `--insecure` say; [`client_config`] makes a
//!   configuration of rustls from it
//! - [`words`] turns errors of rustls into sentences, alerts by the names of RFC 8446
//!
//! Cryptography is ring's, which a C compiler alone builds.

mod trust;
mod verifiers;
pub mod words;

pub use trust::{Trust, TrustError};

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;

/// Versions, the newest first: TLS 1.3 and 1.2.
pub const VERSIONS: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A configuration that trusts as `trust` says and offers the protocols `alpn`, the
/// preferred one first (RFC 7301). It keeps sessions, so that later connections resume.
///
/// # Errors
/// When the authorities cannot be read.
pub fn client_config(trust: &Trust, alpn: &[&[u8]]) -> Result<ClientConfig, TrustError> {
    client_config_of_versions(trust, alpn, VERSIONS)
}

/// As [`client_config`], with these versions of TLS alone.
///
/// # Errors
/// When the authorities cannot be read.
pub fn client_config_of_versions(
    trust: &Trust,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = trust.verifier(&provider)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}
