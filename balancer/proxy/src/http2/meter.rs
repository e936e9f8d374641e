//! The byte stream below HTTP/2. It counts the frames that carry nothing of a request, such
//! as pings and settings, each of which costs the balancer more than its sender: a flood of
//! them ends the connection (CVE-2019-9512, 9513, 9515, 9518).
//!
//! It also gathers what is written: `h2` writes and flushes each longer frame by itself, and a
//! system call for each, or a TLS record, is most of what a response costs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::bounds::{IDLE_FRAMES, IDLE_FRAMES_PER_SECOND};
use super::bucket::Bucket;
use super::state::ConnectionState;
use crate::client::ClientStream;
use crate::read_buffer::ReadBuffer;
use crate::timer::{self, Timer};
use crate::write_buffer::WriteBuffer;

/// Length of the client's preface in bytes (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// Length of the head of a frame in bytes (RFC 9113, section 4.1).
const FRAME_HEAD: usize = 9;
/// Bytes that are read at once and dropped behind the end.
const LEFTOVERS: usize = 4096;

/// Bytes of frames that are gathered for one system call: enough for two full frames, or for
/// two full records of TLS.
const GATHERED: usize = 32 << 10;

pub(super) struct Meter {
    stream: ClientStream,
    /// Frames that are still to be written.
    gathered: WriteBuffer,
    /// What was read before it was known to be HTTP/2.
    early: ReadBuffer,
    frames: Frames,
    idle_frames: Bucket,
    state: Arc<ConnectionState>,
    linger_timeout: Duration,
    /// Until when it lingers, once the sending side has ended.
    lingers_until: Option<Instant>,
    timer: Timer,
}

impl Meter {
    /// At its end it reads on for `linger_timeout` at most.
    pub(super) fn new(
        stream: ClientStream,
        early: ReadBuffer,
        state: Arc<ConnectionState>,
        linger_timeout: Duration,
    ) -> Self {
        let idle_frames = Bucket::new(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, timer::now());
        Self {
            stream,
            gathered: WriteBuffer::default(),
            early,
            frames: Frames::default(),
            idle_frames,
            state,
            linger_timeout,
            lingers_until: None,
            timer: Timer::default(),
        }
    }

    /// Ready when the kernel has all that was gathered.
    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_flushed() {
            let polled = self.gathered.poll_write(&mut self.stream, cx);
            match polled {
                Poll::Ready(Ok(count)) => {
                    self.idle_frames.add(count as u64 / 2);
                    self.state.note_written(Some(count as u64));
                }
                Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                Poll::Pending => {
                    self.state.note_written(None);
                    return Poll::Pending;
                }
            }
        }
        self.gathered.clear();
        self.state.set_gathered(false);
        Poll::Ready(Ok(()))
    }

    fn count(&mut self, bytes: &[u8]) {
        let counted = self.frames.count(bytes);
        self.idle_frames.add(counted.useful / 2);
        if counted.idle > 0 && !self.idle_frames.take(counted.idle, timer::now()) {
            self.state.set_flooded();
        }
    }
}

impl AsyncRead for Meter {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.is_flooded() {
            // Whoever drives the connection looks at this next, and ends it.
            return Poll::Pending;
        }
        let before = room.filled().len();
        if this.early.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, room))?;
        } else {
            let count = this.early.bytes().len().min(room.remaining());
            room.put_slice(&this.early.bytes()[..count]);
            this.early.consume(count);
        }
        this.count(&room.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Meter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.gathered.len() >= GATHERED {
            ready!(this.poll_write_gathered(cx))?;
        }
        let count = bytes.len().min(GATHERED);
        this.gathered.bytes().extend_from_slice(&bytes[..count]);
        this.state.set_gathered(true);
        Poll::Ready(Ok(count))
    }

    /// Does nothing while whoever drives the connection has more to do, and flushes later.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.is_gathering() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_write_gathered(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    /// Ends the sending side and reads on until the client has ended its own: a connection
    /// that is closed with bytes unread is reset, and the client may lose the last frames.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let until = match this.lingers_until {
            Some(until) => until,
            None => {
                ready!(this.poll_write_gathered(cx))?;
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                this.state.set_shut();
                *this.lingers_until.insert(timer::now() + this.linger_timeout)
            }
        };
        loop {
            let mut memory = [0; LEFTOVERS];
            let mut room = ReadBuf::new(&mut memory);
            match Pin::new(&mut this.stream).poll_read(cx, &mut room)? {
                Poll::Ready(()) if !room.filled().is_empty() && timer::now() < until => {}
                Poll::Pending if !this.timer.poll(until, cx) => return Poll::Pending,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Finds the frames in what a client sends, without a look at what is in them.
#[derive(Debug)]
struct Frames {
    /// Bytes that are not of interest any more, of the preface or of a frame.
    skip: usize,
    head: [u8; FRAME_HEAD],
    /// Bytes of the head that have come.
    have: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { skip: PREFACE, head: [0; FRAME_HEAD], have: 0 }
    }
}

/// Bytes of frames.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Of such that carry part of a request.
    useful: u64,
    /// Of all others.
    idle: u64,
}

impl Frames {
    fn count(&mut self, mut bytes: &[u8]) -> Counted {
        let mut counted = Counted::default();
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (FRAME_HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == FRAME_HEAD {
                self.have = 0;
                self.begin(&mut counted);
            }
        }
        counted
    }

    /// The head of a frame is complete.
    fn begin(&mut self, counted: &mut Counted) {
        /// RFC 9113, sections 6.1, 6.2 and 6.10.
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const CONTINUATION: u8 = 9;
        const END_STREAM: u8 = 1;
        let [high, middle, low, kind, flags, ..] = self.head;
        self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
        let bytes = (FRAME_HEAD + self.skip) as u64;
        let is_useful = match kind {
            DATA => self.skip > 0 || flags & END_STREAM != 0,
            HEADERS | CONTINUATION => self.skip > 0,
            _ => false,
        };
        *(if is_useful { &mut counted.useful } else { &mut counted.idle }) += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let size = (length as u32).to_be_bytes();
        [&[size[1], size[2], size[3], kind, flags, 0, 0, 0, 1], vec![7; length].as_slice()].concat()
    }

    #[test]
    fn frames_are_found_however_they_come() {
        let parts: Vec<_> = [(4, 0, 0), (0, 0, 300), (6, 0, 8), (0, 0, 0), (0, 1, 0), (1, 4, 20), (9, 4, 0)]
            .map(|(kind, flags, length)| frame(kind, flags, length))
            .into();
        let all = [vec![b'P'; PREFACE], parts.concat()].concat();
        let expected = Counted { useful: 309 + 9 + 29, idle: 9 + 17 + 9 + 9 };
        assert_eq!(Frames::default().count(&all), expected);
        for size in [1, 2, 7, 9, 10, 100] {
            let (mut frames, mut sum) = (Frames::default(), Counted::default());
            for part in all.chunks(size) {
                let counted = frames.count(part);
                sum.useful += counted.useful;
                sum.idle += counted.idle;
            }
            assert_eq!(sum, expected, "{size}");
        }
    }
}
