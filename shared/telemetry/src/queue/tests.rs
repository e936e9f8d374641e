use std::sync::mpsc::{Sender, channel};

use super::*;

/// Lets a write through for each permit, and keeps what was written.
struct Gate {
    permits: Receiver<()>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Without a permit giver everything passes.
        let _ = self.permits.recv();
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated(lost: &Lost) -> (Writing, Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let (permit, permits) = channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let gate = Gate { permits, written: Arc::clone(&written) };
    (Queue::start(gate, "standard error", lost.clone()).unwrap(), permit, written)
}

/// Waits until the writer has what was handed in.
fn until_taken(writing: &Writing) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !writing.queue.lock().waiting.bytes.is_empty() {
        assert!(Instant::now() < deadline, "the writer takes it");
        thread::yield_now();
    }
}

const A: Source = Source(1);
const B: Source = Source(2);

#[test]
fn a_reader_who_does_not_read_blocks_nobody_and_costs_bounded_memory() {
    let lost = Lost::default();
    let (writing, permit, written) = gated(&lost);
    let (sink, mut own) = (Sink(Arc::clone(&writing.queue)), OwnLines(Arc::clone(&writing.queue)));
    let line = [vec![b'x'; 99], vec![b'\n']].concat();
    (0..200_000).for_each(|_| sink.write(A, &line, 1));
    own.write_all(b"what the program says itself\n").unwrap();
    let relayed = lost.relayed.load(Ordering::Relaxed);
    // A first batch may have been taken before the writer stood still.
    assert!((200_000 - 2 * ROOM as u64 / 100..=200_000 - (ROOM - OWN_ROOM) as u64 / 100).contains(&relayed));
    assert_eq!(lost.own.load(Ordering::Relaxed), 0, "room is kept for the program's own lines");
    assert!(writing.queue.lock().waiting.bytes.capacity() <= 2 * ROOM);
    drop(permit);
    writing.finish(Duration::from_secs(10));
    let written = written.lock().unwrap();
    assert!(written.ends_with(b"what the program says itself\n"));
    let lines = written.iter().filter(|&&byte| byte == b'\n').count() as u64;
    assert_eq!(lines + relayed, 200_001);
}

#[test]
fn a_line_is_continued_by_nobody_else() {
    let (writing, permit, written) = gated(&Lost::default());
    drop(permit);
    let (sink, mut own) = (Sink(Arc::clone(&writing.queue)), OwnLines(Arc::clone(&writing.queue)));
    sink.write(A, b"begun ", 1);
    sink.write(A, b"and ended\n", 1);
    sink.write(A, b"begun", 1);
    sink.write(B, b"another\n", 1);
    sink.write(A, b"later", 1);
    own.write_all(b"own\n").unwrap();
    writing.finish(Duration::from_secs(10));
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert_eq!(text, "begun and ended\nbegun\nanother\nlater\nown\n");
}

#[test]
fn a_line_whose_middle_was_lost_is_not_continued() {
    let (writing, permit, written) = gated(&Lost::default());
    let sink = Sink(Arc::clone(&writing.queue));
    sink.write(B, b"first\n", 1);
    // The writer stands still with the first line.
    until_taken(&writing);
    sink.write(A, &vec![b'x'; ROOM - OWN_ROOM - 6], 1);
    sink.write(A, b"lost in any case, as there is no room for it", 1);
    drop(permit);
    until_taken(&writing);
    sink.write(A, b"next\n", 1);
    writing.finish(Duration::from_secs(10));
    assert!(written.lock().unwrap().ends_with(b"x\nnext\n"));
}

#[test]
fn losses_are_reported_at_once_and_then_every_ten_seconds() {
    let now = Instant::now();
    let mut reports = Reports::default();
    assert_eq!(reports.due_in(now), None);
    reports.since = Some(now);
    assert_eq!(reports.due_in(now), Some(Duration::ZERO));
    reports.last = Some(now);
    assert_eq!(reports.due_in(now + Duration::from_secs(4)), Some(Duration::from_secs(6)));
    assert_eq!(reports.due_in(now + Duration::from_secs(11)), Some(Duration::ZERO));
}
