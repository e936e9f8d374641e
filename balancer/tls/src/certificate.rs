//! One certificate with its chain and its private key.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use shared_protocol::CertificateStatus;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Why a certificate and a key are no pair.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate cannot be read: {0}")]
    Invalid(String),
    #[error("the key cannot be used: {0}")]
    Key(rustls::Error),
    #[error(
        "the key does not belong to the certificate (the server's own certificate must be the first in its file)"
    )]
    Mismatch,
}

/// A certificate that can be shown to clients.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) status: CertificateStatus,
}

impl Certificate {
    /// Makes a pair of a chain, whose first certificate is the server's own, and its key.
    /// `source` says where they come from. Dates are not looked at: an expired certificate
    /// tells a client more than none.
    ///
    /// # Errors
    /// When one of them does not parse, or they do not belong together.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        source: String,
    ) -> Result<Self, CertificateError> {
        let first = chain.first().ok_or_else(|| CertificateError::Invalid("there is none".to_owned()))?;
        let status = describe(first, source)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|err| match err {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch,
            rustls::Error::InvalidCertificate(_) => CertificateError::Invalid(err.to_string()),
            err => CertificateError::Key(err),
        })?;
        Ok(Self { key: Arc::new(key), status })
    }

    /// Makes the pair of a challenge, which was made here and is shown to ACME servers only. Its
    /// critical extension (RFC 8737, section 3) is none that [`Self::new`] could check.
    ///
    /// # Errors
    /// When one of them does not parse.
    pub fn of_challenge(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let status = describe(&certificate, "a challenge".to_owned())?;
        let key = provider().key_provider.load_private_key(key).map_err(CertificateError::Key)?;
        Ok(Self { key: Arc::new(CertifiedKey::new(vec![certificate], key)), status })
    }

    /// What operators see of it.
    pub fn status(&self) -> &CertificateStatus {
        &self.status
    }

    /// The certificate itself, without its chain.
    pub(crate) fn leaf(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], |leaf| leaf)
    }
}

/// The cryptography of all sessions.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn describe(der: &CertificateDer<'_>, source: String) -> Result<CertificateStatus, CertificateError> {
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|err| CertificateError::Invalid(err.to_string()))?;
    let alternative = parsed
        .subject_alternative_name()
        .map_err(|err| CertificateError::Invalid(format!("its names do not parse: {err}")))?;
    let names: Vec<_> =
        alternative.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Ok(CertificateStatus {
        name: names.first().cloned().unwrap_or_else(|| source.clone()),
        names,
        source,
        not_before: seconds(parsed.validity().not_before),
        not_after: seconds(parsed.validity().not_after),
    })
}

/// A host name in lower case, or an address. Others are not what a server is asked for.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            let sixteen = || <[u8; 16]>::try_from(*bytes).map(|bytes| Ipv6Addr::from(bytes).to_string());
            four.or_else(|_| sixteen()).ok()
        }
        _ => None,
    }
}
