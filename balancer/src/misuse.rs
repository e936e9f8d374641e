//! What to say to a command line that does not parse: above all where two dashes are
//! missing before the program that is to be run.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use crate::BAD_USAGE;
use crate::cli::Cli;
use crate::config::find_executable;
use crate::show::typed;

/// Programs for files that are not executable themselves, by the ends of their names.
const INTERPRETERS: &[(&str, &[&str])] = &[
    ("js", &["node"]),
    ("mjs", &["node"]),
    ("cjs", &["node"]),
    ("py", &["python3"]),
    ("rb", &["ruby"]),
    ("php", &["php"]),
    ("sh", &["sh"]),
    ("jar", &["java", "-jar"]),
];
/// Names that are less alike (Jaro–Winkler, 0 to 1) are not taken for each other.
const LIKENESS: f64 = 0.85;
/// What other programs call a subcommand, and what it is here.
const SYNONYMS: &[(&str, &str)] = &[
    ("restart", "reload"),
    ("list", "status"),
    ("ls", "status"),
    ("ps", "status"),
    ("delete", "stop"),
    ("kill", "stop"),
    ("help", "--help"),
];
/// What other process managers have before the program.
const VERBS: &[&str] = &["start", "run", "exec", "serve", "launch"];

/// Prints help, the version, or what is wrong with `arguments`; returns the exit code.
pub(crate) fn explain(err: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let suggestion = Suggestion::of(err, arguments);
    let near = misplaced(err).and_then(near_subcommand);
    let text = match (&suggestion, near) {
        (Some(Suggestion { line, is_program: true }), None) => {
            format!("balancer: the program to run goes behind two dashes: {line}\n")
        }
        (Some(Suggestion { line, is_program: true }), Some(near)) => {
            format!("{err}\nDid you mean balancer {near}? To run that program: {line}\n")
        }
        (_, Some(near)) => format!("{err}\nDid you mean balancer {near}?\n"),
        (Some(Suggestion { line, is_program: false }), None) => {
            format!("{err}\nA program to run goes behind two dashes: {line}\n")
        }
        (None, None) => {
            // Help and version go to standard output. Nobody may be there to read it.
            let _ = err.print();
            String::new()
        }
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(u8::try_from(err.exit_code()).unwrap_or(BAD_USAGE))
}

/// The word that the parser has no place for, unless it looks like a flag.
fn misplaced(err: &clap::Error) -> Option<&str> {
    let word = match err.kind() {
        ErrorKind::InvalidSubcommand => err.get(ContextKind::InvalidSubcommand),
        ErrorKind::UnknownArgument => err.get(ContextKind::InvalidArg),
        _ => None,
    };
    match word {
        Some(ContextValue::String(word)) if !word.starts_with('-') => Some(word),
        _ => None,
    }
}

/// The subcommand that `word` is, behind flags, where it has no place; that it is called
/// elsewhere; or that it was probably meant to be.
fn near_subcommand(word: &str) -> Option<String> {
    if let Some((_, own)) = SYNONYMS.iter().find(|(other, _)| *other == word) {
        return Some((*own).to_owned());
    }
    let command = Cli::command();
    let names = command.get_subcommands().map(clap::Command::get_name);
    let likeness = |name: &&str| strsim::jaro_winkler(word, name);
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&nearest) > LIKENESS).then(|| nearest.to_owned())
}

#[derive(Debug, PartialEq, Eq)]
struct Suggestion {
    /// The whole command line.
    line: String,
    /// What is to stand behind the dashes can be run; otherwise it is only a guess.
    is_program: bool,
}

impl Suggestion {
    fn of(err: &clap::Error, arguments: &[OsString]) -> Option<Self> {
        let word = misplaced(err)?;
        let (own, arguments) = arguments.split_first()?;
        // Before a value of a flag, two dashes would leave that flag without one.
        let parses = |at: usize| {
            let (before, after) = arguments.split_at(at);
            let dashes = [OsString::from("--")];
            Cli::try_parse_from([own].into_iter().chain(before).chain(&dashes).chain(after)).is_ok()
        };
        let at = (0..arguments.len()).find(|&at| arguments[at] == *word && parses(at))?;
        let (flags, words) = arguments.split_at(at);
        let (command, is_program) = command(words);
        let flags = if flags.is_empty() { String::new() } else { format!("{} ", typed(flags)) };
        Some(Self { line: format!("balancer {flags}-- {}", typed(&command)), is_program })
    }
}

/// `words` as they should stand behind the dashes, and whether the first can be run.
fn command(words: &[OsString]) -> (Vec<OsString>, bool) {
    let (first, rest) = match words {
        [verb, first, rest @ ..]
            if VERBS.iter().any(|known| verb == known) && find_executable(verb).is_none() =>
        {
            (first, rest)
        }
        [first, rest @ ..] => (first, rest),
        [] => return (Vec::new(), false),
    };
    let with = |program: Vec<OsString>| program.into_iter().chain(rest.iter().cloned()).collect();
    // A file in the working directory needs no path to be meant.
    if find_executable(first).is_some() {
        return (with(vec![first.clone()]), true);
    }
    if let Some(interpreter) = interpreter(first) {
        let program = interpreter.iter().map(OsString::from).chain([first.clone()]).collect();
        return (with(program), true);
    }
    if is_file_here(first) {
        let mut path = OsString::from("./");
        path.push(first);
        if find_executable(&path).is_some() {
            return (with(vec![path]), true);
        }
    }
    // A whole command line in quotes.
    let split = first.to_str().filter(|line| line.contains(' ')).and_then(shlex::split).unwrap_or_default();
    if split.first().is_some_and(|program| find_executable(OsStr::new(program)).is_some()) {
        return (with(split.into_iter().map(OsString::from).collect()), true);
    }
    (with(vec![first.clone()]), false)
}

fn is_file_here(name: &OsStr) -> bool {
    Path::new(name).is_file()
}

fn interpreter(name: &OsStr) -> Option<&'static [&'static str]> {
    let extension = Path::new(name).extension().filter(|_| is_file_here(name))?;
    INTERPRETERS.iter().find(|(known, _)| extension == *known).map(|(_, interpreter)| *interpreter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &[&str]) -> (clap::Error, Vec<OsString>) {
        let arguments: Vec<_> = ["balancer"].iter().chain(line).map(OsString::from).collect();
        (Cli::try_parse_from(&arguments).unwrap_err(), arguments)
    }

    fn suggest(line: &[&str]) -> Option<Suggestion> {
        let (err, arguments) = refused(line);
        Suggestion::of(&err, &arguments)
    }

    #[test]
    fn dashes_are_put_before_the_program() {
        let cases: &[(&[&str], &str)] = &[
            (&["sh", "server.js"], "balancer -- sh server.js"),
            (&["--workers", "2", "sh", "start"], "balancer --workers 2 -- sh start"),
            (&["-w", "2", "--trust-forwarded", "sh"], "balancer -w 2 --trust-forwarded -- sh"),
            (
                &["--workers=2", "sh", "-c", "a b", "--port", "1"],
                "balancer --workers=2 -- sh -c 'a b' --port 1",
            ),
            (&["--access-log", "sh", "sh"], "balancer --access-log sh -- sh"),
            (&["/bin/sh"], "balancer -- /bin/sh"),
            (&["sh -c x"], "balancer -- sh -c x"),
            (&["start", "sh", "x"], "balancer -- sh x"),
        ];
        for (line, right) in cases {
            let found = suggest(line);
            assert_eq!(found, Some(Suggestion { line: (*right).to_owned(), is_program: true }), "{line:?}");
        }
    }

    #[test]
    fn slips_of_other_kinds_stay_what_they_are() {
        for (line, near) in [
            (&["relaod"][..], Some("reload")),
            (&["staus"], Some("status")),
            (&["restart"], Some("reload")),
            (&["ps"], Some("status")),
            (&["help"], Some("--help")),
            (&["--workers", "2", "stpo"], Some("stop")),
            (&["--workers", "2", "status"], Some("status")),
            (&["sh"], None),
            (&["node"], None),
            (&["gunicorn"], None),
        ] {
            let (err, _) = refused(line);
            assert_eq!(misplaced(&err).and_then(near_subcommand).as_deref(), near, "{line:?}");
        }
        assert_eq!(suggest(&["--wokers", "2"]), None);
        assert_eq!(suggest(&["status", "sh"]), None);
        assert_eq!(suggest(&["no-such-program", "x"]).map(|guess| guess.is_program), Some(false));
    }
}
