//! Certificates for tests.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::certificate::Certificate;

/// A certificate for `names` that has signed itself, and its key.
pub(crate) fn pem(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

pub(crate) fn certificate(names: &[&str]) -> Certificate {
    from_pem(&pem(names))
}

/// One for a.test whose key is of RSA, which ring can use but not make.
pub(crate) fn rsa_certificate() -> Certificate {
    let text = include_str!("test_certificates/rsa.pem");
    from_pem(&(text.to_owned(), text.to_owned()))
}

pub(crate) fn from_pem((certificate, key): &(String, String)) -> Certificate {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Certificate::new(chain, key, "a test".to_owned()).unwrap()
}
