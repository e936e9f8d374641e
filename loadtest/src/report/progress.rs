//! One line that tells how a run is going; only for a terminal.

use std::io::{self, Write};
use std::time::Duration;

use super::format::{count, rate, seconds, time};
use shared_telemetry::terminal;

use crate::client::Progress;

/// Writes over its own line on standard error, or does nothing.
#[derive(Debug)]
pub struct ProgressLine {
    enabled: bool,
    /// Of the measured part, when it is known.
    duration: Option<Duration>,
    requests: Option<u64>,
}

impl ProgressLine {
    /// Silent when standard error is no terminal, or `quiet`.
    pub fn new(quiet: bool, duration: Option<Duration>, requests: Option<u64>) -> Self {
        let enabled = !quiet && terminal::stderr_draws();
        Self { enabled, duration, requests }
    }

    pub fn show(&self, progress: &Progress) {
        if self.enabled {
            // A terminal that is gone is no reason to stop.
            let _ = write!(io::stderr(), "\r\u{1b}[2K{}", self.line(progress));
            let _ = io::stderr().flush();
        }
    }

    pub fn clear(&self) {
        if self.enabled {
            let _ = write!(io::stderr(), "\r\u{1b}[2K");
            let _ = io::stderr().flush();
        }
    }

    fn line(&self, progress: &Progress) -> String {
        if progress.elapsed.is_zero() {
            return "warming up".to_owned();
        }
        let elapsed = progress.elapsed.as_secs_f64();
        let per_second = progress.recent.answered as f64 / progress.recent_over.as_secs_f64();
        let left = match (self.duration, self.requests) {
            (Some(duration), _) => {
                format!("  {} left", seconds(duration.saturating_sub(progress.elapsed).as_secs_f64()))
            }
            (None, Some(requests)) => {
                let done = progress.answered + progress.errors;
                format!("  {} of {} requests", count(done.min(requests)), count(requests))
            }
            (None, None) => String::new(),
        };
        format!(
            "{:>6.1} s  {:>9} requests/s  p99 {:>8}  errors {}{left}",
            elapsed,
            rate(per_second),
            time(progress.recent.quantile(0.99) as f64 / 1e6),
            count(progress.errors)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Interval;

    #[test]
    fn the_line_has_rate_latency_errors_and_time_left() {
        let mut recent = Interval::default();
        (recent.answered, recent.errors) = (5_000, 1);
        recent.record(Duration::from_millis(3));
        let progress = Progress {
            elapsed: Duration::from_secs(4),
            answered: 20_000,
            errors: 7,
            recent,
            recent_over: Duration::from_secs(1),
        };
        let line = ProgressLine::new(true, Some(Duration::from_secs(10)), None).line(&progress);
        assert_eq!(line, "   4.0 s      5,000 requests/s  p99  3.01 ms  errors 7  6.0 s left");
        let counted = ProgressLine::new(true, None, Some(50_000)).line(&progress);
        assert!(counted.ends_with("20,007 of 50,000 requests"), "{counted}");
    }
}
