//! What becomes of signals: ignored, caught, or blocked; and which of them ask for a stop.

use std::time::{Duration, Instant};

use procfs::process::Process;
use rustix::process::Signal;

/// A further signal to stop that comes within this time after the first is the first again:
/// wrappers pass on the signal that the terminal has sent to all, some milliseconds later.
pub const REPEAT_WINDOW: Duration = Duration::from_secs(1);

/// Tells a second signal to stop from the first one, delivered again.
#[derive(Debug, Default)]
pub struct StopRequests {
    first: Option<Instant>,
}

impl StopRequests {
    /// Is the signal that has come at `now` the first one, or one that means "at once"? Those
    /// that come within [`REPEAT_WINDOW`] after the first are neither.
    pub fn counts(&mut self, now: Instant) -> bool {
        match self.first {
            None => {
                self.first = Some(now);
                true
            }
            Some(first) => now.duration_since(first) > REPEAT_WINDOW,
        }
    }
}

/// Does this process ignore `signal`? True at its start when whoever started it said so, as
/// nohup(1) does of SIGHUP.
pub fn is_ignored(signal: Signal) -> bool {
    let status = Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| has(status.sigign, signal))
}

/// Does this process handle `signal` itself? False when that may not be known.
pub fn is_caught_by(pid: u32, signal: Signal) -> bool {
    let status = Process::new(pid.cast_signed()).and_then(|process| process.status());
    status.is_ok_and(|status| has(status.sigcgt, signal))
}

/// Does a process handle `signal`, or block it to wait for it (sigwait(3), signalfd(2))? Not
/// when the signal ends it for certain, or does nothing. `None` when that may not be known.
pub fn may_handle(pid: u32, signal: Signal) -> Option<bool> {
    let status = Process::new(pid.cast_signed()).and_then(|process| process.status()).ok()?;
    Some(has(status.sigcgt, signal) || (has(status.sigblk, signal) && !has(status.sigign, signal)))
}

/// Masks of signals have bit 0 for signal 1 (proc_pid_status(5)).
fn has(mask: u64, signal: Signal) -> bool {
    mask >> (signal.as_raw() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn signals_within_a_second_are_one() {
        let (mut requests, start) = (StopRequests::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        let counted = [0, 0, 43, 999, 1000, 1001, 1002, 5000].map(|millis| requests.counts(after(millis)));
        assert_eq!(counted, [true, false, false, false, false, true, true, true]);
    }

    #[test]
    fn ignored_and_caught_signals_are_told_from_others() {
        // Standard libraries ignore SIGPIPE (std::process), and nobody here SIGUSR2.
        assert!(is_ignored(Signal::PIPE) && !is_ignored(Signal::USR2));
        let mut shell = Command::new("sh")
            .args(["-c", "trap : USR1; trap '' USR2; echo; read line"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let caught =
            [Signal::USR1, Signal::USR2, Signal::ALARM].map(|signal| is_caught_by(shell.id(), signal));
        assert_eq!(caught, [true, false, false]);
        let handled =
            [Signal::USR1, Signal::USR2, Signal::ALARM].map(|signal| may_handle(shell.id(), signal));
        assert_eq!(handled, [Some(true), Some(false), Some(false)]);
        assert_eq!(may_handle(u32::MAX >> 1, Signal::TERM), None);
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}
