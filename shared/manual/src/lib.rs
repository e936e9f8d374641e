//! `--generate KIND`: the manual page and the completions of a program, made from the
//! definitions of its command line, so that they say what `--help` says.
//!
//! It is for packagers, and for people who install a program without a package. The
//! names of the options are those of ripgrep: `man`, `complete-bash`, and so on.

mod page;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

/// Exit code of an output that could not be written.
const FAILED: u8 = 1;
/// Exit code of bad usage.
const BAD_USAGE: u8 = 2;

const OPTION: &str = "--generate";

/// What can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A manual page, for groff and mandoc
    Man,
    /// Completions for a shell
    Completions(Shell),
}

const KINDS: [(&str, Kind); 4] = [
    ("man", Kind::Man),
    ("complete-bash", Kind::Completions(Shell::Bash)),
    ("complete-zsh", Kind::Completions(Shell::Zsh)),
    ("complete-fish", Kind::Completions(Shell::Fish)),
];

/// Does what `--generate KIND` asks for, if that is what `arguments` are: the program's
/// name, and these alone. It is not among the definitions, as it goes with nothing else.
///
/// The text goes to standard output and is for the name by which the program was started,
/// so that a package that installs it under another name gets what belongs to that.
pub fn answer<C: CommandFactory>(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, kind) = requested(arguments)?;
    let command = C::command();
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or(command.get_name()).to_owned();
    let result = match kind {
        Ok(kind) => text(command, &name, kind).and_then(|text| io::stdout().lock().write_all(&text)),
        Err(kind) => {
            let kinds = KINDS.map(|(kind, _)| kind).join(", ");
            complain(&format!("{name}: {OPTION} {kind:?}: expected one of {kinds}, such as {OPTION} man"));
            return Some(ExitCode::from(BAD_USAGE));
        }
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            complain(&format!("{name}: could not write to standard output: {err}"));
            ExitCode::from(FAILED)
        }
    })
}

/// The manual page or the completions of `command` as a program that is called `name`.
///
/// # Errors
/// None for a sound command: the text is written to memory.
pub fn text(command: Command, name: &str, kind: Kind) -> io::Result<Vec<u8>> {
    let mut command = command.bin_name(name).display_name(name);
    match kind {
        Kind::Man => page::render(command),
        Kind::Completions(shell) => {
            let mut text = Vec::new();
            generate(shell, &mut command, name, &mut text);
            Ok(text)
        }
    }
}

/// The program's path, and the kind or what is none.
fn requested(arguments: &[OsString]) -> Option<(&Path, Result<Kind, String>)> {
    let (program, kind) = match arguments {
        [program, option, kind] if option == OPTION => (program, kind.to_string_lossy().into_owned()),
        [program, option] => {
            let kind = option.to_str()?.strip_prefix(OPTION)?;
            if !kind.is_empty() && !kind.starts_with('=') {
                return None;
            }
            (program, kind.trim_start_matches('=').to_owned())
        }
        _ => return None,
    };
    let known = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind);
    Some((Path::new(program), known.ok_or(kind)))
}

/// Standard error may be closed.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests;
