//! A directory with pairs, in the layouts that people have:
//!
//! - `live/NAME/fullchain.pem` and `privkey.pem`, as certbot keeps them, also without `live`
//! - `NAME.crt` and `NAME.key`
//! - `NAME.pem` with both, or with its key in `NAME-key.pem` (mkcert) or `NAME.key`

use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, PairError, PairFiles};

/// Pairs that a directory may have: more would take long to read at each reload.
const MOST: usize = 10_000;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("could not read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} has more than {MOST} certificates", path.display())]
    TooMany { path: PathBuf },
    #[error(
        "{} has no certificate in it (expected NAME.pem, NAME.crt and NAME.key, or \
         live/NAME/fullchain.pem and privkey.pem)",
        path.display()
    )]
    Empty { path: PathBuf },
    #[error(transparent)]
    File(#[from] PairError),
}

/// The pairs of a directory, by name.
///
/// # Errors
/// When it cannot be read, or has none.
pub(crate) fn pairs(directory: &Path) -> Result<Vec<PairFiles>, DirectoryError> {
    let mut found = Vec::new();
    for entry in entries(directory)? {
        match entry.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.push(PairFiles { key: entry.with_extension("key"), certificate: entry }),
            Some("pem") if !is_key_of_another(&entry) => found.push(pem_pair(entry)?),
            _ => found.extend(certbot_pair(&entry)),
        }
        if found.len() > MOST {
            return Err(DirectoryError::TooMany { path: directory.to_owned() });
        }
    }
    let live = directory.join("live");
    if live.is_dir() {
        found.extend(entries(&live)?.iter().filter_map(|entry| certbot_pair(entry)));
    }
    if found.is_empty() {
        return Err(DirectoryError::Empty { path: directory.to_owned() });
    }
    Ok(found)
}

/// What is in a directory, by name; hidden files are somebody's scratch paper.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let unreadable = |error| DirectoryError::Unreadable { path: directory.to_owned(), error };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

/// Only of a directory that is one of a certificate: others may lie beside it.
fn certbot_pair(directory: &Path) -> Option<PairFiles> {
    let files =
        PairFiles { certificate: directory.join("fullchain.pem"), key: directory.join("privkey.pem") };
    (files.certificate.symlink_metadata().is_ok() || files.key.symlink_metadata().is_ok()).then_some(files)
}

fn pem_pair(path: PathBuf) -> Result<PairFiles, PairError> {
    if files::has_private_key(&path)? {
        return Ok(PairFiles::both_in(path));
    }
    let beside = [key_beside(&path), path.with_extension("key")];
    let key = beside.into_iter().find(|key| key.exists()).unwrap_or_else(|| path.clone());
    Ok(PairFiles { certificate: path, key })
}

fn key_beside(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-key.pem"))
}

/// Is it the `NAME-key.pem` of a `NAME.pem`?
fn is_key_of_another(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.strip_suffix("-key").is_some_and(|name| path.with_file_name(format!("{name}.pem")).exists())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_certificates::pem;

    #[test]
    fn the_usual_layouts_are_found_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (certificate, key) = pem(&["a.test"]);
        for (path, text) in [
            ("b.crt", certificate.clone()),
            ("b.key", key.clone()),
            ("a.pem", format!("{certificate}{key}")),
            ("c.pem", certificate.clone()),
            ("c-key.pem", key.clone()),
            ("README", String::new()),
            (".b.crt.swp", String::new()),
        ] {
            fs::write(at(path), text).unwrap();
        }
        fs::create_dir_all(at("archive")).unwrap();
        fs::create_dir_all(at("live/d.test")).unwrap();
        fs::write(at("live/README"), "").unwrap();
        fs::write(at("live/d.test/fullchain.pem"), &certificate).unwrap();
        fs::write(at("live/d.test/privkey.pem"), &key).unwrap();
        let found = pairs(directory.path()).unwrap();
        let name = |path: &Path| path.strip_prefix(directory.path()).unwrap().to_string_lossy().into_owned();
        let found: Vec<_> = found.iter().map(|pair| (name(&pair.certificate), name(&pair.key))).collect();
        let expected = [
            ("a.pem", "a.pem"),
            ("b.crt", "b.key"),
            ("c.pem", "c-key.pem"),
            ("live/d.test/fullchain.pem", "live/d.test/privkey.pem"),
        ];
        assert_eq!(found, expected.map(|(certificate, key)| (certificate.to_owned(), key.to_owned())));
        // The directory that certbot keeps them in will do as well.
        assert_eq!(pairs(&at("live")).unwrap().len(), 1);
    }

    #[test]
    fn a_directory_without_pairs_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = pairs(directory.path()).unwrap_err().to_string();
        assert!(error.contains("no certificate in it") && error.contains("NAME.crt"), "{error}");
        assert!(pairs(&directory.path().join("none")).is_err());
    }
}
