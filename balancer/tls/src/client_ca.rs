//! Certificates that clients have to show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::certificate::provider;
use crate::files::{self, PairError};

/// Why the authorities of clients' certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientCaError {
    #[error(transparent)]
    File(#[from] PairError),
    #[error("{} has a certificate that is none of an authority: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
}

/// Asks clients for a certificate that one of the authorities in the file has signed.
pub(crate) fn verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, ClientCaError> {
    let invalid = |reason: String| ClientCaError::Invalid { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in files::certificates(path)? {
        roots.add(certificate).map_err(|err| invalid(err.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    builder.build().map_err(|err| invalid(err.to_string()))
}
