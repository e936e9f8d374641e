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
const LINE_BYTES: usize = 4 * 1024;

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
}

impl Default for Output {
    fn default() -> Self {
        Self { kept: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Output {
    /// Keeps a line that process `pid` of `worker` has printed.
    pub fn push(&self, worker: WorkerId, pid: u32, generation: Generation, stream: OutputStream, text: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let text = text[..text.floor_char_boundary(LINE_BYTES)].to_owned();
        let mut kept = self.lock();
        kept.sequence += 1;
        let sequence = kept.sequence;
        let line = OutputLine { sequence, at_ms, worker, pid, generation, stream, text };
        kept.workers.entry(worker).or_default().push(line);
        drop(kept);
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
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(output: &Output, worker: u32, generation: u64, text: &str) {
        output.push(WorkerId(worker), 7, Generation(generation), OutputStream::Stdout, text);
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
}
