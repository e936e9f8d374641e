//! Stands between the primary and somebody else's program, so that nothing of
//! the program is left behind.
//!
//! The shim is this executable, run by the primary. It starts the program in a
//! process group of its own, adopts whatever the program's children leave behind
//! (prctl(2), `PR_SET_CHILD_SUBREAPER`), reaps it all, and takes it all down when
//! it is told to ([`stop`]), when the program ends by itself, and when the primary is gone.
//! Should the shim itself be killed, the kernel kills the program.
//!
//! ```text
//! primary ──socket──► shim ──► exec stub, which becomes the program ──► children
//! ```

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use shared_protocol::{LeftRunning, WORKER_ID_VAR, WorkerMessage};

use shared_process::guard::{self, is_child_of};
use shared_process::inherited::Inherited;
use shared_process::{job_control, pidfd, sockets, tree};

mod stop;

/// First argument of a shim; its primary's pid, what the program inherits and the program follow.
pub const SHIM_SUBCOMMAND: &str = "worker-shim";
/// First argument of an exec stub; its shim's pid, what the program inherits and the program follow.
pub const EXEC_STUB_SUBCOMMAND: &str = "worker-exec-stub";
/// On the channel, from the primary: stop the program.
pub const TERMINATE: &[u8] = b"T";
/// On the channel, from the primary: a signal for what serves. Its number follows.
const SIGNAL: u8 = b'S';
/// On the channel, from the primary: end all of it at once.
pub const KILL: &[u8] = b"K";
/// Exit code of a command that could not be run, as of a shell.
const EXIT_NOT_RUN: u8 = 127;
/// Between two rounds of killing: a process may have forked in the meantime.
const ROUND: Duration = Duration::from_millis(1);

/// What the primary sends on the channel so that what serves gets this signal.
pub(crate) fn signal(signal: Signal) -> [u8; 2] {
    // Signals have numbers up to 64 (signal(7)).
    [SIGNAL, u8::try_from(signal.as_raw()).unwrap_or_default()]
}

/// Runs as the shim of `line` for `primary`.
pub fn run(primary: Option<u32>, line: &[OsString]) -> ExitCode {
    match Shim::start(primary, line) {
        Ok(shim) => shim.run(),
        Err(err) => {
            // The primary may be gone; there is nobody else to tell.
            let _ = writeln!(io::stderr(), "could not start: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes the program `line`, to die with the shim. Returns only when that
/// fails.
pub fn exec_stub(shim: Option<u32>, line: &[OsString]) -> ExitCode {
    let [inherited, program, arguments @ ..] = line else { return ExitCode::from(EXIT_NOT_RUN) };
    let inherited = inherited.to_str().and_then(|text| text.parse::<Inherited>().ok());
    let ready = guard::die_with(shim).and_then(|()| job_control::unblock());
    let err = match (ready, inherited) {
        (Err(err), _) => err,
        (Ok(()), Some(inherited)) => {
            let mut command = inherited.command(program, arguments);
            if std::env::var_os("LISTEN_FDS").is_some() {
                // Only the process itself knows it.
                command.env("LISTEN_PID", std::process::id().to_string());
            }
            command.exec()
        }
        (Ok(()), None) => io::Error::other("an exec stub is started by its shim only"),
    };
    let _ = writeln!(io::stderr(), "could not run {program:?}: {err}");
    ExitCode::from(EXIT_NOT_RUN)
}

struct Shim {
    channel: UnixStream,
    program: Arc<Supervised>,
}

/// The program and what came of it.
struct Supervised {
    pid: Pid,
    /// Where it was told to listen.
    port: Option<u16>,
    state: Mutex<State>,
}

#[derive(Default, Clone, Copy)]
struct State {
    /// The program has been reaped: its pid may be anybody's.
    ended: bool,
    /// It was asked to stop, and what it started may take its time as well.
    terminating: bool,
}

impl Shim {
    fn start(primary: Option<u32>, line: &[OsString]) -> io::Result<Self> {
        let id = std::env::var(WORKER_ID_VAR).unwrap_or_default();
        guard::set_thread_name(&format!("shim-{id}"))?;
        // Its death would be the program's; the primary says when it is time.
        job_control::block_stop_signals()?;
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own))?;
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        if !is_child_of(primary) {
            return Err(io::Error::other("a shim is started by its primary only"));
        }
        // This thread lives as long as the shim, as the death signal needs it.
        let child = Command::new("/proc/self/exe")
            .arg(EXEC_STUB_SUBCOMMAND)
            .arg(own.as_raw_nonzero().to_string())
            .args(line)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?;
        let program = Supervised {
            pid: Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?,
            port: std::env::var("PORT").ok().and_then(|port| port.parse().ok()),
            state: Mutex::default(),
        };
        send(&channel, &WorkerMessage::Started { pid: child.id() });
        Ok(Self { channel, program: Arc::new(program) })
    }

    /// Does what the primary says until the program and all that it has started is gone.
    fn run(self) -> ExitCode {
        let Self { channel, program } = self;
        let listening = channel.try_clone().and_then(|channel| {
            let program = Arc::clone(&program);
            thread::Builder::new().name("primary".to_owned()).spawn(move || program.handle(channel))
        });
        if listening.is_err() {
            program.kill_all();
        }
        let (status, left) = program.reap();
        send(&channel, &WorkerMessage::Ended { status: status.into_raw(), left });
        // For whoever looks at the shim, as a shell would put it.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

impl Supervised {
    /// Does what the primary says, until it says nothing more because it is gone.
    fn handle(self: &Arc<Self>, mut channel: UnixStream) {
        let mut command = [0];
        loop {
            match channel.read(&mut command) {
                Ok(1) if command == TERMINATE => self.terminate(),
                Ok(1) if command == [SIGNAL] && channel.read_exact(&mut command).is_ok() => {
                    if let Some(signal) = Signal::from_named_raw(i32::from(command[0])) {
                        stop::signal_servers(self, self.port, signal);
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // A command to kill, or the end of the primary.
                _ => return self.kill_all(),
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terminate(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.ended || state.terminating {
            // What is left is being killed, or has been told.
            return;
        }
        state.terminating = true;
        let in_order = pidfd::are_supported() && {
            let program = Arc::clone(self);
            let run = move || stop::run(&program, program.port);
            thread::Builder::new().name("stop".to_owned()).spawn(run).is_ok()
        };
        if !in_order {
            // Fails when the whole group has ended just now.
            let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
        }
    }

    /// Kills all descendants, and again until there are none: those that have
    /// just forked, and those that left the group.
    fn kill_all(&self) {
        loop {
            {
                // While this is held nothing is reaped, so no pid changes hands.
                let state = self.lock();
                if !state.ended {
                    let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
                }
                if !tree::kill_below(std::process::id()) && state.ended {
                    return;
                }
            }
            thread::sleep(ROUND);
        }
    }

    /// Reaps until nobody is left, and returns how the program itself ended, and what it
    /// had left running if it went into the background.
    fn reap(self: &Arc<Self>) -> (ExitStatus, Option<LeftRunning>) {
        let mut status = ExitStatus::from_raw(0);
        let mut left = None;
        loop {
            // Looks first and reaps under the lock.
            let ended = rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            match ended {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return (status, left),
                Ok(_) => {}
            }
            let mut state = self.lock();
            let Ok(Some((pid, how))) = rustix::process::wait(WaitOptions::NOHANG) else { continue };
            if pid != self.pid {
                continue;
            }
            status = ExitStatus::from_raw(how.as_raw());
            state.ended = true;
            if !state.terminating {
                // Nobody asked it to end, so nobody waits for what it leaves behind.
                drop(state);
                if status.success() {
                    left = left_running();
                }
                let program = Arc::clone(self);
                thread::spawn(move || program.kill_all());
            }
        }
    }
}

/// One of the processes below this one, if there is any.
fn left_running() -> Option<LeftRunning> {
    let left = sockets::names_below(std::process::id()).into_iter().next()?;
    Some(LeftRunning { pid: left.pid, name: left.name })
}

fn send(mut channel: &UnixStream, message: &WorkerMessage) {
    let mut line = serde_json::to_vec(message).expect("messages are structs that always serialise");
    line.push(b'\n');
    // Fails when the primary is gone, which the other thread learns as well.
    let _ = channel.write_all(&line);
}
