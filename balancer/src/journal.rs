//! The last things that happened to the cluster, for operators: a bounded list,
//! and a way to wait for more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shared_protocol::WorkerId;
use tokio::sync::watch;

/// Events that are kept.
const KEPT: usize = 100;
/// Characters of an event's text; what a worker said about itself may be long.
const DETAIL: usize = 300;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Started,
    Ready,
    /// Ended without having been asked to.
    Crashed,
    /// Started in place of one that has ended or was ended.
    Restarted,
    /// Keeps ending: its next start has to wait.
    Backoff,
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

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Crashed => "crashed",
            Self::Restarted => "restarted",
            Self::Backoff => "backoff",
            Self::Hung => "hung",
            Self::NotReady => "not-ready",
            Self::PortTaken => "port-taken",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Reload => "reload",
            Self::Scale => "scale",
            Self::Limit => "limit",
            Self::Shutdown => "shutdown",
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// For a person to read: one line without control characters.
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
    pub fn note(&self, kind: Kind, worker: Option<WorkerId>, pid: Option<u32>, detail: impl AsRef<str>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let detail = one_line(detail.as_ref());
        let mut events = self.lock();
        let sequence = events.back().map_or(1, |last| last.sequence + 1);
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(Event { sequence, at_ms, kind, worker, pid, detail });
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

/// A part of this may be a worker's own words, and they may end up in a terminal.
fn one_line(text: &str) -> String {
    text.chars().take(DETAIL).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_short_line() {
        let journal = Journal::default();
        journal.note(Kind::Crashed, None, None, format!("\x1b[2J<b>\r\n\u{9b}{}", "x".repeat(1000)));
        let event = &journal.since(0)[0];
        assert!(event.detail.starts_with(" [2J<b>   xx") && event.detail.chars().count() == DETAIL);
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(json["kind"], event.kind.to_string());
    }

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
