//! The last things that happened to the cluster, for operators: a bounded list,
//! and a way to wait for more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use shared::protocol::WorkerId;
use tokio::sync::watch;

/// Events that are kept.
const KEPT: usize = 100;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Started,
    Ready,
    Ended,
    Hung,
    NotReady,
    PortTaken,
    Draining,
    Stopped,
    Reload,
    Scale,
    Limit,
    Shutdown,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Grows by one with each event of this primary.
    pub sequence: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    pub kind: Kind,
    /// Whom it happened to; absent when it concerns them all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// For a person to read.
    pub detail: String,
}

#[derive(Debug)]
pub struct Journal {
    events: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { events: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Journal {
    pub fn note(&self, kind: Kind, worker: Option<WorkerId>, pid: Option<u32>, detail: impl Into<String>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut events = self.lock();
        let sequence = events.back().map_or(1, |last| last.sequence + 1);
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(Event { sequence, at_ms, kind, worker, pid, detail: detail.into() });
        drop(events);
        self.last.send_replace(sequence);
    }

    /// The events after number `sequence` that are still kept, oldest first.
    pub fn since(&self, sequence: u64) -> Vec<Event> {
        self.lock().iter().filter(|event| event.sequence > sequence).cloned().collect()
    }

    /// Changes to the number of the newest event.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_and_numbered() {
        let journal = Journal::default();
        assert!(journal.since(0).is_empty());
        (0..150).for_each(|n| journal.note(Kind::Ready, Some(WorkerId(1)), None, format!("number {n}")));
        let all = journal.since(0);
        assert_eq!((all.len(), all[0].sequence, all[99].sequence), (KEPT, 51, 150));
        assert_eq!(journal.since(149).len(), 1);
        assert_eq!(*journal.watch().borrow(), 150);
    }
}
