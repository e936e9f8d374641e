//! The state that all workers share: one interface, two places to keep it.
//!
//! [`redis`] keeps it on a Redis server, [`embedded`] in a SQLite database that
//! the workers of one machine open together. Both keep a value as JSON text
//! under `cluster:<key>`, count atomically, honour expiry, and answer any call
//! within [`CALL_LIMIT`], with an error if need be.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;

use shared_protocol::StoreKind;

pub mod embedded;
pub mod redis;
mod temporary;

pub use embedded::files::{StoreFiles, StoreIdentity};
pub use redis::RedisUrl;
pub use temporary::TemporaryDirectory;

/// No call to a store takes longer than this; a client is promised 2 s, and the
/// rest is for the way to it.
pub const CALL_LIMIT: Duration = Duration::from_millis(1500);

/// State that several processes share.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Stores `value`, and forgets an earlier expiry. With `ttl` it is gone
    /// after that time (resolution: 1 ms).
    async fn set(&self, key: &Key, value: &RawValue, ttl: Option<Duration>) -> Result<(), StoreError>;

    async fn get(&self, key: &Key) -> Result<Option<Box<RawValue>>, StoreError>;

    /// Was there a value?
    async fn delete(&self, key: &Key) -> Result<bool, StoreError>;

    /// Adds `by` to the stored integer and returns the sum, as one step for all
    /// processes. A missing key counts from 0; an expiry stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotAnInteger`] and [`StoreError::Overflow`] leave the value
    /// as it was. After [`StoreError::Unavailable`] it may have been counted.
    async fn increment(&self, key: &Key, by: i64) -> Result<i64, StoreError>;

    /// Does the store answer?
    async fn ping(&self) -> Result<(), StoreError>;

    fn kind(&self) -> StoreKind;
}

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    Redis(RedisUrl),
    /// The directory of the embedded store; created when missing.
    Embedded(PathBuf),
    /// The same, where it must be these files: another process has made them.
    Existing {
        directory: PathBuf,
        identity: StoreIdentity,
    },
}

/// Opens the store. Redis need not be reachable yet; the embedded store has to
/// be usable, save that one whose files are gone is opened and refuses each call. Calls need a tokio runtime with timers and I/O.
///
/// # Errors
/// [`StoreError::Open`], which says what to do.
pub fn open(config: &StoreConfig) -> Result<Arc<dyn StateStore>, StoreError> {
    Ok(match config {
        StoreConfig::Redis(url) => Arc::new(redis::RedisStore::open(url)?),
        StoreConfig::Embedded(directory) => Arc::new(embedded::EmbeddedStore::open(directory)?),
        StoreConfig::Existing { directory, identity } => embedded::open_existing(directory, *identity)?,
    })
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It may work later.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    #[error("the stored value is not an integer of 64 bits")]
    NotAnInteger,
    #[error("the sum does not fit into 64 bits")]
    Overflow,
    #[error("the store is full: {0}")]
    Full(String),
    /// What is stored cannot be read; it will not get better by itself.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
    /// Its files are not where they were. It is refused, as others may have other ones.
    #[error(
        "{0} while the cluster ran: nothing is stored until the whole cluster is restarted, which \
         begins with what the directory has then"
    )]
    Lost(String),
    #[error("could not open the store {place}: {reason}")]
    Open { place: String, reason: String },
}

/// A name in the store: 1…256 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    stored: String,
}

impl Key {
    pub const MAX_BYTES: usize = 256;
    const PREFIX: &'static str = "cluster:";

    /// `name` is what the user calls it, already decoded.
    ///
    /// # Errors
    /// When it is empty, too long, or has control characters.
    pub fn new(name: &str) -> Result<Self, KeyError> {
        if name.is_empty() {
            return Err(KeyError::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(KeyError::TooLong { bytes: name.len() });
        }
        if let Some(index) = name.find(char::is_control) {
            return Err(KeyError::Control { index });
        }
        Ok(Self { stored: format!("{}{name}", Self::PREFIX) })
    }

    /// The name with its prefix, as it is stored: `cluster:<key>`.
    pub fn stored(&self) -> &str {
        &self.stored
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stored)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is empty; it must have 1 to 256 bytes")]
    Empty,
    #[error("the key has {bytes} bytes; it may have at most 256")]
    TooLong { bytes: usize },
    #[error("the key has a control character at byte {index}; it may have none")]
    Control { index: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_1_to_256_bytes_and_no_control_characters() {
        assert_eq!(Key::new("myKey").unwrap().stored(), "cluster:myKey");
        assert_eq!(Key::new("a/b ü").unwrap().to_string(), "cluster:a/b ü");
        assert!(Key::new(&"x".repeat(256)).is_ok());
        assert_eq!(Key::new(&"x".repeat(257)), Err(KeyError::TooLong { bytes: 257 }));
        assert_eq!(Key::new(&"ü".repeat(129)), Err(KeyError::TooLong { bytes: 258 }), "bytes count");
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        for bad in ["a\nb", "a\0", "a\u{7f}", "a\u{85}"] {
            assert_eq!(Key::new(bad), Err(KeyError::Control { index: 1 }), "{bad:?}");
        }
    }
}
