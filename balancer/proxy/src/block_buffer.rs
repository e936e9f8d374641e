//! A first-in, first-out buffer of blocks of the bounded memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::buffer_memory::{BLOCK, Block, BufferMemory};

/// Bytes in blocks. Without bytes it holds no memory.
///
/// Invariant: only the last two blocks may have room, as [`Self::reserve`] adds one at a
/// time.
#[derive(Debug, Default)]
pub(crate) struct BlockBuffer {
    blocks: VecDeque<Block>,
    /// Bytes in all blocks.
    len: usize,
    /// Where the next bytes to be sent are: a block, and a place in it.
    block: usize,
    offset: usize,
}

impl BlockBuffer {
    /// Bytes in it, those that were sent and kept included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next bytes to be sent; none when all of them have been.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.blocks.get(self.block).map_or(&[], |block| &block.bytes()[self.offset..])
    }

    /// Makes room for `count` bytes, of which a block holds more. Says whether the
    /// memory allows it.
    pub(crate) fn reserve(&mut self, memory: &Arc<BufferMemory>, count: usize) -> bool {
        debug_assert!(count < BLOCK);
        let room: usize = self.blocks.iter().rev().take(2).map(Block::room).sum();
        if room >= count {
            return true;
        }
        let block = memory.take();
        let is_there = block.is_some();
        self.blocks.extend(block);
        is_there
    }

    /// Appends `bytes`, for which room was reserved.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        let first = self.blocks.len().saturating_sub(2);
        for block in self.blocks.range_mut(first..) {
            bytes = &bytes[block.append(bytes)..];
        }
        assert!(bytes.is_empty(), "room was reserved for all bytes");
    }

    /// The first `count` of the unsent bytes have been sent, and stay for another time.
    pub(crate) fn advance(&mut self, count: usize) {
        self.offset += count;
        if self.unsent().is_empty() && self.block < self.blocks.len() {
            (self.block, self.offset) = (self.block + 1, 0);
        }
    }

    /// The first `count` of the unsent bytes have been sent, and are not needed again.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(self.block == 0, "nothing is kept before what is consumed");
        self.offset += count;
        self.len -= count;
        if self.len == 0 {
            self.clear();
        } else if self.unsent().is_empty() {
            self.blocks.pop_front();
            self.offset = 0;
        }
    }

    /// All of it is to be sent again.
    pub(crate) fn rewind(&mut self) {
        (self.block, self.offset) = (0, 0);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(blocks: usize) -> Arc<BufferMemory> {
        Arc::new(BufferMemory::new((blocks * BLOCK) as u64, Arc::default()))
    }

    /// Fills `buffer` with numbered bytes for as long as there is memory.
    fn fill(buffer: &mut BlockBuffer, memory: &Arc<BufferMemory>, part: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while buffer.reserve(memory, part) {
            let bytes: Vec<u8> = (all.len()..all.len() + part).map(|number| (number >> 4) as u8).collect();
            buffer.append(&bytes);
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn bytes_come_out_as_they_went_in_and_free_their_memory() {
        let memory = memory(3);
        let mut buffer = BlockBuffer::default();
        for (part, step) in [(1_000, 700), (50_000, 64_000), (65_000, 1)] {
            let all = fill(&mut buffer, &memory, part);
            assert!(all.len() + part > 2 * BLOCK, "{}", all.len());
            let mut out = Vec::new();
            while !buffer.unsent().is_empty() {
                let count = step.min(buffer.unsent().len());
                out.extend_from_slice(&buffer.unsent()[..count]);
                buffer.consume(count);
            }
            assert!(out == all && buffer.is_empty());
            assert!((0..3).map(|_| memory.take()).all(|block| block.is_some()));
        }
    }

    #[test]
    fn what_is_kept_can_be_sent_again() {
        let memory = memory(3);
        let mut buffer = BlockBuffer::default();
        let all = fill(&mut buffer, &memory, 30_000);
        for _ in 0..2 {
            let mut out = Vec::new();
            while !buffer.unsent().is_empty() {
                let count = 40_000.min(buffer.unsent().len());
                out.extend_from_slice(&buffer.unsent()[..count]);
                buffer.advance(count);
            }
            assert!(out == all && buffer.len() == all.len());
            buffer.rewind();
        }
    }
}
