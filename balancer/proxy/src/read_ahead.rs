//! What is read of a response ahead of a client that takes it slowly.
//!
//! Only a slow client has this buffer: one that has kept the response waiting for
//! [`SLOW_AFTER`] in all. Others take it straight from the worker, without a copy.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::block_buffer::BlockBuffer;
use crate::buffer_memory::{BLOCK, BufferMemory, Part};
use crate::timer;
use crate::upload::CHUNK_SLACK;

/// How long a client may keep one response waiting before it counts as slow.
const SLOW_AFTER: Duration = Duration::from_millis(100);

/// The bounds of what one response may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadAheadLimits<'a> {
    pub(crate) memory: &'a Arc<BufferMemory>,
    /// Bytes of this response.
    pub(crate) limit: usize,
}

#[derive(Debug, Default)]
pub(crate) struct ReadAhead<'a> {
    /// `None` when the worker is to wait for the client.
    limits: Option<ReadAheadLimits<'a>>,
    pub(crate) buffer: BlockBuffer,
    waited: Duration,
    waiting_since: Option<Instant>,
    is_slow: bool,
    /// No more can be kept until the client takes something.
    is_full: bool,
    /// The lack of memory was counted.
    is_counted: bool,
}

impl<'a> ReadAhead<'a> {
    pub(crate) fn new(limits: Option<ReadAheadLimits<'a>>) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The client takes nothing at the moment.
    pub(crate) fn begin_wait(&mut self) {
        if self.limits.is_some() && !self.is_slow {
            self.waiting_since.get_or_insert_with(timer::now);
        }
    }

    /// The client has taken something.
    #[inline]
    pub(crate) fn end_wait(&mut self) {
        self.is_full = false;
        if let Some(since) = self.waiting_since.take() {
            self.waited += timer::now() - since;
        }
    }

    /// When the client that is waited for counts as slow; `None` when it does already, or
    /// that would change nothing.
    pub(crate) fn slow_at(&self) -> Option<Instant> {
        let since = self.waiting_since.filter(|_| !self.is_slow)?;
        Some(since + SLOW_AFTER.saturating_sub(self.waited))
    }

    /// The client counts as slow from now on.
    pub(crate) fn begin(&mut self) {
        self.is_slow = true;
        self.waiting_since = None;
    }

    /// Is the response read on while the client takes nothing?
    pub(crate) fn is_on(&self) -> bool {
        self.is_slow && !self.is_full
    }

    /// Makes room for up to `wanted` bytes, and returns for how many: less than a block
    /// holds, also behind a head that has made the worker's read buffer grow.
    pub(crate) fn reserve(&mut self, wanted: usize) -> Option<usize> {
        let ReadAheadLimits { memory, limit } = self.limits?;
        let most = limit.saturating_sub(self.buffer.len()).min(BLOCK / 2);
        let count = wanted.min(most);
        let has_memory = count > 0 && self.buffer.reserve(memory, count + CHUNK_SLACK);
        if count > 0 && !has_memory && !self.is_counted {
            self.is_counted = true;
            memory.refused(Part::Response);
        }
        self.is_full = !has_memory;
        has_memory.then_some(count)
    }
}
