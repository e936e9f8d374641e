//! Becomes the successor: what only the process itself can know or do between its start and
//! the program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use shared_process::inherited::Inherited;
use shared_process::job_control;

/// First argument of a stub; its parent's pid, what the program inherits, the names of the
/// descriptors from 3 on and the program follow.
pub(crate) const SUBCOMMAND: &str = "upgrade-exec-stub";
/// As a shell has it.
const EXIT_NOT_RUN: u8 = 127;

/// Becomes the program `line`; returns only when that fails.
pub(crate) fn run(line: &[OsString]) -> ExitCode {
    let [inherited, names, program, arguments @ ..] = line else { return ExitCode::from(EXIT_NOT_RUN) };
    let inherited = inherited.to_str().and_then(|text| text.parse::<Inherited>().ok());
    let err = match (job_control::unblock(), inherited) {
        (Err(err), _) => err,
        // Where its parent has ended already, the program is who serves, so that does not matter.
        (Ok(()), Some(inherited)) => {
            let own = std::process::id().to_string();
            let count = names.to_string_lossy().split(':').count().to_string();
            let mut command = inherited.command(program, arguments);
            command.env("LISTEN_PID", &own).env("LISTEN_FDS", count).env("LISTEN_FDNAMES", names);
            command.env_remove("LISTEN_PIDFDID");
            if std::env::var_os("WATCHDOG_PID").is_some() {
                command.env("WATCHDOG_PID", own);
            }
            command.exec()
        }
        (Ok(()), None) => io::Error::other("this is started by a balancer only"),
    };
    let _ = writeln!(io::stderr(), "balancer: could not run {}: {err}", program.display());
    ExitCode::from(EXIT_NOT_RUN)
}
