//! The last lines that workers have printed, for operators: bounded for each worker,
//! so that one that floods takes nothing from the others, and never waited for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use shared_protocol::{Generation, OutputLine, OutputStream, WorkerId};
use tokio::sync::watch;

/// Lines that are kept of one worker, those of its predecessors included.
const LINES: usize = 1_000;
/// Bytes of text that are kept of one worker.
const BYTES: usize = 64 * 1024;
/// Bytes that are kept of one line.
pub const LINE_BYTES: usize = 4 * 1024;
/// Bytes of text that all workers share where there are many.
const ALL_BYTES: usize = 8 * 1024 * 1024;

/// The lines of all workers.
#[derive(Debug)]
pub struct Output {
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    sequence: u64,
    workers: BTreeMap<WorkerId, Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<OutputLine>,
    bytes: usize,
    /// All that there were, kept or not.
    count: u64,
}

/// How far somebody has read who follows.
#[derive(Debug)]
pub struct Cursor {
    worker: Option<WorkerId>,
    sequence: u64,
    /// Lines that there had been by then.
    count: u64,
}

impl Kept {
    /// Lines that one worker or all have printed so far.
    fn count(&self, worker: Option<WorkerId>) -> u64 {
        match worker {
            Some(worker) => self.workers.get(&worker).map_or(0, |lines| lines.count),
            None => self.sequence,
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self { kept: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Output {
    /// Keeps lines that process `pid` of `worker` has printed, the oldest first.
    pub fn push_all(
        &self,
        worker: WorkerId,
        pid: u32,
        generation: Generation,
        stream: OutputStream,
        texts: Vec<String>,
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut guard = self.lock();
        let kept = &mut *guard;
        let lines = kept.workers.entry(worker).or_default();
        for mut text in texts {
            text.truncate(text.floor_char_boundary(LINE_BYTES));
            kept.sequence += 1;
            let sequence = kept.sequence;
            lines.push(OutputLine { sequence, at_ms, worker, pid, generation, stream, text });
        }
        let workers = kept.workers.len();
        if let Some(lines) = kept.workers.get_mut(&worker) {
            lines.shrink(ALL_BYTES / workers);
        }
        let sequence = kept.sequence;
        drop(guard);
        self.last.send_replace(sequence);
    }

    /// The last lines of one process that are still kept, up to `count`, oldest first.
    pub fn last_of(&self, worker: WorkerId, generation: Generation, count: usize) -> Vec<OutputLine> {
        let kept = self.lock();
        let lines = kept.workers.get(&worker).into_iter().flat_map(|lines| &lines.lines);
        let own: Vec<_> = lines.filter(|line| line.generation == generation).collect();
        own[own.len().saturating_sub(count)..].iter().copied().cloned().collect()
    }

    /// The lines after number `sequence` that are still kept, of one worker or of all,
    /// oldest first.
    pub fn since(&self, sequence: u64, worker: Option<WorkerId>) -> Vec<OutputLine> {
        let kept = self.lock();
        let of_interest = kept.workers.iter().filter(|(id, _)| worker.is_none_or(|worker| worker == **id));
        let lines = of_interest.flat_map(|(_, lines)| &lines.lines);
        let mut lines: Vec<_> = lines.filter(|line| line.sequence > sequence).cloned().collect();
        lines.sort_unstable_by_key(|line| line.sequence);
        lines
    }

    /// The last lines of one worker or of all that are still kept, up to `count`, oldest
    /// first, and where to go on from with [`Self::next`].
    pub fn tail(&self, worker: Option<WorkerId>, count: usize) -> (Vec<OutputLine>, Cursor) {
        let kept = self.lock();
        let of_interest = kept.workers.iter().filter(|(id, _)| worker.is_none_or(|worker| worker == **id));
        let mut last: Vec<_> =
            of_interest.flat_map(|(_, lines)| lines.lines.iter().rev().take(count)).collect();
        last.sort_unstable_by_key(|line| line.sequence);
        let last = &last[last.len().saturating_sub(count)..];
        let cursor = Cursor { worker, sequence: kept.sequence, count: kept.count(worker) };
        (last.iter().copied().cloned().collect(), cursor)
    }

    /// The lines after `cursor`, oldest first, and the number of lines that were printed
    /// after it and are no longer kept.
    pub fn next(&self, cursor: &mut Cursor) -> (Vec<OutputLine>, u64) {
        let kept = self.lock();
        let of_interest =
            kept.workers.iter().filter(|(id, _)| cursor.worker.is_none_or(|worker| worker == **id));
        let is_new = |line: &&OutputLine| line.sequence > cursor.sequence;
        let new = of_interest.flat_map(|(_, lines)| lines.lines.iter().rev().take_while(is_new));
        let mut new: Vec<_> = new.cloned().collect();
        new.sort_unstable_by_key(|line| line.sequence);
        let count = kept.count(cursor.worker);
        let missed = (count - cursor.count).saturating_sub(new.len() as u64);
        (cursor.sequence, cursor.count) = (kept.sequence, count);
        (new, missed)
    }

    /// Changes to the number of the newest line.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, line: OutputLine) {
        self.count += 1;
        self.bytes += line.text.len();
        self.lines.push_back(line);
        self.shrink(BYTES);
    }

    fn shrink(&mut self, bytes: usize) {
        while self.lines.len() > LINES || self.bytes > bytes.min(BYTES) {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(output: &Output, worker: u32, generation: u64, text: &str) {
        let texts = vec![text.to_owned()];
        output.push_all(WorkerId(worker), 7, Generation(generation), OutputStream::Stdout, texts);
    }

    fn texts(lines: &[OutputLine]) -> Vec<&str> {
        lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn lines_of_one_process_are_told_from_those_of_its_successor() {
        let output = Output::default();
        (1..=3).for_each(|n| push(&output, 1, 1, &format!("old {n}")));
        push(&output, 2, 2, "other");
        push(&output, 1, 3, "new");
        assert_eq!(texts(&output.last_of(WorkerId(1), Generation(1), 2)), ["old 2", "old 3"]);
        assert_eq!(texts(&output.last_of(WorkerId(1), Generation(3), 2)), ["new"]);
        assert_eq!(texts(&output.since(2, None)), ["old 3", "other", "new"]);
        assert_eq!(texts(&output.since(3, Some(WorkerId(1)))), ["new"]);
        assert_eq!(*output.watch().borrow(), 5);
    }

    #[test]
    fn a_flood_is_bounded_and_takes_nothing_from_others() {
        let output = Output::default();
        push(&output, 2, 2, "quiet");
        (0..5_000).for_each(|n| push(&output, 1, 1, &format!("line {n}")));
        let all = output.since(0, Some(WorkerId(1)));
        assert_eq!((all.len(), &*all[LINES - 1].text), (LINES, "line 4999"));
        (0..50).for_each(|_| push(&output, 1, 1, &"ä".repeat(LINE_BYTES)));
        let all = output.since(0, Some(WorkerId(1)));
        assert_eq!(all.iter().map(|line| line.text.len()).sum::<usize>(), BYTES);
        assert_eq!(texts(&output.since(0, Some(WorkerId(2)))), ["quiet"]);
    }

    #[test]
    fn who_follows_is_told_how_many_lines_were_missed() {
        let output = Output::default();
        (1..=5).for_each(|n| push(&output, 1 + n % 2, 1, &format!("line {n}")));
        let (last, mut all) = output.tail(None, 2);
        assert_eq!(texts(&last), ["line 4", "line 5"]);
        let (last, mut one) = output.tail(Some(WorkerId(1)), 10);
        assert_eq!(texts(&last), ["line 2", "line 4"]);
        let (last, mut absent) = output.tail(Some(WorkerId(9)), 10);
        assert!(last.is_empty());
        assert_eq!(output.next(&mut all), (Vec::new(), 0));
        push(&output, 2, 1, "other");
        (0..1_500).for_each(|n| push(&output, 1, 1, &format!("line {n}")));
        for cursor in [&mut all, &mut one] {
            let (new, missed) = output.next(cursor);
            let others = new.iter().filter(|line| line.worker == WorkerId(2)).count();
            assert_eq!((new.len() - others, missed), (LINES, 500));
            assert_eq!(output.next(cursor), (Vec::new(), 0));
        }
        assert_eq!(output.next(&mut absent), (Vec::new(), 0));
    }

    #[test]
    fn many_workers_share_a_bound() {
        let output = Output::default();
        for worker in 1..=512 {
            (0..5).for_each(|_| push(&output, worker, 1, &"x".repeat(LINE_BYTES)));
        }
        let all = output.since(0, Some(WorkerId(512)));
        assert_eq!(all.len(), ALL_BYTES / 512 / LINE_BYTES);
    }
}
