//! The certificates that clients are shown, for operators to read.

use std::sync::{Arc, Mutex, PoisonError};

use shared_protocol::CertificateStatus;

/// All certificates, the default one first. There are none where clients speak no TLS.
#[derive(Debug, Default)]
pub struct Certificates(Mutex<Arc<[CertificateStatus]>>);

impl Certificates {
    pub fn set(&self, all: Vec<CertificateStatus>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all.into();
    }

    pub fn all(&self) -> Arc<[CertificateStatus]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
