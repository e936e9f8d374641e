//! The highest load within a window, in bounded memory.
//!
//! Samples are averaged over parts of the window, so that a single one does not count as a
//! load that lasts, and the highest average of a part counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Parts of the usual window.
const PARTS: u32 = 30;

/// What the load needs, at its highest within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Need {
    pub(super) cpu: f64,
    /// Requests in flight and waiting, where they are limited.
    pub(super) requests: f64,
}

#[derive(Debug, Clone)]
pub(super) struct History {
    part: Duration,
    most: usize,
    parts: VecDeque<Part>,
    /// Everything since then is known.
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    began: Instant,
    sum: Need,
    count: u32,
}

impl Part {
    fn mean(&self) -> Need {
        let count = f64::from(self.count);
        Need { cpu: self.sum.cpu / count, requests: self.sum.requests / count }
    }
}

impl History {
    /// Reaches back over `longest` times the `window`.
    pub(super) fn new(window: Duration, longest: u32) -> Self {
        Self {
            part: window / PARTS,
            most: (longest * PARTS) as usize + 1,
            parts: VecDeque::new(),
            since: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.since = None;
    }

    pub(super) fn add(&mut self, need: Need, now: Instant) {
        self.since.get_or_insert(now);
        match self.parts.back_mut() {
            Some(last) if now.saturating_duration_since(last.began) < self.part => {
                last.sum.cpu += need.cpu;
                last.sum.requests += need.requests;
                last.count += 1;
            }
            _ => {
                if self.parts.len() == self.most {
                    self.parts.pop_front();
                }
                self.parts.push_back(Part { began: now, sum: need, count: 1 });
            }
        }
    }

    /// The highest within the last `window`; `None` where less than that is known.
    pub(super) fn highest(&self, window: Duration, now: Instant) -> Option<Need> {
        let is_within = |moment: Instant| now.saturating_duration_since(moment) <= window;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) < window) {
            return None;
        }
        let parts = self.parts.iter().filter(|part| is_within(part.began + self.part));
        parts.map(Part::mean).reduce(|highest, mean| Need {
            cpu: highest.cpu.max(mean.cpu),
            requests: highest.requests.max(mean.requests),
        })
    }
}
