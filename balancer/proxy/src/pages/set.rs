//! One's own pages, by status: read as a whole and exchanged as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

pub(super) const HTML: &str = "text/html; charset=utf-8";
/// Bytes of one page. It is copied for each response.
const MAX_PAGE: u64 = 256 * 1024;
/// Pages of a set: more than there are names that make sense.
const MAX_PAGES: usize = 128;

/// Why a directory's pages cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PageSetError {
    #[error("could not read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is the name of no page: expected one such as 502.html, 5xx.html, maintenance.html or 503.json", .0.display())]
    Name(PathBuf),
    #[error("{} is larger than {MAX_PAGE} bytes, which a page may have at most", .0.display())]
    TooLarge(PathBuf),
    #[error("{} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    #[error("there are more than {MAX_PAGES} pages in {}", .0.display())]
    TooMany(PathBuf),
}

/// A page with its placeholders.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) text: String,
    pub(super) is_html: bool,
}

impl Page {
    pub(super) fn content_type(&self) -> &'static str {
        if self.is_html { HTML } else { "application/json" }
    }
}

/// For which responses a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Status(u16),
    /// All of a class: 4 for 4xx.
    Class(u16),
    Maintenance,
}

/// The pages of a directory.
#[derive(Debug, Default)]
pub struct PageSet(HashMap<(Key, bool), Page>);

impl PageSet {
    /// Reads all pages of `directory`. Files whose names begin with a dot are none.
    ///
    /// # Errors
    /// When one of them cannot be used: half of a set would be a surprise.
    pub fn read(directory: &Path) -> Result<Self, PageSetError> {
        let failed = |source| PageSetError::Io { path: directory.to_owned(), source };
        let mut pages = HashMap::new();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (name, path) = (entry.file_name(), entry.path());
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let Some(key) = name.to_str().and_then(key) else { return Err(PageSetError::Name(path)) };
            if pages.len() == MAX_PAGES {
                return Err(PageSetError::TooMany(directory.to_owned()));
            }
            pages.insert(key, Page { text: read_page(path)?, is_html: key.1 });
        }
        Ok(Self(pages))
    }

    /// The most particular page for a response, if there is one.
    pub(super) fn page(&self, status: u16, is_html: bool, is_maintenance: bool) -> Option<&Page> {
        let maintenance = is_maintenance.then_some(Key::Maintenance);
        // Our own page says more of maintenance than one for any 503 does, but is not as
        // much like the rest of the site.
        let keys = maintenance.into_iter().chain([Key::Status(status), Key::Class(status / 100)]);
        keys.filter_map(|key| self.0.get(&(key, is_html))).next()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// What a file's name says, and whether it is HTML.
fn key(name: &str) -> Option<(Key, bool)> {
    let (stem, extension) = name.split_once('.')?;
    let is_html = match extension {
        "html" => true,
        "json" => false,
        _ => return None,
    };
    let key = match stem {
        "maintenance" => Key::Maintenance,
        "4xx" => Key::Class(4),
        "5xx" => Key::Class(5),
        _ if stem.len() == 3 => Key::Status(stem.parse().ok().filter(|status| (400..600).contains(status))?),
        _ => return None,
    };
    Some((key, is_html))
}

fn read_page(path: PathBuf) -> Result<String, PageSetError> {
    let failed = |source| PageSetError::Io { path: path.clone(), source };
    // A pipe or a device might never end, or never open.
    if !std::fs::metadata(&path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(failed)?;
    file.take(MAX_PAGE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PAGE {
        return Err(PageSetError::TooLarge(path));
    }
    String::from_utf8(bytes).map_err(|_| PageSetError::NotUtf8(path))
}

/// The pages that are in use. Readers never wait.
#[derive(Debug, Default)]
pub struct ErrorPages(ArcSwap<PageSet>);

impl ErrorPages {
    pub fn replace(&self, pages: PageSet) {
        self.0.store(Arc::new(pages));
    }

    pub(super) fn load(&self) -> Guard<Arc<PageSet>> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(files: &[(&str, &[u8])]) -> Result<PageSet, PageSetError> {
        let directory = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(directory.path().join(name), text).unwrap());
        PageSet::read(directory.path())
    }

    #[test]
    fn the_most_particular_page_is_taken() {
        let files: [(&str, &[u8]); 5] = [
            ("502.html", b"a"),
            ("5xx.html", b"b"),
            ("503.json", b"c"),
            ("maintenance.html", b"d"),
            (".502.html.swp", b"\xff"),
        ];
        let set = set(&files).unwrap();
        assert_eq!(set.count(), 4);
        let text = |status, html, maintenance| set.page(status, html, maintenance).map(|page| &page.text[..]);
        assert_eq!(text(502, true, false), Some("a"));
        assert_eq!(text(504, true, false), Some("b"));
        assert_eq!(text(503, true, true), Some("d"));
        assert_eq!(text(503, false, true), Some("c"));
        assert_eq!(text(502, false, false), None);
        assert_eq!(text(413, true, false), None);
    }

    #[test]
    fn a_set_with_a_bad_page_is_refused_by_the_name_of_that_page() {
        for name in
            ["50x.html", "502.htm", "200.html", "600.html", "+50.html", "index.html", "502", "502.html.bak"]
        {
            let error = set(&[(name, b"x")]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("502.html"), "{error}");
        }
        let large = vec![b'x'; MAX_PAGE as usize + 1];
        assert!(matches!(set(&[("502.html", &large)]), Err(PageSetError::TooLarge(_))));
        assert!(matches!(set(&[("502.html", b"\xff")]), Err(PageSetError::NotUtf8(_))));
        let missing = PageSet::read(Path::new("/nonexistent/pages")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/pages"), "{missing}");
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("502.html")).unwrap();
        assert!(matches!(PageSet::read(directory.path()), Err(PageSetError::Io { .. })));
    }
}
