//! Bytes that have been read. Memory is held only while there are bytes in it, and goes
//! back to the thread's stock: thousands of idle connections cost next to nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use balancer_http1::scan::{MAX_HEAD, MAX_RESPONSE_HEAD};
use tokio::io::{AsyncRead, ReadBuf};

/// Size of a read buffer in bytes: the head of a request must fit. It grows for the head
/// of a response that is longer.
pub(crate) const CAPACITY: usize = MAX_HEAD;
/// Unused buffers that a thread keeps.
const STOCK: usize = 64;

thread_local! {
    static UNUSED: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that a peer has sent and nothing has used yet.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[self.start..self.end])
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn has_room(&self) -> bool {
        self.end - self.start < CAPACITY
    }

    /// The first `count` bytes have been used.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        if self.start == self.end {
            self.release();
        }
    }

    /// Makes room where there is none, up to the longest head of a response. Nearly all
    /// heads fit without.
    pub(crate) fn make_room(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        if self.end - self.start == memory.len() && memory.len() < MAX_RESPONSE_HEAD {
            let mut larger = vec![0; memory.len() * 2];
            larger[..self.end - self.start].copy_from_slice(&memory[self.start..self.end]);
            *memory = larger.into_boxed_slice();
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Reads once from `stream`; 0 bytes mean that the peer sends no more. There must be
    /// room.
    pub(crate) fn poll_fill<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let memory = self.memory.get_or_insert_with(take_memory);
        if self.end == memory.len() {
            memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let mut room = ReadBuf::new(&mut memory[self.end..]);
        let result = Pin::new(stream).poll_read(cx, &mut room);
        let count = room.filled().len();
        self.end += count;
        if self.is_empty() {
            self.release();
        }
        ready!(result)?;
        Poll::Ready(Ok(count))
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        let Some(memory) = self.memory.take() else { return };
        UNUSED.with_borrow_mut(|unused| {
            if unused.len() < STOCK && memory.len() == CAPACITY {
                unused.push(memory);
            }
        });
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

fn take_memory() -> Box<[u8]> {
    UNUSED.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CAPACITY].into_boxed_slice())
}
