//! The last things that happened to the cluster, for operators: a bounded list,
//! and a way to wait for more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use shared_protocol::{Event, EventKind, WorkerId};
use tokio::sync::watch;

/// Events that are kept.
const KEPT: usize = 100;
/// Characters of an event's text; what a worker said about itself may be long.
const DETAIL: usize = 1_200;

#[derive(Debug)]
pub struct Events {
    events: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self { events: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Events {
    pub fn note(&self, kind: EventKind, worker: Option<WorkerId>, pid: Option<u32>, detail: impl AsRef<str>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let detail = one_line(detail.as_ref());
        let mut kept = self.lock();
        let sequence = kept.back().map_or(1, |last| last.sequence + 1);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Event { sequence, at_ms, kind, worker, pid, detail });
        drop(kept);
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

/// A part of this may be a worker's own words, and they may end up in a terminal.
fn one_line(text: &str) -> String {
    text.chars().take(DETAIL).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_short_line() {
        let events = Events::default();
        events.note(
            EventKind::Crashed,
            None,
            None,
            format!("\x1b[2J<b>\r\n\u{9b}{}", "x".repeat(2 * DETAIL)),
        );
        let event = &events.since(0)[0];
        assert!(event.detail.starts_with(" [2J<b>   xx") && event.detail.chars().count() == DETAIL);
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(json["kind"], event.kind.to_string());
    }

    #[test]
    fn the_last_events_are_kept_and_numbered() {
        let events = Events::default();
        assert!(events.since(0).is_empty());
        (0..150).for_each(|n| events.note(EventKind::Ready, Some(WorkerId(1)), None, format!("number {n}")));
        let all = events.since(0);
        assert_eq!((all.len(), all[0].sequence, all[99].sequence), (KEPT, 51, 150));
        assert_eq!(events.since(149).len(), 1);
        assert_eq!(*events.watch().borrow(), 150);
    }
}
