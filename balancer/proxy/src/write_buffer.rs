//! Bytes to be written. Memory is held only while there are bytes in it, and goes back
//! to the thread's stock.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Unused buffers that a thread keeps.
const STOCK: usize = 64;
/// A buffer that has grown beyond this size in bytes is not kept.
const MAX_KEPT: usize = 128 * 1024;

thread_local! {
    static UNUSED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes for a peer, of which the first `sent` have been written.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    memory: Option<Vec<u8>>,
    sent: usize,
}

impl WriteBuffer {
    /// The bytes, to append to.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        self.memory.get_or_insert_with(|| UNUSED.with_borrow_mut(Vec::pop).unwrap_or_default())
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.memory.as_ref().map_or(0, Vec::len)
    }

    #[inline]
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        self.sent == self.len()
    }

    /// All of it is to be written again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    pub(crate) fn clear(&mut self) {
        self.sent = 0;
        let Some(mut memory) = self.memory.take() else { return };
        if memory.capacity() <= MAX_KEPT {
            memory.clear();
            UNUSED.with_borrow_mut(|unused| {
                if unused.len() < STOCK {
                    unused.push(memory);
                }
            });
        }
    }

    /// Writes once; ready with the number of bytes, which is not 0.
    pub(crate) fn poll_write<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        let bytes = self.memory.as_deref().unwrap_or_default();
        let count = ready!(poll_write(stream, &bytes[self.sent..], cx))?;
        self.sent += count;
        Poll::Ready(Ok(count))
    }
}

impl Drop for WriteBuffer {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes `bytes`, which must not be empty, once. Ready with the number of bytes, which
/// is not 0: a stream that takes nothing would be tried for ever.
pub(crate) fn poll_write<S>(stream: &mut S, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>>
where
    S: AsyncWrite + Unpin,
{
    match ready!(Pin::new(stream).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        count => Poll::Ready(Ok(count)),
    }
}
