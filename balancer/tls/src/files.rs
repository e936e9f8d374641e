//! Pairs of a certificate and a key in files in PEM form.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::{Certificate, CertificateError};

/// A file is read up to this length in bytes: a chain has some KiB.
pub(crate) const LONGEST: u64 = 1 << 20;

/// The files of a pair, which may be one and the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PairFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("could not read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} has no {what} in it (expected a section -----BEGIN {section}-----)", path.display())]
    Missing { path: PathBuf, what: &'static str, section: &'static str },
    #[error("the key in {} is encrypted (openssl pkey -in FILE -out PLAIN decrypts it)", path.display())]
    Encrypted { path: PathBuf },
    #[error("{} is no valid PEM: {reason}", path.display())]
    Pem { path: PathBuf, reason: String },
    #[error("{} and {} are no pair: {error}", files.certificate.display(), files.key.display())]
    NoPair { files: PairFiles, error: CertificateError },
}

impl PairFiles {
    /// A file with both.
    pub(crate) fn both_in(path: PathBuf) -> Self {
        Self { certificate: path.clone(), key: path }
    }

    /// Reads and checks the pair.
    ///
    /// # Errors
    /// When a file cannot be read, has not what it should have, or they are no pair.
    pub fn read(&self) -> Result<Certificate, PairError> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        Certificate::new(chain, key, self.certificate.display().to_string())
            .map_err(|error| PairError::NoPair { files: self.clone(), error })
    }
}

/// All certificates of a file, of which there is at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let text = read(path)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match found.map_err(|err| pem_error(path, &err))? {
        found if found.is_empty() => {
            Err(PairError::Missing { path: path.to_owned(), what: "certificate", section: "CERTIFICATE" })
        }
        found => Ok(found),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PairError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|err| match err {
        pem::Error::NoItemsFound if is_encrypted(&text) => PairError::Encrypted { path: path.to_owned() },
        pem::Error::NoItemsFound => {
            PairError::Missing { path: path.to_owned(), what: "private key", section: "PRIVATE KEY" }
        }
        // The old form has a field for the cipher before the key.
        _ if is_encrypted(&text) => PairError::Encrypted { path: path.to_owned() },
        err => pem_error(path, &err),
    })
}

/// Has the file a private key, encrypted or not?
pub(crate) fn has_private_key(path: &Path) -> Result<bool, PairError> {
    let text = read(path)?;
    Ok(contains(&text, b"PRIVATE KEY-----"))
}

fn is_encrypted(text: &[u8]) -> bool {
    contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(text, b"Proc-Type: 4,ENCRYPTED")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    let unreadable = |error| PairError::Unreadable { path: path.to_owned(), error };
    let found = std::fs::metadata(path).map_err(unreadable)?;
    // Opening a named pipe would wait for its writer.
    if !found.is_file() {
        return Err(unreadable(io::Error::other("it is no file")));
    }
    if found.len() > LONGEST {
        return Err(unreadable(io::Error::other("it is longer than 1 MiB")));
    }
    std::fs::read(path).map_err(unreadable)
}

fn pem_error(path: &Path, err: &pem::Error) -> PairError {
    PairError::Pem { path: path.to_owned(), reason: err.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_certificates::pem;

    #[test]
    fn a_pair_is_read_from_two_files_or_from_one() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (certificate, key) = pem(&["a.test", "127.0.0.1"]);
        fs::write(at("a.crt"), &certificate).unwrap();
        fs::write(at("a.key"), &key).unwrap();
        fs::write(at("both.pem"), format!("{key}{certificate}")).unwrap();
        let files = PairFiles { certificate: at("a.crt"), key: at("a.key") };
        assert_eq!(files.read().unwrap().status.names, ["a.test", "127.0.0.1"]);
        assert_eq!(PairFiles::both_in(at("both.pem")).read().unwrap().status.name, "a.test");
    }

    /// Every kind of broken pair, and words of its error.
    #[test]
    fn what_is_no_pair_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (certificate, key) = pem(&["a.test"]);
        let (_, other_key) = pem(&["a.test"]);
        let damaged = certificate.replacen("MII", "AAA", 1);
        let half = |text: &str| text[..text.len() / 2].to_owned();
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (certificate, key, words) in [
            (certificate.clone(), other_key, "does not belong to the certificate"),
            (half(&certificate), key.clone(), "a.crt is no valid PEM"),
            (certificate.clone(), half(&key), "a.key is no valid PEM"),
            (String::new(), key.clone(), "a.crt has no certificate in it"),
            (certificate.clone(), String::new(), "a.key has no private key in it"),
            (key.clone(), key.clone(), "a.crt has no certificate in it"),
            (certificate.clone(), certificate.clone(), "a.key has no private key in it"),
            (certificate.clone(), encrypted.to_owned(), "a.key is encrypted"),
            (damaged, key.clone(), "the certificate cannot be read"),
            (certificate.clone(), key.replacen("MIG", "MIA", 1), "the key cannot be used"),
        ] {
            fs::write(at("a.crt"), certificate).unwrap();
            fs::write(at("a.key"), key).unwrap();
            let error =
                PairFiles { certificate: at("a.crt"), key: at("a.key") }.read().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{words}: {error}");
        }
        for (path, words) in
            [(at("none.pem"), "No such file"), (directory.path().to_owned(), "it is no file")]
        {
            let error = PairFiles::both_in(path).read().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
