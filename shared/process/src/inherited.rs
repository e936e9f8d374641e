//! What a process was started with and changes for itself, while a program that it starts
//! for somebody else should find it as it was: the limit of open files and the signals
//! that are ignored, as below nohup(1).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::ParseIntError;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use procfs::process::Process;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// A shell can ignore a signal for what it becomes; there is no safe call for it.
const SHELL: &str = "/bin/sh";

/// The limit and the signals, as they were at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// The soft limit of open file descriptors; none is no limit.
    nofile: Option<u64>,
    /// Bit n − 1 is set when signal n is ignored (proc_pid_status(5), `SigIgn`).
    ignored: u64,
}

impl Inherited {
    /// What this process has now.
    pub fn now() -> Self {
        Self { nofile: getrlimit(Resource::Nofile).current, ignored: ignored() }
    }

    /// A command that becomes `program` with this in place; this process gets the limit
    /// at once. Of the signals, SIGPIPE is left to [`Command`], which resets it.
    pub fn command(&self, program: &OsStr, arguments: &[OsString]) -> Command {
        let maximum = getrlimit(Resource::Nofile).maximum;
        // Never refused: the hard limit is what it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: self.nofile, maximum });
        let missing = self.ignored & !ignored() & !bit(Signal::PIPE);
        if missing == 0 || !Path::new(SHELL).exists() {
            let mut command = Command::new(program);
            command.args(arguments);
            return command;
        }
        let numbers = (1..=64).filter(|number| missing & (1 << (number - 1)) != 0);
        let numbers = numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(SHELL);
        command.arg("-c").arg(format!("trap '' {numbers}; exec \"$0\" \"$@\"")).arg(program).args(arguments);
        command
    }
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// None where the proc file system cannot be read.
fn ignored() -> u64 {
    Process::myself().and_then(|own| own.status()).map_or(0, |status| status.sigign)
}

/// As one word, for the command line of a process on the way to the program.
impl fmt::Display for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}", self.nofile.unwrap_or(u64::MAX), self.ignored)
    }
}

impl FromStr for Inherited {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (nofile, ignored) = text.split_once(':').unwrap_or((text, ""));
        let nofile = Some(nofile.parse()?).filter(|&limit| limit != u64::MAX);
        Ok(Self { nofile, ignored: u64::from_str_radix(ignored, 16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_reads_back() {
        for inherited in [
            Inherited { nofile: Some(1024), ignored: 0b11 },
            Inherited { nofile: None, ignored: u64::MAX },
            Inherited::now(),
        ] {
            assert_eq!(inherited.to_string().parse(), Ok(inherited));
        }
        for bad in ["", "1024", "x:1", "1:x"] {
            assert!(bad.parse::<Inherited>().is_err(), "{bad:?}");
        }
    }
}
