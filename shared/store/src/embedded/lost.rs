//! Stands for a store whose files are gone, in a process that was to share it with others.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::files::StoreIdentity;
use crate::{Key, StateStore, StoreError};
use shared_protocol::StoreKind;

/// Refuses each call, and says why.
pub(super) struct LostStore {
    directory: PathBuf,
    identity: StoreIdentity,
}

impl LostStore {
    pub(super) fn new(directory: PathBuf, identity: StoreIdentity) -> Self {
        Self { directory, identity }
    }

    fn reason(&self) -> StoreError {
        // The files may have been put back, which this process has no use of any more.
        let back = || StoreError::Lost(format!("{} was away at the start", self.directory.display()));
        self.identity.check(&self.directory).err().unwrap_or_else(back)
    }
}

#[async_trait]
impl StateStore for LostStore {
    async fn set(&self, _: &Key, _: &RawValue, _: Option<Duration>) -> Result<(), StoreError> {
        Err(self.reason())
    }

    async fn get(&self, _: &Key) -> Result<Option<Box<RawValue>>, StoreError> {
        Err(self.reason())
    }

    async fn delete(&self, _: &Key) -> Result<bool, StoreError> {
        Err(self.reason())
    }

    async fn increment(&self, _: &Key, _: i64) -> Result<i64, StoreError> {
        Err(self.reason())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Err(self.reason())
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }
}
