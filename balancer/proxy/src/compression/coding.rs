//! The content codings that responses can be compressed with.

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name in the registry of content codings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The coding that a client means by `name`.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        // RFC 9110, section 8.4.1.3: the same by an old name.
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// The codings that are used, the preferred one first; none when nothing is compressed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codings(Vec<Coding>);

impl Codings {
    /// Each coding counts once.
    pub fn new(codings: impl IntoIterator<Item = Coding>) -> Self {
        let mut found = Vec::new();
        for coding in codings {
            if !found.contains(&coding) {
                found.push(coding);
            }
        }
        Self(found)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The preferred one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Coding> {
        self.0.iter().copied()
    }
}
