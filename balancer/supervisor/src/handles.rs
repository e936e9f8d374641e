//! Whether a program handles SIGTERM. One that does not is ended by it at once, with all of its
//! connections, so it is told when they are gone.
//!
//! The kernel knows of a program that does nothing about the signal. Runtimes such as those of
//! Node and Go handle it in any case and end the program then, unless that has asked to be told;
//! the kernel cannot tell the one from the other. So the first process that has connections is
//! told alone, and how it takes that is remembered.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shared_process::signals;
use shared_process::tree::Processes;
use shared_protocol::Generation;

/// A program that was told to end, has connections and has ended by the signal within this time
/// has done nothing about it. Those that close their connections first and end by the signal
/// then take longer: uvicorn looks ten times a second whether all are closed.
const AT_ONCE: Duration = Duration::from_millis(100);
/// For the end of the first one to be heard of, before the others are told.
pub(crate) const TRIAL: Duration = Duration::from_millis(300);

/// Where a program is: the shim above it, and the port that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shim: u32,
    pub(crate) port: u16,
}

impl Place {
    /// May all of those handle SIGTERM that would get it first ([`crate::shim`])? Who may not be
    /// looked at may. Reads files of all processes.
    pub(crate) fn may_handle_terminate(self, processes: &Processes) -> bool {
        let told = processes.told_first(self.shim, Some(self.port));
        told.iter().all(|member| signals::may_handle(member.pid, Signal::TERM).unwrap_or(true))
    }
}

/// How the program has taken SIGTERM so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Experience {
    /// None with connections has got it.
    #[default]
    None,
    /// This one was the first that got it, then.
    Trial {
        generation: Generation,
        since: Instant,
    },
    Handles,
    Dies,
}

/// What to do about a process with long-lived connections that may handle SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Tell,
    TellLast,
    /// Ask again after [`TRIAL`].
    Wait,
}

impl Experience {
    /// What to do about this process.
    pub(crate) fn advise(&mut self, generation: Generation, now: Instant) -> Advice {
        match *self {
            Self::Dies => Advice::TellLast,
            Self::Handles => Advice::Tell,
            Self::None => {
                *self = Self::Trial { generation, since: now };
                Advice::Tell
            }
            Self::Trial { since, .. } if now.duration_since(since) < TRIAL => Advice::Wait,
            Self::Trial { .. } => {
                *self = Self::Handles;
                Advice::Tell
            }
        }
    }

    /// This process has ended, by SIGTERM or not. Says whether it is known from now on that
    /// the program dies of it.
    pub(crate) fn ended(&mut self, generation: Generation, by_terminate: bool, now: Instant) -> bool {
        match *self {
            Self::Trial { generation: first, since } if first == generation => {
                *self = match by_terminate {
                    true if now.duration_since(since) < AT_ONCE => Self::Dies,
                    // It, or a busy machine, has taken its time.
                    true => Self::None,
                    false => Self::Handles,
                };
                *self == Self::Dies
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const FIRST: Generation = Generation(1);
    const SECOND: Generation = Generation(2);

    #[test]
    fn the_kernel_knows_of_a_program_that_does_nothing_about_the_signal() {
        let may_handle = |inner: &str| {
            let script = format!("sh -c '{inner}' & read line; kill -9 $!");
            let mut command = Command::new("sh");
            let mut shim =
                command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            // The program says that it has begun.
            std::io::Read::read_exact(shim.stdout.as_mut().unwrap(), &mut [0]).unwrap();
            let place = Place { shim: shim.id(), port: 1 };
            let may_handle = place.may_handle_terminate(&Processes::now());
            drop(shim.stdin.take());
            shim.wait().unwrap();
            may_handle
        };
        assert!(may_handle("trap : TERM; echo; while :; do sleep 1; done"));
        assert!(!may_handle("echo; while :; do sleep 1; done"));
        assert!(!may_handle("trap \"\" TERM; echo; while :; do sleep 1; done"), "it is ignored");
    }

    /// Experience with a first process that was told at the time that is returned.
    fn on_trial() -> (Experience, Instant) {
        let (mut experience, now) = (Experience::default(), Instant::now());
        assert_eq!(experience.advise(FIRST, now), Advice::Tell);
        assert_eq!(experience.advise(SECOND, now), Advice::Wait);
        (experience, now)
    }

    #[test]
    fn a_program_whose_first_process_dies_at_once_is_told_last() {
        let (mut experience, now) = on_trial();
        assert!(!experience.ended(SECOND, true, now), "that one was not told");
        assert!(experience.ended(FIRST, true, now + AT_ONCE / 2));
        assert_eq!(experience.advise(SECOND, now + TRIAL), Advice::TellLast);
    }

    #[test]
    fn a_program_that_takes_its_time_or_ends_by_itself_is_told() {
        let third = Generation(3);
        for (by_terminate, after, then) in
            [(true, AT_ONCE, Advice::Wait), (false, Duration::ZERO, Advice::Tell)]
        {
            let (mut experience, now) = on_trial();
            assert!(!experience.ended(FIRST, by_terminate, now + after));
            assert_eq!(experience.advise(SECOND, now + after), Advice::Tell);
            assert_eq!(experience.advise(third, now + after), then);
        }
        let (mut experience, now) = on_trial();
        assert_eq!(experience.advise(SECOND, now + TRIAL), Advice::Tell);
        assert!(!experience.ended(FIRST, true, now + TRIAL), "it has closed them in order");
        assert_eq!(experience.advise(SECOND, now + 2 * TRIAL), Advice::Tell);
    }
}
