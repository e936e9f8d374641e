//! Who has printed a line, in front of it: the worker, and while two processes of one
//! worker run side by side the process as well.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shared_protocol::WorkerId;

/// Colours of prefixes, by worker in turn; red is for errors (ECMA-48, section 8.3.117).
const COLOURS: [u8; 5] = [36, 33, 32, 35, 34];

/// How many processes of each worker can print.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<BTreeMap<WorkerId, Arc<AtomicUsize>>>);

impl Slots {
    /// Counts one more process of `worker` until what is returned is dropped.
    pub(crate) fn join(&self, worker: WorkerId) -> Member {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let printing = Arc::clone(slots.entry(worker).or_default());
        printing.fetch_add(1, Ordering::Relaxed);
        Member(printing)
    }
}

/// One process among those of its worker.
#[derive(Debug)]
pub(crate) struct Member(Arc<AtomicUsize>);

impl Member {
    fn is_alone(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 1
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes the prefix into `out`, whose former content goes.
pub(crate) fn write(out: &mut String, worker: WorkerId, pid: u32, member: &Member, colours: bool) {
    out.clear();
    let (begin, end) = match (colours, COLOURS[worker.0 as usize % COLOURS.len()]) {
        (true, colour) => (format!("\x1b[{colour}m"), "\x1b[0m"),
        (false, _) => (String::new(), ""),
    };
    // Writing to a string cannot fail.
    let _ = match member.is_alone() {
        true => write!(out, "{begin}{worker}|{end} "),
        false => write!(out, "{begin}{worker}:{pid}|{end} "),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_a_worker_are_told_apart_while_there_are_two() {
        let slots = Slots::default();
        let text = |member: &Member, colours| {
            let mut out = "old".to_owned();
            write(&mut out, WorkerId(1), 7, member, colours);
            out
        };
        let (other, old) = (slots.join(WorkerId(2)), slots.join(WorkerId(1)));
        assert_eq!(text(&old, false), "1| ");
        let new = slots.join(WorkerId(1));
        assert_eq!((text(&old, false), text(&new, true)), ("1:7| ".into(), "\x1b[33m1:7|\x1b[0m ".into()));
        drop((old, other));
        assert_eq!(text(&new, false), "1| ");
    }
}
