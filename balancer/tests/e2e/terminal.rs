//! A cluster at a terminal: a pseudo-terminal (pty(7)) whose keys send real signals to the
//! group in the foreground, and which can be closed.

use std::fs::{self, File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::harness::{Balancer, Cluster};

/// Ctrl-C: SIGINT for the group in the foreground.
pub const CTRL_C: u8 = 0x03;
/// Ctrl-Z: SIGTSTP for it.
pub const CTRL_Z: u8 = 0x1a;

/// The side of the person who types. Dropping it closes the terminal.
pub struct Terminal {
    typist: Option<Arc<File>>,
    /// Passes on what is shown, until the other end is dropped.
    screen: Option<(PipeWriter, JoinHandle<()>)>,
}

impl Terminal {
    /// Starts `balancer` by `command`, in a session of its own at this terminal. Its command
    /// line is the executable file `./run`.
    pub fn start<T: AsRef<str>>(balancer: Balancer, command: &[T]) -> (Cluster, Self) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let typist = openpt(flags).unwrap();
        grantpt(&typist).unwrap();
        unlockpt(&typist).unwrap();
        let name = ptsname(&typist, Vec::new()).unwrap();
        let no_controlling = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(no_controlling)
            .open(name.to_str().unwrap())
            .unwrap();
        // What is typed is not to be mixed with the log.
        let mut modes = tcgetattr(&terminal).unwrap();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &modes).unwrap();

        let inner = balancer.env("CLUSTER_LOG_FORMAT", "json").env("NO_COLOR", "1");
        let started = inner.to_start();
        write_script(&inner, &started);
        let mut outer = Command::new("setsid");
        outer.arg("--ctty").args(command.iter().map(AsRef::as_ref)).env_clear();
        outer.envs(started.get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer.env("HOME", inner.directory()).current_dir(inner.directory());
        let side = || Stdio::from(terminal.try_clone().unwrap());
        let child = outer.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let typist = Arc::new(File::from(typist));
        let (shown, mut screen) = pipe().unwrap();
        let (closed, close) = pipe().unwrap();
        let shows = thread::spawn({
            let typist = Arc::clone(&typist);
            move || drop(show(&typist, &closed, &mut screen))
        });
        drop((outer, terminal));
        (inner.follow(child, shown), Self { typist: Some(typist), screen: Some((close, shows)) })
    }

    pub fn press(&mut self, key: u8) {
        self.typist.as_deref().unwrap().write_all(&[key]).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some((close, shows)) = self.screen.take() {
            drop(close);
            let _ = shows.join();
        }
        // The last descriptor: the kernel hangs up the other side.
        drop(self.typist.take());
    }
}

/// Copies what comes from the terminal to `screen`, until `closed` is closed.
fn show(mut terminal: &File, closed: &PipeReader, screen: &mut PipeWriter) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let mut ready = [PollFd::new(terminal, PollFlags::IN), PollFd::new(closed, PollFlags::IN)];
        poll(&mut ready, None)?;
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        // Fails when the other side has been closed by all.
        let count = terminal.read(&mut bytes)?;
        screen.write_all(&bytes[..count])?;
    }
}

fn write_script(balancer: &Balancer, started: &Command) {
    let words = [started.get_program()].into_iter().chain(started.get_args());
    let quoted: Vec<_> =
        words.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"))).collect();
    let script = balancer.directory().join("run");
    // Wrappers leave the cursor, and codes that move it, at the start of a line.
    fs::write(&script, format!("#!/bin/sh\necho\nexec {}\n", quoted.join(" "))).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
}
