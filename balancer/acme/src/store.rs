//! Files of the account and of the certificates: private, and written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use balancer_tls::{Certificate, PairFiles};
use rustix::fs::FlockOperation;

use crate::attempts::Attempts;

/// What is written before an order, to learn whether its result could be kept: more than a
/// certificate with its chain and key has.
const PROBE: usize = 32 << 10;

/// Why something could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} {}: {reason}", path.display())]
pub struct StoreError {
    what: &'static str,
    path: PathBuf,
    reason: io::Error,
}

/// The files that belong to one ACME server.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// As long as it is held, no other process orders with the same files.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Store {
    /// Makes the directory of the server with this URL inside `root`, for its owner only.
    /// Another server has another one, as its accounts and certificates are others.
    ///
    /// # Errors
    /// When the directory cannot be made, or files cannot be made in it.
    pub fn open(root: &Path, directory_url: &str) -> Result<Self, StoreError> {
        let store = Self::at(root, directory_url);
        let path = &store.path;
        let failed = |reason| StoreError { what: "make the directory", path: path.clone(), reason };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        store.lock()?;
        Ok(store)
    }

    /// The directory that [`Self::open`] makes, whether it is there or not.
    pub fn at(root: &Path, directory_url: &str) -> Self {
        let url = directory_url.strip_prefix("https://").unwrap_or(directory_url);
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
        Self { path: root.join(url.chars().map(plain).collect::<String>()) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the last attempt for `domain` has failed, and how long the next one has to wait.
    pub fn postponed(&self, domain: &str) -> Option<(String, Duration)> {
        let Attempts { failures, reason } = self.attempts(domain)?;
        Some((reason, failures.not_before.duration_since(SystemTime::now()).ok()?))
    }

    /// Files with secrets that are there.
    pub fn secrets(&self, domains: &[String]) -> Vec<PathBuf> {
        let certificates = domains.iter().map(|domain| self.certificate_path(domain));
        certificates.chain([self.account_path()]).filter(|path| path.exists()).collect()
    }

    /// `None` if another process holds it.
    pub(crate) fn lock(&self) -> Result<Option<Lock>, StoreError> {
        let path = self.path.join("lock");
        let failed = |reason| StoreError { what: "lock", path: path.clone(), reason };
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// The certificate of `domain`; `None` if there is none.
    ///
    /// # Errors
    /// When there is something that cannot be used.
    pub fn certificate(&self, domain: &str) -> Result<Option<Certificate>, String> {
        let path = self.certificate_path(domain);
        if let Err(err) = fs::symlink_metadata(&path)
            && err.kind() == io::ErrorKind::NotFound
        {
            return Ok(None);
        }
        let pair = PairFiles { certificate: path.clone(), key: path.clone() };
        let certificate = pair.read().map_err(|err| err.to_string())?;
        if !certificate.status().names.iter().any(|name| name == domain) {
            return Err(format!("{} is not for {domain}", path.display()));
        }
        Ok(Some(certificate))
    }

    pub(crate) fn certificate_path(&self, domain: &str) -> PathBuf {
        self.path.join(format!("{domain}.pem"))
    }

    pub(crate) fn save_certificate(&self, domain: &str, pem: &str) -> Result<(), StoreError> {
        self.write(&format!("{domain}.pem"), pem.as_bytes())
    }

    /// What has failed for `domain` since it last got a certificate; `None` if nothing has, or
    /// what is there cannot be used: it is only to save the server some work.
    pub(crate) fn attempts(&self, domain: &str) -> Option<Attempts> {
        let text = fs::read(self.attempts_path(domain)).ok()?;
        Attempts::parse(&text, SystemTime::now())
    }

    pub(crate) fn save_attempts(&self, domain: &str, attempts: &Attempts) -> Result<(), StoreError> {
        self.write(&format!("{domain}.failed.json"), attempts.to_json().as_bytes())
    }

    /// The domain has a certificate.
    pub(crate) fn forget_attempts(&self, domain: &str) {
        // If it stays, the next certificate may come a little late.
        let _ = fs::remove_file(self.attempts_path(domain));
    }

    pub(crate) fn attempts_path(&self, domain: &str) -> PathBuf {
        self.path.join(format!("{domain}.failed.json"))
    }

    /// Could a certificate be kept, if one were ordered?
    pub(crate) fn probe(&self) -> Result<(), StoreError> {
        self.write("probe", &[b' '; PROBE])?;
        let path = self.path.join("probe");
        fs::remove_file(&path).map_err(|reason| StoreError { what: "remove", path, reason })
    }

    /// The account's credentials, as the library writes them.
    pub(crate) fn account(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.account_path();
        match fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(StoreError { what: "read", path, reason }),
        }
    }

    pub(crate) fn save_account(&self, credentials: &[u8]) -> Result<(), StoreError> {
        self.write("account.json", credentials)
    }

    /// Puts an account aside that the server does not know, so that the next one is new.
    pub(crate) fn forget_account(&self) -> Result<(), StoreError> {
        let path = self.account_path();
        let aside = self.path.join("account.json.unknown");
        fs::rename(&path, aside).map_err(|reason| StoreError { what: "rename", path, reason })
    }

    pub(crate) fn account_path(&self) -> PathBuf {
        self.path.join("account.json")
    }

    /// The file is there as a whole, also after a power failure, or as it was before.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let (path, fresh) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        // What a process has left that was killed may have other permissions.
        let _ = fs::remove_file(&fresh);
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
        let written = written.and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.path)?.sync_all()
        });
        written.map_err(|reason| {
            let _ = fs::remove_file(&fresh);
            StoreError { what: "write", path, reason }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://acme.example:14000/dir";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn pem(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        format!("{}{}", made.pem(), key.serialize_pem())
    }

    #[test]
    fn files_are_private_and_one_servers_are_not_anothers() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("a/b"), URL).unwrap();
        store.save_certificate("a.test", &pem("a.test")).unwrap();
        store.save_account(b"{}").unwrap();
        store.probe().unwrap();
        assert_eq!((mode(&root.path().join("a")), mode(&store.path)), (0o700, 0o700));
        let mut names: Vec<_> =
            fs::read_dir(&store.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.test.pem", "account.json", "lock"]);
        assert!(names.iter().all(|name| mode(&store.path.join(name)) == 0o600));
        assert!(store.certificate("a.test").unwrap().is_some());
        let other = Store::open(&root.path().join("a/b"), "https://other.example/dir").unwrap();
        assert!(other.certificate("a.test").unwrap().is_none() && other.account().unwrap().is_none());
    }

    #[test]
    fn what_is_broken_is_told_from_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), URL).unwrap();
        for broken in [String::new(), "text".to_owned(), pem("b.test"), pem("a.test")[..200].to_owned()] {
            store.save_certificate("a.test", &broken).unwrap();
            let err = store.certificate("a.test").unwrap_err();
            assert!(err.contains("a.test.pem") && !err.contains('\n'), "{err}");
        }
        let path = store.certificate_path("a.test");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(store.certificate("a.test").is_err());
    }

    #[test]
    fn a_lock_is_one_processs_and_a_directory_that_cannot_be_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (Store::open(root.path(), URL).unwrap(), Store::open(root.path(), URL).unwrap());
        let held = one.lock().unwrap();
        assert!(held.is_some() && other.lock().unwrap().is_none());
        drop(held);
        assert!(other.lock().unwrap().is_some());
        fs::write(root.path().join("file"), "").unwrap();
        let err = Store::open(&root.path().join("file"), URL).unwrap_err().to_string();
        assert!(err.contains("file/acme.example_14000_dir"), "{err}");
    }
}
