//! Whose signature makes a certificate a valid one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::verifiers::{Anybody, Authorities};

/// Which certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Those of authorities that the system trusts, where also an operator's own ones
    /// are installed (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
    #[default]
    System,
    /// Those of the authorities in this file of PEM, and these certificates themselves.
    File(PathBuf),
    /// Any: the connection is encrypted, with whomever.
    Anybody,
}

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(
        "this system trusts no certificate authority: {0} (install the package ca-certificates, or name one with --cacert FILE)"
    )]
    NoAuthority(String),
    #[error("could not read the certificates in {path}: {reason} (a right one is --cacert ca.pem)", path = .path.display())]
    Unreadable { path: PathBuf, reason: String },
}

impl Trust {
    /// From the two flags that curl has for it; `insecure` wins, as it does there.
    pub fn of_flags(cacert: Option<&Path>, insecure: bool) -> Self {
        match cacert {
            _ if insecure => Self::Anybody,
            Some(path) => Self::File(path.to_owned()),
            None => Self::System,
        }
    }

    /// The authorities; empty where none is needed.
    ///
    /// # Errors
    /// When there is none, or the file cannot be read.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        match self {
            Self::Anybody => Ok(Vec::new()),
            Self::File(path) => read(path),
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                if found.certs.is_empty() {
                    let why = found.errors.first();
                    let why = why.map_or_else(|| "none is installed".to_owned(), ToString::to_string);
                    return Err(TrustError::NoAuthority(why));
                }
                Ok(found.certs)
            }
        }
    }

    pub(crate) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
        if *self == Self::Anybody {
            return Ok(Arc::new(Anybody(Arc::clone(provider))));
        }
        let authorities = self.authorities()?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|err| match self {
                Self::File(path) => unreadable(path, err.to_string()),
                _ => TrustError::NoAuthority(err.to_string()),
            })?;
        // Of the system's own, none is a server's.
        let themselves = if matches!(self, Self::File(_)) { authorities } else { Vec::new() };
        Ok(Arc::new(Authorities { webpki, themselves }))
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let refuse = |reason: String| unreadable(path, reason);
    // Opening a named pipe would wait for its writer.
    let about = fs::metadata(path).map_err(|err| refuse(words_of(&err)))?;
    if !about.is_file() {
        return Err(refuse("it is no file".to_owned()));
    }
    let text = fs::read(path).map_err(|err| refuse(words_of(&err)))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|err| refuse(err.to_string()))?;
    if found.is_empty() {
        return Err(refuse("it has no section -----BEGIN CERTIFICATE-----".to_owned()));
    }
    if let Some(broken) = found.iter().position(|one| x509_parser::parse_x509_certificate(one).is_err()) {
        return Err(refuse(format!("certificate number {} in it does not parse", broken + 1)));
    }
    Ok(found)
}

fn unreadable(path: &Path, reason: String) -> TrustError {
    TrustError::Unreadable { path: path.to_owned(), reason }
}

fn words_of(err: &io::Error) -> String {
    crate::words::without_number(&err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insecure_wins_over_authorities_as_with_curl() {
        let path = Path::new("ca.pem");
        assert_eq!(Trust::of_flags(Some(path), true), Trust::Anybody);
        assert_eq!(Trust::of_flags(Some(path), false), Trust::File(path.to_owned()));
        assert_eq!(Trust::of_flags(None, false), Trust::System);
    }

    #[test]
    fn files_without_certificates_are_named_with_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = directory.path().join("ca.pem");
            fs::write(&path, text).unwrap();
            Trust::File(path).authorities().unwrap_err().to_string()
        };
        assert!(file("").contains("no section -----BEGIN CERTIFICATE-----"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(file(broken).contains("certificate number 1 in it does not parse"));
        assert!(file("-----BEGIN CERTIFICATE-----\nAAAA\n").contains("ca.pem"));
        let of = |path: &Path| Trust::File(path.to_owned()).authorities().unwrap_err().to_string();
        assert!(of(directory.path()).contains("it is no file"));
        let missing = of(&directory.path().join("none.pem"));
        assert!(missing.contains("none.pem: no such file or directory (a right one"), "{missing}");
    }
}
