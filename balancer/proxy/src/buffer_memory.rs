//! The bounded memory of all buffers: bodies beyond what a request has anyway, and
//! responses that are read ahead of their clients.
//!
//! Memory is taken in blocks of a fixed size, so that one counter for all threads is
//! touched seldom and nothing is wasted by growing. A block is a mapping of its own and
//! not the allocator's: what is freed goes back to the system, whatever lies behind it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memmap2::MmapMut;

use balancer_state::counters::Counters;

/// Size of a block in bytes.
pub(crate) const BLOCK: usize = 64 * 1024;
/// Unused blocks that a thread keeps for a moment: the system clears each new one, page by
/// page, which costs more than all else that is done with it.
const STOCK: usize = 128;
/// Seconds between two warnings.
const WARNING_INTERVAL: u64 = 60;

thread_local! {
    static UNUSED: RefCell<Vec<MmapMut>> = const { RefCell::new(Vec::new()) };
}

/// What wanted more memory than there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Request,
    Response,
}

/// The bound for all buffers together.
#[derive(Debug)]
pub(crate) struct BufferMemory {
    limit: u64,
    /// Counts what is held, and what was refused.
    counters: Arc<Counters>,
    started: Instant,
    /// When the next warning may be given, in seconds since `started`.
    next_warning: AtomicU64,
}

/// Gives half of this thread's unused blocks back to the system, and the last one as well.
pub(crate) fn trim() {
    UNUSED.with_borrow_mut(|unused| unused.truncate(unused.len() / 2));
}

impl BufferMemory {
    /// At most `limit` bytes.
    pub(crate) fn new(limit: u64, counters: Arc<Counters>) -> Self {
        Self { limit, counters, started: Instant::now(), next_warning: AtomicU64::new(0) }
    }

    /// A block, if the bound and the system allow another one.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Block> {
        let more = |held| (held + BLOCK as u64 <= self.limit).then_some(held + BLOCK as u64);
        self.counters.buffers.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let unused = UNUSED.with_borrow_mut(Vec::pop);
        let Some(bytes) = unused.or_else(|| MmapMut::map_anon(BLOCK).ok()) else {
            self.give_back();
            return None;
        };
        Some(Block { bytes: Some(bytes), len: 0, memory: Arc::clone(self) })
    }

    /// Counts `bytes` that a codec holds of its own, if half of the bound allows it: responses
    /// can do without compression, and slow clients not without buffers.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reserved> {
        let more = |held| (held + bytes <= self.limit / 2).then_some(held + bytes);
        let reserved = self.counters.buffers.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if reserved.is_err() {
            self.counters.compression.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Reserved { bytes, memory: Arc::clone(self) })
    }

    fn give_back(&self) {
        self.counters.buffers.held.fetch_sub(BLOCK as u64, Ordering::Relaxed);
    }

    /// Counts a request or a response that got no more memory, and says so now and then.
    pub(crate) fn refused(&self, part: Part) {
        let buffers = &self.counters.buffers;
        let count = match part {
            Part::Request => &buffers.requests_refused,
            Part::Response => &buffers.responses_refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let now = self.started.elapsed().as_secs();
        let due = |next| (now >= next).then_some(now + WARNING_INTERVAL);
        if self.next_warning.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            tracing::warn!(
                limit = self.limit,
                requests = buffers.requests_refused.load(Ordering::Relaxed),
                responses = buffers.responses_refused.load(Ordering::Relaxed),
                "the memory of buffers is used up: workers wait for slow clients (see --buffer-memory)"
            );
        }
    }
}

/// Memory of somebody else that counts as held until this is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    bytes: u64,
    memory: Arc<BufferMemory>,
}

impl Reserved {
    pub(crate) fn counters(&self) -> &Counters {
        &self.memory.counters
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.counters.buffers.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Memory that counts as held until it is dropped, also when a request is abandoned or
/// its task panics.
#[derive(Debug)]
pub(crate) struct Block {
    /// `None` only while it is dropped.
    bytes: Option<MmapMut>,
    len: usize,
    memory: Arc<BufferMemory>,
}

impl Block {
    /// What is in it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |bytes| &bytes[..self.len])
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> usize {
        BLOCK - self.len
    }

    /// Appends as much of `bytes` as fits, and returns how much that is.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        if let Some(block) = &mut self.bytes {
            block[self.len..self.len + count].copy_from_slice(&bytes[..count]);
        }
        self.len += count;
        count
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.give_back();
        let Some(bytes) = self.bytes.take() else { return };
        // A thread that ends has no stock any more.
        let _ = UNUSED.try_with(|unused| {
            let mut unused = unused.borrow_mut();
            if unused.len() < STOCK {
                unused.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_the_bound_allows() {
        let counters = Arc::<Counters>::default();
        let memory = Arc::new(BufferMemory::new(3 * BLOCK as u64 - 1, Arc::clone(&counters)));
        let held = || counters.buffers.held.load(Ordering::Relaxed);
        let first = memory.take().unwrap();
        let second = memory.take();
        assert!(second.is_some() && memory.take().is_none());
        assert_eq!(held(), 2 * BLOCK as u64);
        drop(first);
        assert!(memory.take().is_some());
        drop(second);
        assert_eq!(held(), 0);
    }

    #[test]
    fn what_a_panicking_thread_held_is_free_again() {
        let counters = Arc::<Counters>::default();
        let memory = Arc::new(BufferMemory::new(BLOCK as u64, Arc::clone(&counters)));
        let own = Arc::clone(&memory);
        let ended = std::thread::spawn(move || {
            let _block = own.take().unwrap();
            panic!("as a test wants");
        });
        assert!(ended.join().is_err());
        assert!(memory.take().is_some());
    }
}
