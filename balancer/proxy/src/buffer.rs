//! What has been read and what is to be written. Memory is held only while
//! there are bytes in it, and goes back to the thread's stock: thousands of idle
//! connections cost next to nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use balancer_http1::scan::MAX_HEAD;

/// Bytes of one inbox: a head must fit.
pub(super) const CAPACITY: usize = MAX_HEAD;
/// Buffers of each kind that a thread keeps for later.
const STOCK: usize = 64;
/// An outbox that has grown beyond this is not kept.
const LARGEST_KEPT: usize = 4 * CAPACITY;

#[derive(Default)]
struct Stock {
    inboxes: Vec<Box<[u8]>>,
    outboxes: Vec<Vec<u8>>,
}

thread_local! {
    static STOCKED: RefCell<Stock> = RefCell::default();
}

/// Bytes that a peer has sent and nobody has used yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn has_room(&self) -> bool {
        self.end - self.start < CAPACITY
    }

    /// The first `count` bytes have been used.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        if self.start == self.end {
            self.release();
        }
    }

    /// Reads once; 0 bytes mean that the peer sends no more. There must be room.
    pub(super) fn poll_fill<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let buffer = self.buffer.get_or_insert_with(take_inbox);
        if self.end == CAPACITY {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let mut room = ReadBuf::new(&mut buffer[self.end..]);
        let result = Pin::new(io).poll_read(cx, &mut room);
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
        let Some(buffer) = self.buffer.take() else { return };
        STOCKED.with_borrow_mut(|stock| {
            if stock.inboxes.len() < STOCK {
                stock.inboxes.push(buffer);
            }
        });
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.release();
    }
}

fn take_inbox() -> Box<[u8]> {
    STOCKED
        .with_borrow_mut(|stock| stock.inboxes.pop())
        .unwrap_or_else(|| vec![0; CAPACITY].into_boxed_slice())
}

/// Bytes for a peer, of which the first `sent` are on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Option<Vec<u8>>,
    sent: usize,
}

impl Outbox {
    /// To append to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        self.bytes
            .get_or_insert_with(|| STOCKED.with_borrow_mut(|stock| stock.outboxes.pop()).unwrap_or_default())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }

    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.sent == self.len()
    }

    /// Everything in it is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    pub(super) fn clear(&mut self) {
        self.sent = 0;
        let Some(mut bytes) = self.bytes.take() else { return };
        if bytes.capacity() <= LARGEST_KEPT {
            bytes.clear();
            STOCKED.with_borrow_mut(|stock| {
                if stock.outboxes.len() < STOCK {
                    stock.outboxes.push(bytes);
                }
            });
        }
    }

    /// Writes once; ready with what was written.
    pub(super) fn poll_write<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        let bytes = self.bytes.as_deref().unwrap_or_default();
        let count = ready!(Pin::new(io).poll_write(cx, &bytes[self.sent..]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += count;
        Poll::Ready(Ok(count))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.clear();
    }
}
