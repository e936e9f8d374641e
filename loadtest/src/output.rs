//! Where the forms of a report go: standard output and files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use shared_telemetry::terminal;

use crate::cli::RunArgs;
use crate::report::model::Report;
use crate::report::text::{self, Style};
use crate::report::{csv, html};

#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("could not write {path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("could not write to standard output: {0}")]
    Stdout(#[from] io::Error),
    #[error("could not write the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes the report in every form that was asked for.
///
/// # Errors
/// When a file, or standard output, cannot be written.
pub fn publish(args: &RunArgs, report: &Report) -> Result<(), OutputError> {
    if !args.quiet && forms_on_stdout(args) == 0 {
        let style = Style { color: terminal::stdout_has_colour() };
        print(&text::render(report, style))?;
    }
    if args.json || args.save.is_some() {
        let json = serde_json::to_string(report)? + "\n";
        if let Some(path) = &args.save {
            write_to(path, &json)?;
        }
        if args.json {
            print(&json)?;
        }
    }
    if let Some(path) = &args.csv {
        write_to(path, &csv::render(report))?;
    }
    if let Some(path) = &args.html {
        write_to(path, &html::render(report))?;
    }
    Ok(())
}

/// How many forms for programs go to standard output. With one, nothing else
/// may stand there; more than one cannot be told apart.
pub fn forms_on_stdout(args: &RunArgs) -> usize {
    let files = [&args.save, &args.csv, &args.html].into_iter().flatten();
    usize::from(args.json) + files.filter(|path| path.as_os_str() == "-").count()
}

/// Writes to standard output. A reader that has gone (`| head`) has seen enough.
///
/// # Errors
/// When it cannot be written for another reason.
pub fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn write_to(path: &Path, text: &str) -> Result<(), OutputError> {
    if path.as_os_str() == "-" {
        return print(text);
    }
    std::fs::write(path, text).map_err(|source| OutputError::File { path: path.to_owned(), source })
}
